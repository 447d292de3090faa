//! Log lines on standard error, as text for people or as one JSON object each.

use std::io::{self, IsTerminal};

use anyhow::{Context, anyhow};
use broker::config::broker::LogFormat;
use tracing_subscriber::EnvFilter;

/// Installs the process' subscriber. `RUST_LOG`, where it is set, wins over `level`.
pub(crate) fn init(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::builder()
        .parse(&level)
        .with_context(|| format!("streamhouse.log.level: {level} is no level or filter"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match format {
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow!("installing the log: {error}"))
}

//! Log lines on standard error, as text for people or as one JSON object each.

use std::io::{self, IsTerminal};

use anyhow::{Context, anyhow};
use broker::config::broker::LogFormat;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Libraries that tell every step of theirs at `info`, or warn of what is meant to be, and how much
/// of it is heard unless they are named.
const TALKATIVE: &[(&str, &str)] =
    &[("buoyant_kernel", "warn"), ("deltalake_core", "error"), ("datafusion", "warn")];

/// Installs the process' subscriber. `RUST_LOG`, where it is set, wins over `level`.
pub(crate) fn init(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::builder()
        .parse(quieted(&level))
        .with_context(|| format!("streamhouse.log.level: {level} is no level or filter"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match format {
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow!("installing the log: {error}"))
}

/// The filter with the talkative libraries held back, which what is asked for can still name.
fn quieted(level: &str) -> String {
    let is_quiet = level.parse::<LevelFilter>().is_ok_and(|level| level <= LevelFilter::WARN);
    if is_quiet {
        return level.to_owned();
    }
    let held_back: Vec<_> =
        TALKATIVE.iter().map(|(library, level)| format!("{library}={level}")).collect();
    format!("{},{level}", held_back.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_held_back_unless_they_are_named() {
        assert_eq!(quieted("error"), "error");
        assert_eq!(
            quieted("info"),
            "buoyant_kernel=warn,deltalake_core=error,datafusion=warn,info"
        );
        assert!(quieted("debug,datafusion=trace").ends_with(",debug,datafusion=trace"));
    }
}

//! `streamhouse config`: the keys that can be set, as a page or as a list.

use std::io::{self, Write};

use broker::config::docs;
use clap::Subcommand;

/// What to show.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print docs/config.md.
    Docs,
    /// Print every key of the broker with its default and meaning.
    List,
}

impl Config {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let text = match self {
            Self::Docs => docs::markdown(),
            Self::List => docs::plain(),
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }
}

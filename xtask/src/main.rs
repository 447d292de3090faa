//! Entry point of `cargo xtask`: parses the command line, nothing else.

use anyhow::Result;
use clap::{Parser, Subcommand};

/// StreamHouse's development tasks.
#[derive(Debug, Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write `protocol/src/messages/generated/` from `protocol/definitions/`.
    Codegen {
        /// Write nothing; fail if a generated file is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Check crate dependencies, file headers, dead files and TODOs.
    Tidy,
}

fn main() -> Result<()> {
    let root = xtask::workspace_root();
    match Arguments::parse().command {
        Command::Codegen { check: true } => xtask::codegen::check(&root),
        Command::Codegen { check: false } => xtask::codegen::write(&root),
        Command::Tidy => xtask::tidy::check(&root),
    }
}

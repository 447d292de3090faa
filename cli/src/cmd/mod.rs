//! The commands: one file each.

mod config;
mod sql;
mod start;
mod table;

use clap::{Parser, Subcommand};

/// A Kafka-compatible broker that keeps its log as objects.
#[derive(Debug, Parser)]
#[command(name = "streamhouse", version, about, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a broker.
    Start(Box<start::Start>),
    /// Query topics with SQL
    Sql(sql::Sql),
    /// List tables, rebuild one, or try a configuration
    Table(table::Table),
    /// Show what can be configured.
    #[command(subcommand)]
    Config(config::Config),
}

impl Arguments {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Start(start) => start.run(),
            Command::Sql(sql) => sql.run(),
            Command::Table(table) => table.run(),
            Command::Config(config) => config.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}

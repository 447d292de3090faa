//! `streamhouse table`: the tables of a running broker, and what can be done with them.

use std::io::{self, Write as _};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::sql::client::Client;

/// Flags of `streamhouse table`.
#[derive(Debug, Args)]
pub(crate) struct Table {
    /// The broker's HTTP address
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        env = "STREAMHOUSE_URL",
        global = true
    )]
    url: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the tables and how they are doing
    List,
    /// Show everything about a table, as JSON
    Describe {
        /// Its name
        name: String,
    },
    /// Build a table anew from its topic, beside what readers see, by the configuration of now
    Rebuild {
        /// Its name
        name: String,
        /// Lose rows whose records the topic no longer has
        #[arg(long)]
        allow_loss: bool,
    },
    /// Make rows of the dead letters that can be decoded now, or once they are mended
    Replay {
        /// The table's name
        name: String,
        /// SQL expression for the mended value: over the columns of NAME__dlq, and `text`, the
        /// value where it is UTF-8; NULL leaves a record alone
        #[arg(long, value_name = "SQL")]
        fix: Option<String>,
    },
    /// Show what a changed configuration would make of a topic's last records, as JSON
    DryRun {
        /// The topic
        topic: String,
        /// A key of the topic with another value; may be repeated
        #[arg(short = 'o', long = "option", value_name = "KEY=VALUE")]
        options: Vec<String>,
        /// How many records to look at
        #[arg(long, default_value_t = 1000)]
        records: usize,
    },
}

impl Table {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        runtime.block_on(self.command.run(&Client::new(&self.url, None)?))
    }
}

impl Command {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Self::List => {
                let list = client.call(Method::GET, "/api/v1/tables", None).await?;
                write!(out, "{}", listed(&list))?;
            }
            Self::Describe { name } => {
                let list = client.call(Method::GET, "/api/v1/tables", None).await?;
                let tables = list["tables"].as_array().cloned().unwrap_or_default();
                let table = tables.into_iter().find(|table| table["name"] == *name);
                let table = table.ok_or_else(|| anyhow!("there is no table {name}"))?;
                writeln!(out, "{table:#}")?;
            }
            Self::Rebuild { name, allow_loss } => {
                let path = format!("/api/v1/tables/{name}/rebuild");
                client.call(Method::POST, &path, Some(json!({ "allow_loss": allow_loss }))).await?;
                writeln!(out, "table {name} is being rebuilt (streamhouse table describe {name})")?;
            }
            Self::Replay { name, fix } => {
                let path = format!("/api/v1/tables/{name}/replay");
                let done = client.call(Method::POST, &path, Some(json!({ "fix": fix }))).await?;
                let (rows, left) = (&done["rows"], &done["left"]);
                writeln!(out, "{rows} dead letters are rows of {name} now, {left} are left")?;
            }
            Self::DryRun { topic, options, records } => {
                let configs = options
                    .iter()
                    .map(|option| {
                        let pair = option.split_once('=');
                        let (key, value) =
                            pair.ok_or_else(|| anyhow!("-o {option}: expected KEY=VALUE"))?;
                        Ok((key.trim().to_owned(), Value::from(value.trim())))
                    })
                    .collect::<anyhow::Result<serde_json::Map<_, _>>>()?;
                let path = format!("/api/v1/tables/{topic}/dry-run");
                let body = json!({ "configs": configs, "records": records });
                let found = client.call(Method::POST, &path, Some(body)).await?;
                writeln!(out, "{found:#}")?;
            }
        }
        Ok(())
    }
}

/// A line per table, and one per topic that is none though it wants to be.
fn listed(list: &Value) -> String {
    let mut lines = vec![["NAME", "TOPIC", "STATE", "VERSION", "ROWS", "DEAD"].map(str::to_owned)];
    for table in list["tables"].as_array().into_iter().flatten() {
        let text = |name: &str| match &table[name] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        let state = match &table["activity"]["state"] {
            Value::String(state) if table["rebuild"].is_null() => state.clone(),
            Value::String(state) => format!("{state}, rebuilding"),
            _ => "-".to_owned(),
        };
        lines.push([
            text("name"),
            text("topic"),
            state,
            text("version"),
            text("rows"),
            text("dead"),
        ]);
    }
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    for refused in list["refused"].as_array().into_iter().flatten() {
        let (topic, reason) = (&refused["topic"], &refused["reason"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        out.push_str(&format!("topic {} is no table: {}\n", text(topic), text(reason)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_listed_in_columns() {
        let list = json!({
            "tables": [
                {"name": "flights", "topic": "flights", "activity": {"state": "running"},
                 "version": 3, "rows": 336_776, "dead": 0, "rebuild": null},
                {"name": "o", "topic": "o", "activity": {"state": "settling"}, "version": null,
                 "rows": 0, "dead": 0, "rebuild": {}},
            ],
            "refused": [{"topic": "a.b", "reason": "the table name a_b belongs to topic a_b"}],
        });
        let expected = "\
NAME     TOPIC    STATE                 VERSION  ROWS    DEAD
flights  flights  running               3        336776  0
o        o        settling, rebuilding  -        0       0
topic a.b is no table: the table name a_b belongs to topic a_b
";
        assert_eq!(listed(&list), expected);
    }
}

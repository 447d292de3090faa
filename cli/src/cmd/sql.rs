//! `streamhouse sql`: statements to a running broker, answers as a table, CSV or JSON.
//!
//! With a statement as argument it runs that. Otherwise it reads statements, ended by `;`, from a
//! terminal (with history and completion) or from standard input.

pub(super) mod client;
mod progress;
mod shell;

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use self::{client::Client, progress::Progress};

/// Flags of `streamhouse sql`.
#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// The broker's HTTP address
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        env = "STREAMHOUSE_URL"
    )]
    url: String,
    /// How rows are written
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// The longest a statement may take [default: the broker's, 60 seconds]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// The statement; without it, statements are read
    statement: Option<String>,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// RFC 4180, with a header line.
    Csv,
    /// A JSON object per line.
    Json,
}

impl Sql {
    /// Runs the statement, or those that are read.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let client = Client::new(&self.url, self.timeout.map(Duration::from_secs))?;
        if let Some(statement) = &self.statement {
            return runtime.block_on(answer(&client, statement, self.format));
        }
        if io::stdin().is_terminal() {
            return shell::run(&runtime, &client, self.format);
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("reading statements")?;
        for statement in statements(&text) {
            runtime.block_on(answer(&client, &statement, self.format))?;
        }
        Ok(())
    }
}

/// Runs a statement and prints its rows.
async fn answer(client: &Client, statement: &str, format: Format) -> anyhow::Result<()> {
    let api_format = match format {
        Format::Csv => "csv",
        Format::Json => "ndjson",
        Format::Table => "arrow",
    };
    let stream = client.query(statement, api_format, Progress::on_terminal()).await?;
    let mut out = io::stdout().lock();
    match format {
        Format::Csv | Format::Json => out.write_all(&stream)?,
        Format::Table => {
            let mut reader = arrow::ipc::reader::StreamReader::try_new(stream.as_slice(), None)
                .context("reading the answer")?;
            let schema = reader.schema();
            let batches = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
            let rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
            let table = arrow::util::pretty::pretty_format_batches_with_schema(schema, &batches)
                .context("showing the rows")?;
            writeln!(out, "{table}")?;
            writeln!(out, "{rows} row{}", if rows == 1 { "" } else { "s" })?;
        }
    }
    Ok(())
}

/// The statements of a text: what stands between semicolons outside of quotes and comments.
fn statements(text: &str) -> Vec<String> {
    let (mut found, mut current) = (Vec::new(), String::new());
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, '-') if characters.peek() == Some(&'-') => {
                // To the end of the line.
                for c in characters.by_ref() {
                    if c == '\n' {
                        break;
                    }
                }
                current.push('\n');
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ';') => {
                found.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    found.push(current);
    found.retain(|statement| !statement.trim().is_empty());
    found
}

/// Refuses what is no URL of a broker.
fn base_url(url: &str) -> anyhow::Result<url::Url> {
    let parsed = url::Url::parse(url).with_context(|| format!("--url {url}"))?;
    if parsed.scheme() != "http" || parsed.host_str().is_none() {
        bail!("--url {url}: expected http://HOST:PORT");
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
        let text = "select 1; select ';' as \"a;b\" -- not; here\n; \n;select 'it''s;'";
        let found: Vec<_> = statements(text).iter().map(|s| s.trim().to_owned()).collect();
        assert_eq!(found, ["select 1", "select ';' as \"a;b\"", "select 'it''s;'"]);
    }

    #[test]
    fn urls_are_checked() {
        assert!(base_url("http://localhost:8080").is_ok());
        for wrong in ["localhost:8080", "https://x", "http://", "file:///x"] {
            assert!(base_url(wrong).is_err(), "{wrong}");
        }
    }
}

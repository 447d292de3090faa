//! The interactive shell: lines with history and completion.

use std::{env, path::PathBuf};

use anyhow::Context as _;
use rustyline::{
    Editor, Helper, Highlighter, Hinter, Validator, completion::Completer, error::ReadlineError,
    history::FileHistory,
};
use tokio::runtime::Runtime;

use super::{Format, answer, client::Client, statements};

/// Words that complete besides the names of tables.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "HAVING",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "WITH",
    "UNION ALL",
    "EXPLAIN",
    "SHOW TABLES",
    "SHOW COLUMNS FROM",
    "COUNT(*)",
    "DISTINCT",
    "VERSION AS OF",
    "TIMESTAMP AS OF",
    "AS OF OFFSET",
    "AT LEAST OFFSET",
    "kafka_offset",
    "kafka_partition",
    "kafka_timestamp",
    "kafka_key",
    "kafka_headers",
    "kafka_rescued",
];

#[derive(Debug, Helper, Hinter, Highlighter, Validator)]
struct Words(Vec<String>);

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..position).unwrap_or(line);
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let start = before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
        let begun = before.get(start..).unwrap_or_default().to_lowercase();
        let fits = |word: &&String| !begun.is_empty() && word.to_lowercase().starts_with(&begun);
        Ok((start, self.0.iter().filter(fits).cloned().collect()))
    }
}

/// Reads and runs statements until the end of input.
pub(super) fn run(runtime: &Runtime, client: &Client, format: Format) -> anyhow::Result<()> {
    let tables = runtime.block_on(client.tables())?;
    let words = tables.into_iter().chain(WORDS.iter().map(|word| (*word).to_owned())).collect();
    let mut editor: Editor<Words, FileHistory> = Editor::new().context("opening the terminal")?;
    editor.set_helper(Some(Words(words)));
    let history = history_file();
    if let Some(path) = history.as_ref().filter(|path| path.exists()) {
        editor.load_history(path).with_context(|| format!("reading {}", path.display()))?;
    }
    let mut text = String::new();
    loop {
        let prompt = if text.is_empty() { "streamhouse> " } else { "         ... " };
        match editor.readline(prompt) {
            Ok(line) if text.is_empty() && matches!(line.trim(), "exit" | "quit" | "\\q") => break,
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
            }
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("reading a line"),
        }
        if !text.trim_end().ends_with(';') {
            continue;
        }
        let whole = std::mem::take(&mut text);
        editor.add_history_entry(whole.trim())?;
        for statement in statements(&whole) {
            if let Err(error) = runtime.block_on(answer(client, &statement, format)) {
                use std::io::Write as _;
                writeln!(std::io::stderr(), "{error:#}")?;
            }
        }
    }
    if let Some(path) = history {
        editor.save_history(&path).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn history_file() -> Option<PathBuf> {
    env::home_dir().map(|home| home.join(".streamhouse_history"))
}

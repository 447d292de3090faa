//! A line on the terminal that tells how far a long query is.

use std::io::{self, IsTerminal as _, Write as _};

/// The line; gone when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    /// A line that is not shown yet; `None` where nobody would see it.
    pub(super) fn on_terminal() -> Option<Self> {
        io::stderr().is_terminal().then(Self::default)
    }

    pub(super) fn show(&mut self, elapsed_ms: u64, rows_read: u64, rows: u64) {
        self.is_shown = true;
        // What cannot be shown is not worth an error.
        let _ = write!(io::stderr(), "\r\x1b[K{}", line(elapsed_ms, rows_read, rows));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(elapsed_ms: u64, rows_read: u64, rows: u64) -> String {
    let (seconds, tenths) = (elapsed_ms / 1000, elapsed_ms % 1000 / 100);
    let (rows_read, rows) = (grouped(rows_read), grouped(rows));
    format!("{seconds}.{tenths} s, {rows_read} rows read, {rows} answered")
}

/// A number with a comma after each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line() {
        assert_eq!(line(1250, 1_234_567, 12), "1.2 s, 1,234,567 rows read, 12 answered");
        assert_eq!(line(61_000, 100, 1000), "61.0 s, 100 rows read, 1,000 answered");
    }
}

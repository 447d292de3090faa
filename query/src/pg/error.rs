//! Errors as clients of PostgreSQL get them: severity, SQLSTATE, message, and the place.

use bytes::{BufMut as _, BytesMut};

use super::out::text;
use crate::error::QueryError;

/// Longest message; libpq takes no more than 30,000 bytes of an error.
const MESSAGE_BYTES_MAX: usize = 16_000;

/// An error for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct PgError {
    state: String,
    message: String,
    /// Where in the statement's text, as (line, column), both from one.
    place: Option<(u64, u64)>,
    /// In characters from one, once the text is known.
    position: Option<usize>,
    is_fatal: bool,
}

impl PgError {
    pub(super) fn new(state: &str, message: impl Into<String>) -> Self {
        Self {
            state: state.to_owned(),
            message: message.into(),
            place: None,
            position: None,
            is_fatal: false,
        }
    }

    /// After which the connection ends.
    pub(super) fn fatal(state: &str, message: impl Into<String>) -> Self {
        Self { is_fatal: true, ..Self::new(state, message) }
    }

    pub(super) fn into_fatal(self) -> Self {
        Self { is_fatal: true, ..self }
    }

    pub(super) fn protocol(message: String) -> Self {
        Self::new("08P01", message)
    }

    pub(super) fn canceled(reason: &str) -> Self {
        Self::new("57014", format!("canceling statement due to {reason}"))
    }

    pub(super) fn read_only(what: &str) -> Self {
        QueryError::ReadOnly(what.to_owned()).into()
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// With its place as a position in the text that it came from.
    pub(super) fn within(mut self, sql: &str) -> Self {
        if let Some((line, column)) = self.place.take() {
            self.position = position(sql, line, column);
        }
        self
    }

    pub(super) fn write(&self, body: &mut BytesMut) {
        let severity = if self.is_fatal { "FATAL" } else { "ERROR" };
        let end = self.message.floor_char_boundary(MESSAGE_BYTES_MAX);
        let position = self.position.map(|position| position.to_string());
        let fields = [
            (b'S', Some(severity)),
            (b'V', Some(severity)),
            (b'C', Some(self.state.as_str())),
            (b'M', Some(&self.message[..end])),
            (b'P', position.as_deref()),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                body.put_u8(field);
                text(body, value);
            }
        }
        body.put_u8(0);
    }
}

impl From<QueryError> for PgError {
    fn from(error: QueryError) -> Self {
        let place = error.place();
        Self { place, ..Self::new(error.sql_state(), error.to_string()) }
    }
}

/// In characters from one.
fn position(sql: &str, line: u64, column: u64) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let lines: Vec<_> = sql.split('\n').map(|line| line.chars().count() + 1).collect();
    let column = usize::try_from(column).ok()?;
    let is_there = lines.get(line).is_some_and(|length| (1..=*length).contains(&column));
    is_there.then(|| lines[..line].iter().sum::<usize>() + column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_becomes_a_position_in_characters() {
        let sql = "select 'ä',\n  nothing";
        assert_eq!(position(sql, 1, 1), Some(1));
        assert_eq!(position(sql, 2, 3), Some(15));
        assert_eq!(position(sql, 9, 1), None);
        assert_eq!(position(sql, 0, 0), None);
    }
}

//! What is persisted of a table outside its Delta log: one named value in the metadata store.
//!
//! Written before anything that depends on it: a schema version before rows of it, a gap before
//! the commit that jumps it.

use serde::{Deserialize, Serialize};

use crate::schema::TableSchema;

/// The version of the persisted form.
const FORMAT: u32 = 1;

/// Records that expired, or were deleted, before the table had them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The partition.
    pub partition: i32,
    /// The first offset that is missing.
    pub from: i64,
    /// The offset after the last that is missing.
    pub to: i64,
    /// When it was found, milliseconds since the Unix epoch.
    pub found_ms: i64,
}

/// One life of a table: a rebuild begins another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Grows with each rebuild; part of the names of its application transactions.
    #[serde(rename = "incarnation")]
    pub number: u32,
    /// Its directory below the object store's prefix of the cluster.
    pub directory: String,
    /// The schema's versions, oldest first; none until the sample is settled.
    pub schemas: Vec<TableSchema>,
    /// What it lacks.
    #[serde(default)]
    pub gaps: Vec<Gap>,
}

/// A directory that a rebuild left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The directory.
    pub directory: String,
    /// When it was replaced, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// A table's persisted state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    format: u32,
    /// What readers see.
    #[serde(flatten)]
    pub current: Incarnation,
    /// What a rebuild has so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Incarnation>,
    /// What is to be deleted once nobody reads it any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
}

impl Incarnation {
    /// One that nothing was ever written to.
    #[must_use]
    pub fn new(number: u32, directory: String) -> Self {
        Self { number, directory, schemas: Vec::new(), gaps: Vec::new() }
    }
}

/// Why a persisted state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The bytes are not what was written.
    #[error("the state of table {table} is damaged: {source}")]
    Damaged {
        /// The table's topic.
        table: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A later version of StreamHouse wrote it.
    #[error("the state of table {table} has format {format}; this version knows up to {FORMAT}")]
    Newer {
        /// The table's topic.
        table: String,
        /// The format found.
        format: u32,
    },
}

impl TableState {
    /// A table that nothing was ever written to.
    #[must_use]
    pub fn new(directory: String) -> Self {
        let current = Incarnation::new(1, directory);
        Self { format: FORMAT, current, shadow: None, replaced: Vec::new() }
    }

    /// One of its incarnations, if it still has it.
    #[must_use]
    pub fn incarnation(&self, number: u32) -> Option<&Incarnation> {
        let all = [Some(&self.current), self.shadow.as_ref()];
        all.into_iter().flatten().find(|incarnation| incarnation.number == number)
    }

    /// The same, to change it.
    pub fn incarnation_mut(&mut self, number: u32) -> Option<&mut Incarnation> {
        let all = [Some(&mut self.current), self.shadow.as_mut()];
        all.into_iter().flatten().find(|incarnation| incarnation.number == number)
    }

    /// As bytes.
    ///
    /// # Errors
    /// None is known.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn decode(table: &str, bytes: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let damaged = |source| StateError::Damaged { table: table.to_owned(), source };
        let Form { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(StateError::Newer { table: table.to_owned(), format });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rules::ValueFormat;

    #[test]
    fn the_persisted_form_is_what_it_was() {
        let mut state = TableState::new("tables/t-00c0ffee".to_owned());
        state.current.schemas.push(TableSchema::first(ValueFormat::Raw, Vec::new()));
        state.current.gaps.push(Gap { partition: 0, from: 5, to: 9, found_ms: 1 });
        let text = r#"{"format":1,"incarnation":1,"directory":"tables/t-00c0ffee","schemas":[{"version":1,"format":"raw","columns":[{"field":"value","name":"value","type":"binary"}]}],"gaps":[{"partition":0,"from":5,"to":9,"found_ms":1}]}"#;
        assert_eq!(String::from_utf8(state.encode().unwrap()).unwrap(), text);
        assert_eq!(TableState::decode("t", text.as_bytes()).unwrap(), state);
        state.shadow = Some(Incarnation::new(2, "tables/t-00c0ffee-2".to_owned()));
        state.replaced.push(Replaced { directory: "tables/t".to_owned(), at_ms: 7 });
        let more = r#","shadow":{"incarnation":2,"directory":"tables/t-00c0ffee-2","schemas":[],"gaps":[]},"replaced":[{"directory":"tables/t","at_ms":7}]}"#;
        let text = format!("{}{more}", text.strip_suffix('}').unwrap());
        assert_eq!(String::from_utf8(state.encode().unwrap()).unwrap(), text);
        assert_eq!(TableState::decode("t", text.as_bytes()).unwrap(), state);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let newer = TableState::decode("t", br#"{"format":2}"#).unwrap_err();
        assert!(newer.to_string().contains("format 2"), "{newer}");
        assert!(matches!(TableState::decode("t", b"{"), Err(StateError::Damaged { .. })));
    }
}

//! What is fixed with the first version of a table's schema: how keys and values become columns,
//! what a record does to the table, and what the files are divided by. A rebuild changes it.

use jiter::JsonValue;
use serde::{Deserialize, Serialize};

use crate::{
    decode::Undecodable,
    json,
    partition::PartitionBy,
    schema::KEY,
    transform::{self, Transform},
};

/// How a topic's values are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueFormat {
    /// A JSON object per record; its fields are columns.
    Json,
    /// UTF-8 text, in one column.
    String,
    /// Bytes, in one column.
    Raw,
}

/// What [`KEY`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyFormat {
    /// Bytes.
    #[default]
    Raw,
    /// UTF-8 text. Records with other keys cannot be decoded.
    String,
}

/// What a record does to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableMode {
    /// It adds a row.
    #[default]
    Append,
    /// It replaces the row of its key, or deletes it if it is a tombstone. The highest offset of
    /// a key wins.
    Upsert,
}

/// The same in all versions of a table's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How values are understood.
    pub format: ValueFormat,
    /// What a record does to the table.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: TableMode,
    /// What the table's files are divided by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<PartitionBy>,
    /// What the key's column holds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key: KeyFormat,
    /// What is made of a JSON value before its fields become columns.
    #[serde(default, skip_serializing_if = "is_default")]
    pub transform: Transform,
    /// The columns that tell rows of an upsert table apart; the record's key does where there are
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_columns: Vec<String>,
    /// The field of a value that says whether it deletes the row of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdc_field: Option<String>,
}

impl From<ValueFormat> for Rules {
    /// The rules of a table that has no others.
    fn from(format: ValueFormat) -> Self {
        Self {
            format,
            mode: TableMode::default(),
            partition_by: Vec::new(),
            key: KeyFormat::default(),
            transform: Transform::default(),
            id_columns: Vec::new(),
            cdc_field: None,
        }
    }
}

impl Rules {
    /// The same where every record is a row, whatever it would do to a table.
    #[must_use]
    pub fn as_log(self) -> Self {
        Self { mode: TableMode::Append, id_columns: Vec::new(), cdc_field: None, ..self }
    }

    /// The columns that tell rows of an upsert table apart.
    #[must_use]
    pub fn identity(&self) -> Vec<&str> {
        match self.id_columns.as_slice() {
            [] => vec![KEY],
            columns => columns.iter().map(String::as_str).collect(),
        }
    }

    /// The columns that the table's files are divided by.
    #[must_use]
    pub fn partition_columns(&self) -> Vec<String> {
        self.partition_by.iter().map(|by| by.column().to_owned()).collect()
    }

    /// Whether a tombstone says nothing: it has no columns to tell rows apart by, and follows a
    /// change that says that the row is deleted.
    pub(crate) fn ignores_tombstones(&self) -> bool {
        !self.id_columns.is_empty() && self.cdc_field.is_some()
    }

    /// Whether a record without this key, or a tombstone, names a row.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn check_names_row(
        &self,
        key: Option<&[u8]>,
        is_tombstone: bool,
    ) -> Result<(), Undecodable> {
        if self.mode == TableMode::Append {
            return Ok(());
        }
        match (self.id_columns.is_empty(), key) {
            (true, None) => {
                Err(Undecodable("the record has no key, which an upsert table needs".into()))
            }
            (false, _) if is_tombstone => Err(Undecodable(
                "a tombstone has no values in the columns that tell rows apart".into(),
            )),
            _ => Ok(()),
        }
    }

    /// Whether a value deletes the row that it names: `D`, `DELETE` or `true` in the field for it.
    pub(crate) fn deletes(&self, value: &JsonValue<'_>) -> bool {
        let field = self.cdc_field.as_deref();
        let Some(operation) = field.and_then(|field| transform::field(value, field)) else {
            return false;
        };
        match operation {
            JsonValue::Str(text) => {
                let deletes = ["d", "delete", "true"];
                deletes.iter().any(|delete| text.eq_ignore_ascii_case(delete))
            }
            JsonValue::Bool(deletes) => *deletes,
            _ => false,
        }
    }

    /// A value as its fields become columns.
    ///
    /// # Errors
    /// Where it is no JSON object, or not what the transformation expects.
    pub(crate) fn parse<'a>(&self, bytes: &'a [u8]) -> Result<JsonValue<'a>, Undecodable> {
        self.transform.apply(json::parse(bytes)?)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

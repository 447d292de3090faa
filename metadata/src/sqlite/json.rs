//! Values that go in and out of SQLite as text: JSON columns, and JSON arrays as the arguments of
//! statements that handle many rows at once through `json_each`.

use std::fmt::Write;

use common::{ObjectId, PartitionKey};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::error::{Error, Result};

/// A value as JSON text.
pub(super) fn encode(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::InvalidRequest(error.to_string()))
}

/// A value from the JSON text of a column.
pub(super) fn decode<T: DeserializeOwned>(column: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt(format!("{column}: {error}")))
}

/// `[["topic id in hex", partition, value …], …]`, where `values` writes `,value …`.
pub(super) fn keyed<T>(
    rows: impl IntoIterator<Item = (PartitionKey, T)>,
    values: impl Fn(&T) -> Result<String>,
) -> Result<String> {
    let mut text = String::from("[");
    for (key, row) in rows {
        let comma = if text.len() > 1 { "," } else { "" };
        let topic_id = key.topic_id.0.simple();
        let values = values(&row)?;
        write!(text, "{comma}[\"{topic_id}\",{}{values}]", key.partition)
            .map_err(|error| Error::InvalidRequest(error.to_string()))?;
    }
    text.push(']');
    Ok(text)
}

/// `[["topic id in hex", partition], …]`
pub(super) fn keys(keys: &[PartitionKey]) -> Result<String> {
    keyed(keys.iter().map(|key| (*key, ())), |()| Ok(String::new()))
}

/// `["object id in hex", …]`
pub(super) fn ids(ids: &[ObjectId]) -> Result<String> {
    let hex: Vec<_> = ids.iter().map(|id| id.0.simple().to_string()).collect();
    encode(&hex)
}

/// A UUID from a column.
pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid> {
    Uuid::from_slice(bytes).map_err(|error| Error::Corrupt(format!("id: {error}")))
}

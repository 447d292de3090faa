//! The columns of a table: Kafka's own of each record, then those of the value.
//!
//! A [`TableSchema`] is a persisted, numbered description. Sink and query decode bytes by the same
//! version of it and so get the same rows. Versions only ever add columns (and fields of
//! structures): a column keeps its type and its place for as long as the table lives.

use std::sync::Arc;

use arrow::{
    array::{BinaryBuilder, StringBuilder, StructBuilder},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit},
};
use serde::{Deserialize, Serialize};

use crate::{
    name,
    partition::PartitionBy,
    rules::{KeyFormat, Rules, ValueFormat},
};

/// What precedes the names of the columns that every table has.
pub const RESERVED_PREFIX: &str = "kafka_";
/// Column of the topic's name.
pub const TOPIC: &str = "kafka_topic";
/// Column of the partition's index.
pub const PARTITION: &str = "kafka_partition";
/// Column of the record's offset.
pub const OFFSET: &str = "kafka_offset";
/// Column of the record's timestamp; null where it has none that a calendar knows.
pub const TIMESTAMP: &str = "kafka_timestamp";
/// Column of who set the timestamp: `CreateTime` or `LogAppendTime`.
pub const TIMESTAMP_TYPE: &str = "kafka_timestamp_type";
/// Column of the record's key.
pub const KEY: &str = "kafka_key";
/// Column of the record's headers, in their order, duplicates included.
pub const HEADERS: &str = "kafka_headers";
/// Column of what of the value fits no column, as JSON of the value's shape.
pub const RESCUED: &str = "kafka_rescued";
/// Column, of rows on their way only, of whether the record is a tombstone. No field of a value
/// can have a column of this name.
pub const TOMBSTONE: &str = "kafka tombstone";
/// How many columns every table has.
pub const META_COLUMNS: usize = 8;
/// The last millisecond of the year 9999.
const TIMESTAMP_MS_MAX: i64 = 253_402_300_799_999;
/// Column of the value where it is not taken apart.
pub const VALUE: &str = "value";

/// The type of a column or of a field of a structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// `true` and `false`.
    Boolean,
    /// Integers of 64 bits.
    Bigint,
    /// Numbers as IEEE 754 doubles. Takes integers too.
    Double,
    /// Text; takes strings only.
    String,
    /// Text; strings as they are, everything else as its JSON text.
    Json,
    /// Bytes.
    Binary,
    /// A JSON object whose fields are known.
    Struct(Vec<Column>),
    /// A JSON array of one type.
    List(Box<Self>),
}

/// A column, or a field of a structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The field of the JSON object that it holds.
    pub field: String,
    /// Its name in the table; differs from `field` where that is reserved or not legal.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

/// One version of a table's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// Grows by one with each change; the first is 1.
    pub version: u32,
    /// The same in all versions.
    #[serde(flatten)]
    pub rules: Rules,
    /// The columns of the value, in the order in which they were added.
    pub columns: Vec<Column>,
}

impl Column {
    /// The column for a field that no column holds yet, or `None` where its name, ignoring case,
    /// is taken by another one of `siblings`.
    #[must_use]
    pub fn new(field: &str, kind: ColumnType, siblings: &[Self]) -> Option<Self> {
        let name = name::column_name(field);
        let is_taken = siblings.iter().any(|other| other.name.eq_ignore_ascii_case(&name));
        (!is_taken).then(|| Self { field: field.to_owned(), name, kind })
    }

    /// As Arrow and Delta see it.
    #[must_use]
    pub fn arrow(&self) -> Field {
        Field::new(&self.name, self.kind.arrow(), true)
    }

    /// How many columns it counts for: its leaves.
    #[must_use]
    pub fn leaves(&self) -> usize {
        self.kind.leaves()
    }
}

impl ColumnType {
    /// As Arrow and Delta see it.
    #[must_use]
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Bigint => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::String | Self::Json => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Struct(fields) => DataType::Struct(fields.iter().map(Column::arrow).collect()),
            Self::List(element) => DataType::List(Arc::new(list_element(element.arrow()))),
        }
    }

    fn leaves(&self) -> usize {
        match self {
            Self::Struct(fields) => fields.iter().map(Column::leaves).sum(),
            Self::List(element) => element.leaves(),
            _ => 1,
        }
    }
}

impl TableSchema {
    /// Version 1 of a table whose values are not taken apart, or are by these columns.
    #[must_use]
    pub fn first(rules: impl Into<Rules>, columns: Vec<Column>) -> Self {
        let rules = rules.into();
        let whole = |kind| Column { field: VALUE.to_owned(), name: VALUE.to_owned(), kind };
        let columns = match rules.format {
            ValueFormat::Json => columns,
            ValueFormat::String => vec![whole(ColumnType::String)],
            ValueFormat::Raw => vec![whole(ColumnType::Binary)],
        };
        Self { version: 1, rules, columns }
    }

    /// All columns as Arrow and Delta see them.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        let own = self.rules.partition_by.iter().filter_map(PartitionBy::own_field);
        let columns = self.columns.iter().map(Column::arrow);
        let all = meta_fields(self.rules.key).into_iter().chain(own).chain(columns);
        Arc::new(Schema::new(all.collect::<Vec<_>>()))
    }

    /// The same with some of the value's columns only, for who reads no others.
    #[must_use]
    pub fn with_columns(&self, is_wanted: impl Fn(&str) -> bool) -> Self {
        let columns = self.columns.iter().filter(|column| is_wanted(&column.name));
        Self { columns: columns.cloned().collect(), ..self.clone() }
    }
}

/// The columns that every table has, first so that Delta keeps their statistics.
#[must_use]
pub fn meta_fields(key: KeyFormat) -> Vec<Field> {
    let key = match key {
        KeyFormat::Raw => DataType::Binary,
        KeyFormat::String => DataType::Utf8,
    };
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    vec![
        Field::new(TOPIC, DataType::Utf8, true),
        Field::new(PARTITION, DataType::Int32, true),
        Field::new(OFFSET, DataType::Int64, true),
        Field::new(TIMESTAMP, timestamp, true),
        Field::new(TIMESTAMP_TYPE, DataType::Utf8, true),
        Field::new(KEY, key, true),
        Field::new(HEADERS, DataType::List(Arc::new(header_element())), true),
        Field::new(RESCUED, DataType::Utf8, true),
    ]
}

/// A header within [`HEADERS`].
#[must_use]
pub fn header_element() -> Field {
    list_element(DataType::Struct(header_fields()))
}

/// A record's timestamp as [`TIMESTAMP`] has it: microseconds, or null for none and for what lies
/// outside the years 1970 to 9999, which not every reader of a table has a calendar for.
#[must_use]
pub fn timestamp_micros(timestamp_ms: i64) -> Option<i64> {
    (0..=TIMESTAMP_MS_MAX).contains(&timestamp_ms).then(|| timestamp_ms * 1000)
}

/// Appends a header to a builder of [`header_fields`].
pub fn append_header(headers: &mut StructBuilder, key: &[u8], value: Option<&[u8]>) {
    if let Some(keys) = headers.field_builder::<StringBuilder>(0) {
        keys.append_value(String::from_utf8_lossy(key));
    }
    if let Some(values) = headers.field_builder::<BinaryBuilder>(1) {
        values.append_option(value);
    }
    headers.append(true);
}

/// The fields of a header.
#[must_use]
pub fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Binary, true),
    ])
}

/// Delta calls what a list holds `element`.
fn list_element(kind: DataType) -> Field {
    Field::new("element", kind, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_persisted_form_is_what_it_was() {
        let columns = vec![
            Column::new("carrier", ColumnType::String, &[]).unwrap(),
            Column::new(
                "at",
                ColumnType::Struct(vec![Column::new("lat", ColumnType::Double, &[]).unwrap()]),
                &[],
            )
            .unwrap(),
            Column::new("tags", ColumnType::List(Box::new(ColumnType::Json)), &[]).unwrap(),
        ];
        let schema = TableSchema::first(ValueFormat::Json, columns);
        let text = r#"{"version":1,"format":"json","columns":[{"field":"carrier","name":"carrier","type":"string"},{"field":"at","name":"at","type":{"struct":[{"field":"lat","name":"lat","type":"double"}]}},{"field":"tags","name":"tags","type":{"list":"json"}}]}"#;
        assert_eq!(serde_json::to_string(&schema).unwrap(), text);
        assert_eq!(serde_json::from_str::<TableSchema>(text).unwrap(), schema);
    }

    #[test]
    fn every_table_has_the_columns_of_kafka_first() {
        let schema = TableSchema::first(ValueFormat::Raw, Vec::new()).arrow();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names.len(), META_COLUMNS + 1);
        assert_eq!(names[1..3], [PARTITION, OFFSET]);
        assert_eq!(names[META_COLUMNS], VALUE);
    }
}

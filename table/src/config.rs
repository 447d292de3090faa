//! The `table.*` configuration of a topic.
//!
//! The broker's table of keys checks types and ranges one by one; here is what they mean together.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    name,
    partition::PartitionBy,
    schema::{Column, ColumnType, TableMode, ValueFormat},
};

/// What happens to records that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// They become rows of the dead-letter table.
    DeadLetter,
    /// They are counted and left out.
    Skip,
    /// The table stops before the first of them until its configuration is changed.
    Suspend,
}

/// A topic's table as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// How values are understood.
    pub format: ValueFormat,
    /// What a record does to a new table.
    pub mode: TableMode,
    /// The name asked for; the topic gives it otherwise.
    pub name: Option<String>,
    /// Declared columns; what the values have is inferred where there are none.
    pub declared: Vec<Column>,
    /// Whether fields that no column holds get one.
    pub evolves: bool,
    /// Values that settle the first schema.
    pub sample_records: usize,
    /// How long the first value waits for the others of the sample.
    pub sample_time: Duration,
    /// Most columns, leaves of structures counted.
    pub columns_max: usize,
    /// How often rows are committed.
    pub commit_interval: Duration,
    /// Bytes of Parquet at which a file is closed.
    pub target_file_bytes: usize,
    /// What happens to records that cannot be decoded.
    pub on_error: OnError,
    /// What the files of a new table are divided by.
    pub partition_by: Vec<PartitionBy>,
    /// Partitions that one commit writes to at most, where its rows can be divided.
    pub partitions_max: usize,
    /// Whether small files are merged.
    pub merges_files: bool,
    /// How long rows are kept by their timestamps; for ever where there is none.
    pub retention: Option<Duration>,
    /// How much longer than the topic's retention records are kept that the table still lacks.
    pub hold: Duration,
    /// How long versions, and files that no newer version has, are kept.
    pub snapshot_retention: Duration,
}

/// The keys, as Kafka's tools set them.
pub mod keys {
    /// Whether the topic is a table.
    pub const ENABLE: &str = "table.enable";
    /// `json`, `string` or `raw`.
    pub const VALUE_CONVERT: &str = "table.value.convert";
    /// `append` or `upsert`.
    pub const MODE: &str = "table.mode";
    /// The table's name.
    pub const NAME: &str = "table.name";
    /// Declared columns.
    pub const SCHEMA: &str = "table.schema";
    /// `add` or `strict`.
    pub const EVOLUTION: &str = "table.schema.evolution";
    /// Values that settle the first schema.
    pub const SAMPLE_RECORDS: &str = "table.schema.sample.records";
    /// How long the first value waits for the others.
    pub const SAMPLE_MS: &str = "table.schema.sample.ms";
    /// Most columns.
    pub const COLUMNS_MAX: &str = "table.columns.max";
    /// How often rows are committed.
    pub const COMMIT_INTERVAL_MS: &str = "table.commit.interval.ms";
    /// Bytes at which a file is closed.
    pub const TARGET_FILE_BYTES: &str = "table.target.file.bytes";
    /// `dlq`, `skip` or `suspend`.
    pub const ERRORS: &str = "table.errors";
    /// What files are divided by.
    pub const PARTITION_BY: &str = "table.partition.by";
    /// Partitions that one commit writes to at most.
    pub const PARTITIONS_MAX: &str = "table.partitions.per.commit.max";
    /// Whether small files are merged.
    pub const COMPACTION: &str = "table.compaction.enable";
    /// How long rows are kept.
    pub const RETENTION_MS: &str = "table.retention.ms";
    /// How much longer records are kept for the table.
    pub const HOLD_MS: &str = "table.hold.ms";
    /// How long versions are kept.
    pub const SNAPSHOT_RETENTION_MS: &str = "table.snapshot.retention.ms";
}

impl TableConfig {
    /// Reads a topic's values in force (defaults filled in). `None` where it is no table.
    ///
    /// # Errors
    /// What is wrong, the value, and what would be right.
    pub fn read(values: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let text = |key: &str| values.get(key).map_or("", |value| value.trim());
        let format = match text(keys::VALUE_CONVERT) {
            "" | "json" => ValueFormat::Json,
            "string" => ValueFormat::String,
            "raw" => ValueFormat::Raw,
            other => return Err(unknown(keys::VALUE_CONVERT, other, "json, string or raw")),
        };
        let name = match text(keys::NAME) {
            "" => None,
            name if name::is_table_name(name) => Some(name.to_owned()),
            name => {
                let right =
                    format!("letters of ASCII, digits and _, at most {}", name::TABLE_NAME_LEN_MAX);
                return Err(unknown(keys::NAME, name, &right));
            }
        };
        let declared = declared(text(keys::SCHEMA))?;
        if !declared.is_empty() && format != ValueFormat::Json {
            let reason = format!(
                "{}={}: columns can be declared for {}=json only",
                keys::SCHEMA,
                text(keys::SCHEMA),
                keys::VALUE_CONVERT
            );
            return Err(reason);
        }
        let partition_by =
            PartitionBy::parse_list(text(keys::PARTITION_BY), &declared).map_err(|reason| {
                format!("{}={}: {reason}", keys::PARTITION_BY, text(keys::PARTITION_BY))
            })?;
        let config = Self {
            format,
            mode: match text(keys::MODE) {
                "" | "append" => TableMode::Append,
                "upsert" => TableMode::Upsert,
                other => return Err(unknown(keys::MODE, other, "append or upsert")),
            },
            name,
            declared,
            partition_by,
            partitions_max: number(values, keys::PARTITIONS_MAX, 256)?,
            merges_files: is_true(text(keys::COMPACTION), true),
            retention: match text(keys::RETENTION_MS) {
                "" | "-1" => None,
                _ => Some(millis(values, keys::RETENTION_MS, 0)?),
            },
            hold: millis(values, keys::HOLD_MS, 86_400_000)?,
            snapshot_retention: millis(values, keys::SNAPSHOT_RETENTION_MS, 604_800_000)?,
            evolves: match text(keys::EVOLUTION) {
                "" | "add" => true,
                "strict" => false,
                other => return Err(unknown(keys::EVOLUTION, other, "add or strict")),
            },
            sample_records: number(values, keys::SAMPLE_RECORDS, 1000)?,
            sample_time: millis(values, keys::SAMPLE_MS, 2000)?,
            columns_max: number(values, keys::COLUMNS_MAX, 1000)?,
            commit_interval: millis(values, keys::COMMIT_INTERVAL_MS, 5000)?,
            target_file_bytes: number(values, keys::TARGET_FILE_BYTES, 128 << 20)?,
            on_error: match text(keys::ERRORS) {
                "" | "dlq" => OnError::DeadLetter,
                "skip" => OnError::Skip,
                "suspend" => OnError::Suspend,
                other => return Err(unknown(keys::ERRORS, other, "dlq, skip or suspend")),
            },
        };
        Ok(is_true(text(keys::ENABLE), false).then_some(config))
    }
}

/// As Kafka reads a boolean.
fn is_true(text: &str, default: bool) -> bool {
    if text.is_empty() { default } else { text.eq_ignore_ascii_case("true") }
}

fn unknown(key: &str, value: &str, right: &str) -> String {
    format!("{key}={value}: expected {right}")
}

fn number(
    values: &BTreeMap<String, String>,
    key: &'static str,
    default: usize,
) -> Result<usize, String> {
    match values.get(key).map(|value| value.trim()) {
        None | Some("") => Ok(default),
        Some(text) => text.parse().map_err(|_| unknown(key, text, "a number that is not negative")),
    }
}

fn millis(
    values: &BTreeMap<String, String>,
    key: &'static str,
    default: usize,
) -> Result<Duration, String> {
    Ok(Duration::from_millis(number(values, key, default)? as u64))
}

/// Columns as `name TYPE, …`.
fn declared(text: &str) -> Result<Vec<Column>, String> {
    let mut columns: Vec<Column> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = |right: &str| unknown(keys::SCHEMA, part, right);
        let (field, kind) =
            part.rsplit_once(char::is_whitespace).ok_or_else(|| wrong("`name TYPE, …`"))?;
        let kind = match kind.to_ascii_uppercase().as_str() {
            "BOOLEAN" => ColumnType::Boolean,
            "BIGINT" => ColumnType::Bigint,
            "DOUBLE" => ColumnType::Double,
            "STRING" => ColumnType::String,
            "JSON" => ColumnType::Json,
            _ => return Err(wrong("a TYPE of BOOLEAN, BIGINT, DOUBLE, STRING or JSON")),
        };
        let column = Column::new(field.trim(), kind, &columns)
            .ok_or_else(|| wrong("names that differ by more than case"))?;
        columns.push(column);
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<TableConfig>, String> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        TableConfig::read(&pairs.collect())
    }

    #[test]
    fn a_topic_is_a_table_only_when_it_is_enabled() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[(keys::ENABLE, "false"), (keys::NAME, "x")]).unwrap(), None);
        assert!(read(&[(keys::ENABLE, "TRUE")]).unwrap().is_some());
        let config = read(&[(keys::ENABLE, "true")]).unwrap().unwrap();
        assert_eq!(config.format, ValueFormat::Json);
        assert_eq!(config.commit_interval, Duration::from_secs(5));
        assert!(config.evolves);
    }

    #[test]
    fn columns_are_declared_as_in_sql() {
        let text = "carrier string, dep_delay BIGINT , tail num JSON";
        let config = read(&[(keys::ENABLE, "true"), (keys::SCHEMA, text)]).unwrap().unwrap();
        let found: Vec<_> =
            config.declared.iter().map(|c| (c.field.as_str(), c.kind.clone())).collect();
        assert_eq!(
            found,
            [
                ("carrier", ColumnType::String),
                ("dep_delay", ColumnType::Bigint),
                ("tail num", ColumnType::Json)
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_even_while_the_table_is_off() {
        for (key, value, expected) in [
            (keys::VALUE_CONVERT, "avro", "json, string or raw"),
            (keys::NAME, "a.b", "letters of ASCII"),
            (keys::SCHEMA, "carrier", "`name TYPE"),
            (keys::SCHEMA, "carrier VARCHAR(3)", "a TYPE of"),
            (keys::SCHEMA, "a BIGINT, A BIGINT", "differ by more than case"),
            (keys::EVOLUTION, "full", "add or strict"),
            (keys::ERRORS, "drop", "dlq, skip or suspend"),
            (keys::MODE, "merge", "append or upsert"),
            (keys::COLUMNS_MAX, "-1", "not negative"),
            (keys::PARTITION_BY, "carrier", "declared in table.schema"),
            (keys::RETENTION_MS, "-2", "not negative"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.contains(expected) && error.starts_with(key), "{error}");
        }
        let both = [(keys::SCHEMA, "a BIGINT"), (keys::VALUE_CONVERT, "raw")];
        assert!(read(&both).unwrap_err().contains("json only"));
    }
}

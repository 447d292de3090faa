//! The `table.*` configuration of a topic.
//!
//! The broker's table of keys checks types and ranges one by one; here is what they mean together.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use crate::{
    alias,
    name::{self, TableName},
    partition::PartitionBy,
    rules::{KeyFormat, Rules, TableMode, ValueFormat},
    schema::{Column, ColumnType, TableSchema},
    transform::{self, Transform},
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
    /// How values are understood; the sample says it where there is none.
    pub format: Option<ValueFormat>,
    /// What the key's column of a new table holds.
    pub key: KeyFormat,
    /// What is made of JSON values before their fields become columns of a new table.
    pub transform: Transform,
    /// What a record does to a new table.
    pub mode: TableMode,
    /// The columns that tell rows of a new upsert table apart; the key does where there are none.
    pub id_columns: Vec<String>,
    /// The field that says whether a value deletes its row.
    pub cdc_field: Option<String>,
    /// The name asked for; the topic gives it otherwise.
    pub name: Option<String>,
    /// The SQL schema that the table is in.
    pub namespace: String,
    /// The name asked for of the dead-letter table; the table gives it otherwise.
    pub dead_letters: Option<String>,
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
    /// How many of the newest versions are kept, however old they are.
    pub snapshots_min: usize,
}

/// What `table.commit.interval.ms` may be.
pub const COMMIT_INTERVAL_MS: RangeInclusive<i64> = 100..=900_000;
/// What `table.snapshot.min` may be.
pub const SNAPSHOT_MIN: RangeInclusive<i64> = 1..=100;
/// What `table.snapshot.retention.ms` is at least.
pub const SNAPSHOT_RETENTION_MS_MIN: i64 = 3_600_000;
/// What the names of the keys begin with.
const PREFIX: &str = "table.";

/// Whether a topic's key concerns its table.
#[must_use]
pub fn concerns_table(key: &str) -> bool {
    key.starts_with(PREFIX) || alias::is_alias(key)
}

/// The keys, as Kafka's tools set them.
pub mod keys {
    /// Whether the topic is a table.
    pub const ENABLE: &str = "table.enable";
    /// `delta`.
    pub const FORMAT: &str = "table.format";
    /// `auto`, `json`, `string` or `raw`.
    pub const VALUE_CONVERT: &str = "table.value.convert";
    /// `raw` or `string`.
    pub const KEY_CONVERT: &str = "table.key.convert";
    /// `none`, `flatten` or `flatten_debezium`.
    pub const TRANSFORM: &str = "table.transform";
    /// Columns that tell rows of an upsert table apart.
    pub const ID_COLUMNS: &str = "table.id.columns";
    /// The field that says whether a value deletes its row.
    pub const CDC_FIELD: &str = "table.cdc.field";
    /// `append` or `upsert`.
    pub const MODE: &str = "table.mode";
    /// The table's name.
    pub const NAME: &str = "table.name";
    /// The SQL schema.
    pub const NAMESPACE: &str = "table.namespace";
    /// The name of the dead-letter table.
    pub const DLQ: &str = "table.dlq";
    /// Whether the table is deleted with its topic.
    pub const DELETE_WITH_TOPIC: &str = "table.delete.with.topic";
    /// How many versions are kept at least.
    pub const SNAPSHOT_MIN: &str = "table.snapshot.min";
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
    /// Reads a topic's values in force (defaults filled in), those of other products' keys
    /// included. `None` where it is no table.
    ///
    /// # Errors
    /// What is wrong, the value, and what would be right.
    pub fn read(values: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        Self::read_own(&alias::translated(values).values)
    }

    /// Reads the values of our own keys.
    pub(crate) fn read_own(values: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let text = |key: &str| values.get(key).map_or("", |value| value.trim());
        match text(keys::FORMAT) {
            "" | "delta" => {}
            other => return Err(unknown(keys::FORMAT, other, "delta")),
        }
        let key = match text(keys::KEY_CONVERT) {
            "" | "raw" => KeyFormat::Raw,
            "string" => KeyFormat::String,
            other => return Err(unknown(keys::KEY_CONVERT, other, "raw or string")),
        };
        let transform = match text(keys::TRANSFORM) {
            "" | "none" => Transform::None,
            "flatten" => Transform::Flatten,
            "flatten_debezium" => Transform::FlattenDebezium,
            other => {
                return Err(unknown(keys::TRANSFORM, other, "none, flatten or flatten_debezium"));
            }
        };
        let declared = declared(text(keys::SCHEMA))?;
        // Only JSON can be taken apart.
        let takes_apart = [
            (!declared.is_empty()).then_some(keys::SCHEMA),
            (transform != Transform::None).then_some(keys::TRANSFORM),
        ];
        let takes_apart = takes_apart.into_iter().flatten().next();
        let format = match (text(keys::VALUE_CONVERT), takes_apart) {
            ("json", _) | ("" | "auto", Some(_)) => Some(ValueFormat::Json),
            ("" | "auto", None) => None,
            ("string", None) => Some(ValueFormat::String),
            ("raw", None) => Some(ValueFormat::Raw),
            ("string" | "raw", Some(other)) => {
                return Err(format!(
                    "{other}={}: needs {}=json, whose fields are columns",
                    text(other),
                    keys::VALUE_CONVERT
                ));
            }
            (other, _) => {
                return Err(unknown(keys::VALUE_CONVERT, other, "auto, json, string or raw"));
            }
        };
        let named = |key: &'static str, is_right: fn(&str) -> bool| match text(key) {
            "" => Ok(None),
            name if is_right(name) => Ok(Some(name.to_owned())),
            name => {
                let right = format!(
                    "letters of ASCII, digits and _, at most {}, and no name of the catalog's",
                    name::TABLE_NAME_LEN_MAX
                );
                Err(unknown(key, name, &right))
            }
        };
        let name = named(keys::NAME, name::is_table_name)?;
        let namespace = named(keys::NAMESPACE, name::is_namespace)?;
        let dead_letters = named(keys::DLQ, name::is_table_name)?;
        let partition_by =
            PartitionBy::parse_list(text(keys::PARTITION_BY), &declared).map_err(|reason| {
                format!("{}={}: {reason}", keys::PARTITION_BY, text(keys::PARTITION_BY))
            })?;
        let mode = match text(keys::MODE) {
            "" | "append" => TableMode::Append,
            "upsert" => TableMode::Upsert,
            other => return Err(unknown(keys::MODE, other, "append or upsert")),
        };
        let id_columns = id_columns(text(keys::ID_COLUMNS), &declared)?;
        let cdc_field = Some(text(keys::CDC_FIELD)).filter(|field| !field.is_empty());
        if mode == TableMode::Append {
            for key in [keys::ID_COLUMNS, keys::CDC_FIELD] {
                if !text(key).is_empty() {
                    return Err(format!("{key}={}: needs {}=upsert", text(key), keys::MODE));
                }
            }
        }
        let config = Self {
            format,
            key,
            transform,
            mode,
            id_columns,
            cdc_field: match (cdc_field, mode, transform) {
                (None, TableMode::Upsert, Transform::FlattenDebezium) => {
                    Some(transform::CDC_OPERATION.to_owned())
                }
                (field, _, _) => field.map(str::to_owned),
            },
            name,
            namespace: namespace.unwrap_or_else(|| name::DEFAULT_NAMESPACE.to_owned()),
            dead_letters,
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
            snapshots_min: number(values, keys::SNAPSHOT_MIN, 5)?,
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

    /// The name of the table of a topic.
    #[must_use]
    pub fn table_name(&self, topic: &str) -> TableName {
        TableName {
            namespace: self.namespace.clone(),
            name: self.name.clone().unwrap_or_else(|| name::table_name(topic)),
        }
    }

    /// The name of a table's dead-letter table.
    #[must_use]
    pub fn dead_letters(&self, table: &TableName) -> TableName {
        let default = || format!("{}{}", table.name, name::DEAD_LETTERS_SUFFIX);
        TableName {
            namespace: table.namespace.clone(),
            name: self.dead_letters.clone().unwrap_or_else(default),
        }
    }

    /// What is fixed with the first schema of a table whose values are understood as `format`.
    #[must_use]
    pub fn rules(&self, format: ValueFormat) -> Rules {
        Rules {
            format,
            mode: self.mode,
            partition_by: self.partition_by.clone(),
            key: self.key,
            transform: self.transform,
            id_columns: self.id_columns.clone(),
            cdc_field: self.cdc_field.clone(),
        }
    }

    /// The first schema, where no value has to be looked at for it.
    #[must_use]
    pub fn declared_schema(&self) -> Option<TableSchema> {
        let format = self.format?;
        let is_known = format != ValueFormat::Json || !self.declared.is_empty();
        is_known.then(|| TableSchema::first(self.rules(format), self.declared.clone()))
    }
}

/// Names of declared columns whose values can be told apart.
fn id_columns(text: &str, declared: &[Column]) -> Result<Vec<String>, String> {
    let wrong = |part: &str| {
        let right = "columns of BOOLEAN, BIGINT or STRING that are declared in table.schema";
        unknown(keys::ID_COLUMNS, part, right)
    };
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let column = declared.iter().find(|column| column.name == name);
        let kind = &column.ok_or_else(|| wrong(name))?.kind;
        if !matches!(kind, ColumnType::Boolean | ColumnType::Bigint | ColumnType::String) {
            return Err(wrong(name));
        }
        if found.iter().any(|other| other == name) {
            return Err(unknown(keys::ID_COLUMNS, name, "each column once"));
        }
        found.push(name.to_owned());
    }
    Ok(found)
}

/// As Kafka reads a boolean.
pub(crate) fn is_true(text: &str, default: bool) -> bool {
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
        assert_eq!(config.format, None);
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
    fn what_takes_values_apart_makes_them_json() {
        let enabled = (keys::ENABLE, "true");
        for pair in [(keys::SCHEMA, "a BIGINT"), (keys::TRANSFORM, "flatten")] {
            let config = read(&[enabled, pair]).unwrap().unwrap();
            assert_eq!(config.format, Some(ValueFormat::Json));
        }
    }

    #[test]
    fn rows_of_upsert_tables_are_told_apart_by_declared_columns() {
        let upsert = [
            (keys::ENABLE, "true"),
            (keys::MODE, "upsert"),
            (keys::SCHEMA, "id BIGINT, part STRING, at DOUBLE"),
        ];
        let with = |pair| read(&[&upsert[..], &[pair]].concat());
        let config = with((keys::ID_COLUMNS, "part, id")).unwrap().unwrap();
        assert_eq!(config.rules(ValueFormat::Json).identity(), ["part", "id"]);
        assert_eq!(config.cdc_field, None);
        let config = with((keys::TRANSFORM, "flatten_debezium")).unwrap().unwrap();
        assert_eq!(config.cdc_field.as_deref(), Some("_cdc.op"));
        for (columns, expected) in
            [("at", "BIGINT or STRING"), ("id,id", "once"), ("x", "declared")]
        {
            let error = with((keys::ID_COLUMNS, columns)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let append = [(keys::SCHEMA, "id BIGINT"), (keys::ID_COLUMNS, "id")];
        assert!(read(&append).unwrap_err().contains("needs table.mode=upsert"));
    }

    #[test]
    fn what_is_wrong_is_said_even_while_the_table_is_off() {
        for (key, value, expected) in [
            (keys::VALUE_CONVERT, "avro", "json, string or raw"),
            (keys::FORMAT, "iceberg", "delta"),
            (keys::KEY_CONVERT, "json", "raw or string"),
            (keys::TRANSFORM, "unwrap", "none, flatten or"),
            (keys::ID_COLUMNS, "id", "declared in table.schema"),
            (keys::CDC_FIELD, "op", "needs table.mode=upsert"),
            (keys::NAME, "a.b", "letters of ASCII"),
            (keys::NAMESPACE, "pg_catalog", "letters of ASCII"),
            (keys::DLQ, "a b", "letters of ASCII"),
            (keys::SNAPSHOT_MIN, "many", "not negative"),
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
        assert!(read(&both).unwrap_err().contains("needs table.value.convert=json"));
        let both = [(keys::TRANSFORM, "flatten"), (keys::VALUE_CONVERT, "string")];
        assert!(read(&both).unwrap_err().contains("needs table.value.convert=json"));
    }
}

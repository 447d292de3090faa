//! How a table's files are divided: by stored columns that are filled from others.
//!
//! `table.partition.by` is a list of `day(kafka_timestamp)`, `bucket(N, kafka_key)` and names of
//! columns. The first two have columns of their own, so that readers that know nothing of the
//! expression skip files by them all the same.

use std::{collections::HashSet, io::Cursor};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field},
    error::ArrowError,
    row::{OwnedRow, RowConverter, SortField},
};
use murmur3::murmur3_32;
use serde::{Deserialize, Serialize};

use crate::schema::{Column, ColumnType, KEY, PARTITION, TIMESTAMP};

/// Column of the UTC day of [`TIMESTAMP`].
pub const DAY: &str = "kafka_day";
/// Column of the bucket of [`KEY`].
pub const BUCKET: &str = "kafka_bucket";
/// Most buckets.
pub const BUCKETS_MAX: u32 = 10_000;

/// Milliseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// One thing that files are divided by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionBy {
    /// `day(kafka_timestamp)`: [`DAY`]; null where there is no timestamp.
    Day,
    /// `bucket(N, kafka_key)`: [`BUCKET`], as Iceberg counts buckets; null where there is no key.
    Bucket(u32),
    /// The values of a column as they are.
    Column(String),
}

impl PartitionBy {
    /// Reads a list as it is configured; columns of values have to be among the `declared`.
    ///
    /// # Errors
    /// What is wrong and what would be right.
    pub fn parse_list(text: &str, declared: &[Column]) -> Result<Vec<Self>, String> {
        let mut found: Vec<Self> = Vec::new();
        for part in split(text) {
            let by = Self::parse(part, declared)?;
            if found.contains(&by) || (matches!(by, Self::Bucket(_)) && has_bucket(&found)) {
                return Err(format!("{part} is there twice"));
            }
            found.push(by);
        }
        Ok(found)
    }

    fn parse(part: &str, declared: &[Column]) -> Result<Self, String> {
        let spaceless: String = part.chars().filter(|c| !c.is_whitespace()).collect();
        if spaceless == format!("day({TIMESTAMP})") {
            return Ok(Self::Day);
        }
        if let Some(arguments) = spaceless.strip_prefix("bucket(").and_then(|a| a.strip_suffix(')'))
        {
            let buckets = arguments.strip_suffix(&format!(",{KEY}")).and_then(|n| n.parse().ok());
            return match buckets {
                Some(buckets @ 1..=BUCKETS_MAX) => Ok(Self::Bucket(buckets)),
                _ => Err(format!("{part}: expected bucket(N, {KEY}), N from 1 to {BUCKETS_MAX}")),
            };
        }
        if part == PARTITION {
            return Ok(Self::Column(part.to_owned()));
        }
        match declared.iter().find(|column| column.name == part).map(|column| &column.kind) {
            Some(ColumnType::Boolean | ColumnType::Bigint | ColumnType::String) => {
                Ok(Self::Column(part.to_owned()))
            }
            Some(_) => Err(format!("{part}: only BOOLEAN, BIGINT and STRING columns divide files")),
            None => Err(format!(
                "{part}: expected day({TIMESTAMP}), bucket(N, {KEY}), {PARTITION}, or a column \
                 declared in table.schema"
            )),
        }
    }

    /// The column that it has of its own, beside those of the table.
    #[must_use]
    pub fn own_field(&self) -> Option<Field> {
        match self {
            Self::Day => Some(Field::new(DAY, DataType::Date32, true)),
            Self::Bucket(_) => Some(Field::new(BUCKET, DataType::Int32, true)),
            Self::Column(_) => None,
        }
    }

    /// The column that files are divided by.
    #[must_use]
    pub fn column(&self) -> &str {
        match self {
            Self::Day => DAY,
            Self::Bucket(_) => BUCKET,
            Self::Column(name) => name,
        }
    }
}

fn has_bucket(found: &[PartitionBy]) -> bool {
    found.iter().any(|by| matches!(by, PartitionBy::Bucket(_)))
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// The values of the partition columns in some rows: a file each. Empty where there are no such
/// columns.
///
/// # Errors
/// Where Arrow cannot compare them, which would be a mistake in here.
pub fn divisions(
    partition_by: &[PartitionBy],
    rows: &RecordBatch,
) -> Result<HashSet<OwnedRow>, ArrowError> {
    let columns = partition_by.iter().filter_map(|by| rows.column_by_name(by.column()).cloned());
    let columns: Vec<_> = columns.collect();
    let mut found = HashSet::new();
    if columns.is_empty() {
        return Ok(found);
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    let converted = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
    // Neighbours are mostly alike.
    let mut last = None;
    for row in &converted {
        if last.replace(row) != Some(row) {
            found.insert(row.owned());
        }
    }
    Ok(found)
}

/// The day of a timestamp in microseconds, counted from the Unix epoch.
#[must_use]
pub fn day(timestamp_micros: i64) -> i32 {
    i32::try_from(timestamp_micros.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX)
}

/// The bucket of some bytes, as Iceberg's `bucket[N]` (specification, appendix B).
#[must_use]
pub fn bucket(bytes: &[u8], buckets: u32) -> i32 {
    // Reading from memory cannot fail.
    let hash = murmur3_32(&mut Cursor::new(bytes), 0).unwrap_or(0);
    i32::try_from((hash & 0x7fff_ffff) % buckets.max(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn declared() -> Vec<Column> {
        vec![
            Column::new("carrier", ColumnType::String, &[]).unwrap(),
            Column::new("delay", ColumnType::Double, &[]).unwrap(),
        ]
    }

    #[test]
    fn lists_are_read() {
        let text = "day( kafka_timestamp ), bucket(16, kafka_key), carrier,kafka_partition";
        let found = PartitionBy::parse_list(text, &declared()).unwrap();
        let columns: Vec<_> = found.iter().map(PartitionBy::column).collect();
        assert_eq!(columns, [DAY, BUCKET, "carrier", PARTITION]);
        assert_eq!(found[1], PartitionBy::Bucket(16));
        assert!(PartitionBy::parse_list("  ", &[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("hour(kafka_timestamp)", "expected day("),
            ("tailnum", "declared in table.schema"),
            ("delay", "BOOLEAN, BIGINT and STRING"),
            ("bucket(0, kafka_key)", "N from 1"),
            ("bucket(4, carrier)", "N from 1"),
            ("carrier, carrier", "there twice"),
            ("bucket(4,kafka_key),bucket(8,kafka_key)", "there twice"),
        ] {
            let error = PartitionBy::parse_list(text, &declared()).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// The specification's examples of hashes of strings and bytes.
    #[test]
    fn buckets_are_icebergs() {
        assert_eq!(murmur3_32(&mut Cursor::new("iceberg"), 0).unwrap(), 1_210_000_089);
        let hash = murmur3_32(&mut Cursor::new([0, 1, 2, 3]), 0).unwrap();
        assert_eq!(i32::from_be_bytes(hash.to_be_bytes()), -188_683_207);
        assert_eq!(bucket(b"iceberg", 16), 1_210_000_089 % 16);
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(day(0), 0);
        assert_eq!(day(DAY_MICROS - 1), 0);
        assert_eq!(day(DAY_MICROS), 1);
        assert_eq!(day(1_356_998_400_000_000), 15_706);
    }

    #[test]
    fn the_persisted_form_is_what_it_was() {
        let all =
            vec![PartitionBy::Day, PartitionBy::Bucket(4), PartitionBy::Column("c".to_owned())];
        let text = r#"["day",{"bucket":4},{"column":"c"}]"#;
        assert_eq!(serde_json::to_string(&all).unwrap(), text);
        assert_eq!(serde_json::from_str::<Vec<PartitionBy>>(text).unwrap(), all);
    }
}

//! Committed records on their way from the log to rows.

use std::{fmt, sync::Arc};

use arrow::{
    array::{BooleanArray, RecordBatch},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
    error::ArrowError,
};
use bytes::Bytes;
use protocol::records::{
    BatchBuilder, BatchHeader, Compression, Header, Headers, RecordError, TimestampType,
};

use crate::{
    infer::Sample,
    reader::Chunk,
    rows::RowsBuilder,
    schema::{TOMBSTONE, TableSchema},
};

/// Why a value cannot be decoded: what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable(pub String);

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record as the log holds it.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch; -1 for none.
    pub timestamp_ms: i64,
    /// `CreateTime` or `LogAppendTime`.
    pub timestamp_type: &'static str,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
}

/// Kafka's names of the timestamp types.
pub const CREATE_TIME: &str = "CreateTime";
/// The same.
pub const LOG_APPEND_TIME: &str = "LogAppendTime";

/// Kafka's name of a timestamp type.
pub(crate) fn timestamp_type(header: &BatchHeader) -> &'static str {
    match header.timestamp_type() {
        TimestampType::CreateTime => CREATE_TIME,
        TimestampType::LogAppendTime => LOG_APPEND_TIME,
    }
}

/// A record that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since the Unix epoch; -1 for none.
    pub timestamp_ms: i64,
    /// `CreateTime` or `LogAppendTime`.
    pub timestamp_type: &'static str,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// What is wrong with it.
    pub reason: String,
}

impl DeadRecord {
    /// The record as a batch of its own, as the log would hold it.
    ///
    /// # Errors
    /// Where it is too large for a batch, which a record of the log is not.
    pub(crate) fn batch(&self) -> Result<Bytes, RecordError> {
        let mut batch = BatchBuilder::new(Compression::None).base_offset(self.offset);
        if self.timestamp_type == LOG_APPEND_TIME {
            batch = batch.log_append_time(self.timestamp_ms);
        }
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(key, value)| Header { key, value: value.as_deref() })
            .collect();
        let (key, value) = (self.key.as_deref(), self.value.as_deref());
        batch.append(0, self.timestamp_ms, key, value, &headers)?;
        batch.build()
    }
}

/// Rows of a chunk of records.
#[derive(Debug)]
pub struct Decoded {
    /// The rows, in the order of the records.
    pub rows: RecordBatch,
    /// Which of the rows delete others in an upsert table: tombstones, and changes that say so.
    pub tombstones: BooleanArray,
    /// The records that are no rows.
    pub dead: Vec<DeadRecord>,
    /// Records that are neither, as they say nothing that another did not say.
    pub ignored: u64,
    /// Values kept in [`RESCUED`](crate::schema::RESCUED).
    pub rescued_values: u64,
    /// Whether a newer version of the schema could have columns for some of them.
    pub met_unknown_fields: bool,
}

/// Why a chunk cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The log's bytes are damaged.
    #[error("{topic}-{partition}: {source}")]
    Records {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// What is wrong.
        source: RecordError,
    },
    /// Arrow refused the rows.
    #[error("building rows: {0}")]
    Arrow(#[from] ArrowError),
}

/// Decodes a chunk by one version of a schema.
///
/// # Errors
/// Where the chunk's batches are damaged.
pub fn decode(chunk: &Chunk, schema: &Arc<TableSchema>) -> Result<Decoded, DecodeError> {
    let mut rows = RowsBuilder::new(Arc::clone(schema));
    let mut dead = Vec::new();
    chunk.for_each(|record| {
        if let Err(Undecodable(reason)) = rows.push(record) {
            dead.push(dead_record(record, reason));
        }
    })?;
    let (rescued_values, met_unknown_fields) = (rows.rescued_values(), rows.met_unknown_fields());
    let ignored = rows.ignored();
    let (rows, tombstones) = rows.finish()?;
    Ok(Decoded { rows, tombstones, dead, ignored, rescued_values, met_unknown_fields })
}

impl Decoded {
    /// The rows with one more column, [`TOMBSTONE`], last.
    ///
    /// # Errors
    /// Where Arrow refuses it, which would be a mistake in here.
    pub fn rows_with_tombstones(&self) -> Result<RecordBatch, ArrowError> {
        let mut columns = self.rows.columns().to_vec();
        columns.push(Arc::new(self.tombstones.clone()));
        RecordBatch::try_new(with_tombstones(&self.rows.schema()), columns)
    }
}

/// A schema with one more column, [`TOMBSTONE`], last.
#[must_use]
pub fn with_tombstones(schema: &Schema) -> SchemaRef {
    let own = Arc::new(Field::new(TOMBSTONE, DataType::Boolean, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([own]).collect::<Fields>()))
}

fn dead_record(record: &RecordView<'_>, reason: String) -> DeadRecord {
    let copied = Bytes::copy_from_slice;
    DeadRecord {
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        timestamp_type: record.timestamp_type,
        key: record.key.map(copied),
        value: record.value.map(copied),
        headers: record.headers.map(|h| (copied(h.key), h.value.map(copied))).collect(),
        reason,
    }
}

/// What a reader needs of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Every record is a row: of a value that cannot be decoded, its text is rescued as a JSON
    /// string. Otherwise such records are left out.
    pub all_records: bool,
    /// [`RESCUED`](crate::schema::RESCUED) is filled. Without it, a schema may lack columns that
    /// the values have, at no cost.
    pub rescued: bool,
}

/// Decodes what a reader needs of a chunk.
///
/// # Errors
/// Where the chunk's batches are damaged.
pub fn read(
    chunk: &Chunk,
    schema: &Arc<TableSchema>,
    need: Need,
) -> Result<RecordBatch, DecodeError> {
    let mut rows = RowsBuilder::new(Arc::clone(schema)).with_rescued(need.rescued);
    chunk.for_each(|record| {
        if rows.push(record).is_err() && need.all_records {
            rows.push_undecoded(record);
        }
    })?;
    Ok(rows.finish()?.0)
}

/// Adds up to `limit` values of a chunk to a sample; how many there were. Tombstones have none.
///
/// # Errors
/// Where the chunk's batches are damaged.
pub fn observe(chunk: &Chunk, sample: &mut Sample, limit: usize) -> Result<usize, DecodeError> {
    let mut values = 0;
    chunk.for_each(|record| {
        if let Some(value) = record.value.filter(|_| values < limit) {
            values += 1;
            sample.add_value(value);
        }
    })?;
    Ok(values)
}

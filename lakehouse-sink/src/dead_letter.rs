//! The dead-letter table of a table: records that cannot be decoded, as bytes, with the reason.
//!
//! Committed before the table's own commit of the same records, each under its own progress: a
//! crash between the two repeats neither.

pub(crate) mod files;
pub(crate) mod merge;
mod stored;

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, RecordBatch,
        StringBuilder, StructBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use deltalake::kernel::Add;
use table::{
    decode::DeadRecord,
    rules::KeyFormat,
    schema::{self, RESCUED, VALUE},
    table::Table,
};

use crate::{
    delta::{Advance, TableLog},
    error::SinkError,
    store::TableStore,
};

/// What a dead-letter table's directory ends in, whatever its name.
pub const SUFFIX: &str = "__dlq";
/// Column of what is wrong with the record.
pub(crate) const REASON: &str = "reason";

/// Kafka's columns, the value's bytes, and the reason.
#[must_use]
pub fn columns() -> SchemaRef {
    let meta =
        schema::meta_fields(KeyFormat::Raw).into_iter().filter(|field| field.name() != RESCUED);
    let own = [Field::new(VALUE, DataType::Binary, true), Field::new(REASON, DataType::Utf8, true)];
    Arc::new(Schema::new(meta.chain(own).collect::<Vec<_>>()))
}

/// The directory of a table's dead-letter table.
#[must_use]
pub fn directory(table: &Table) -> String {
    format!("{}{SUFFIX}", table.directory())
}

/// Adds records to the dead-letter table of `table`, except those that it has.
pub(crate) async fn add(
    store: &TableStore,
    table: &Table,
    dead: &[DeadRecord],
    now_ms: i64,
) -> Result<(), SinkError> {
    let columns = columns();
    let directory = directory(table);
    let mut log = match TableLog::open(store, &directory).await? {
        Some(log) => log,
        None => {
            let name = table.dead_letters().to_string();
            TableLog::create(store, &directory, &name, &columns, Vec::new()).await?
        }
    };
    let mut advances: Vec<Advance> = Vec::new();
    let mut new: Vec<&DeadRecord> = Vec::new();
    for record in dead {
        let known = advances.iter().position(|advance| advance.partition == record.partition);
        let at = match known {
            Some(at) => at,
            None => {
                let application_id = table.application_id(record.partition);
                let from = log.progress(&application_id).await?;
                let to = from.unwrap_or(0);
                advances.push(Advance { application_id, partition: record.partition, from, to });
                advances.len() - 1
            }
        };
        let Some(advance) = advances.get_mut(at) else { continue };
        if record.offset >= advance.to {
            advance.to = record.offset + 1;
            new.push(record);
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    advances.retain(|advance| advance.from != Some(advance.to));
    let files = write(&log, table.topic(), &new, &columns).await?;
    log.commit(files, &columns, &advances, now_ms).await
}

async fn write(
    log: &TableLog,
    topic: &str,
    dead: &[&DeadRecord],
    columns: &SchemaRef,
) -> Result<Vec<Add>, SinkError> {
    let mut writer = log.writer(Arc::clone(columns), Vec::new(), usize::MAX)?;
    writer.write(&rows(topic, dead.iter().copied())?).await?;
    Ok(writer.close().await?)
}

/// Records as rows of [`columns`].
///
/// # Errors
/// Where Arrow refuses them, which would be a mistake in here.
pub fn rows<'a>(
    topic: &str,
    dead: impl Iterator<Item = &'a DeadRecord>,
) -> Result<RecordBatch, ArrowError> {
    let mut topics = StringBuilder::new();
    let mut partitions = Int32Builder::new();
    let mut offsets = Int64Builder::new();
    let mut timestamps = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut timestamp_types = StringBuilder::new();
    let mut keys = BinaryBuilder::new();
    let (mut values, mut reasons) = (BinaryBuilder::new(), StringBuilder::new());
    let header = StructBuilder::from_fields(schema::header_fields(), 0);
    let mut headers = ListBuilder::new(header).with_field(schema::header_element());
    for record in dead {
        topics.append_value(topic);
        partitions.append_value(record.partition);
        offsets.append_value(record.offset);
        timestamps.append_option(schema::timestamp_micros(record.timestamp_ms));
        timestamp_types.append_value(record.timestamp_type);
        keys.append_option(record.key.as_deref());
        for (key, value) in &record.headers {
            schema::append_header(headers.values(), key, value.as_deref());
        }
        headers.append(true);
        values.append_option(record.value.as_deref());
        reasons.append_value(&record.reason);
    }
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(topics.finish()),
        Arc::new(partitions.finish()),
        Arc::new(offsets.finish()),
        Arc::new(timestamps.finish()),
        Arc::new(timestamp_types.finish()),
        Arc::new(keys.finish()),
        Arc::new(headers.finish()),
        Arc::new(values.finish()),
        Arc::new(reasons.finish()),
    ];
    RecordBatch::try_new(columns(), arrays)
}

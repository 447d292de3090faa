//! Topics without a table, straight from the log. Nothing is persisted: each query infers the
//! columns anew.
//!
//! The columns come from a sample, the first and the last records of every partition, as those of
//! a table do. No record is left out: of one that cannot be decoded, the value stands in
//! `kafka_rescued` as text.

use std::{collections::BTreeMap, sync::Arc};

use storage::Partition;
use table::{
    catalog::TopicView,
    config::{TableConfig, keys},
    decode,
    infer::Sample,
    name,
    reader::Chunk,
    rules::ValueFormat,
    schema::TableSchema,
};

use crate::{error::ViewError, tail::Range};

/// Bytes read at a time for the sample.
const SAMPLE_BYTES: usize = 256 << 10;

/// A topic by a name of SQL: its own, or what its table would be called; of several the oldest.
/// Kafka's own topics and those that are named like them are none.
pub(crate) fn find(topics: Vec<TopicView>, sql_name: &str) -> Option<TopicView> {
    let mut topics: Vec<_> =
        topics.into_iter().filter(|topic| !topic.name.starts_with("__")).collect();
    topics.sort_by(|a, b| (a.created_ms, &a.name).cmp(&(b.created_ms, &b.name)));
    let position = topics.iter().position(|topic| topic.name == sql_name).or_else(|| {
        let is_it =
            |topic: &TopicView| name::table_name(&topic.name).eq_ignore_ascii_case(sql_name);
        topics.iter().position(is_it)
    })?;
    Some(topics.swap_remove(position))
}

/// What is in the log now.
pub(crate) fn ranges(partitions: &[Arc<Partition>]) -> Vec<Range> {
    let range = |partition: &Arc<Partition>| {
        let offsets = partition.offsets();
        let partition = Arc::clone(partition);
        Range { from: offsets.log_start, to: offsets.last_stable, partition }
    };
    partitions.iter().map(range).filter(|range| range.from < range.to).collect()
}

/// The columns of some ranges of a topic.
pub(crate) async fn schema(
    topic: &TopicView,
    ranges: &[Range],
) -> Result<Arc<TableSchema>, ViewError> {
    let config = config(topic).map_err(ViewError::Parameter)?;
    let of_log =
        |schema: TableSchema| Ok(Arc::new(TableSchema { rules: schema.rules.as_log(), ..schema }));
    if let Some(schema) = config.declared_schema() {
        return of_log(schema);
    }
    let share = config.sample_records.div_ceil(ranges.len().max(1) * 2).max(1);
    let mut sample = Sample::new(config.transform);
    for range in ranges {
        let wanted = i64::try_from(share).unwrap_or(i64::MAX);
        let head = range.to.min(range.from.saturating_add(wanted));
        look(&mut sample, &range.partition, range.from, head, share).await?;
        let last = head.max(range.to.saturating_sub(wanted));
        look(&mut sample, &range.partition, last, range.to, share).await?;
    }
    let format = config.format.or_else(|| sample.format()).unwrap_or(ValueFormat::Raw);
    of_log(sample.first_schema(config.rules(format), config.columns_max))
}

/// The configuration that the topic's table would have.
fn config(topic: &TopicView) -> Result<TableConfig, String> {
    let mut values = topic.values.clone();
    values.insert(keys::ENABLE.to_owned(), "true".to_owned());
    let enabled = || BTreeMap::from([(keys::ENABLE.to_owned(), "true".to_owned())]);
    let read = TableConfig::read(&values).or_else(|_| TableConfig::read(&enabled()))?;
    read.ok_or_else(|| format!("topic {} cannot be read as a table", topic.name))
}

/// Looks at up to `at_most` records of a range.
async fn look(
    sample: &mut Sample,
    partition: &Partition,
    from: i64,
    to: i64,
    at_most: usize,
) -> Result<(), ViewError> {
    let (mut offset, mut room) = (from, at_most);
    while offset < to && room > 0 {
        let chunk = Chunk::read(partition, offset, to, SAMPLE_BYTES).await;
        let chunk = chunk.map_err(table::table::TableError::Read)?;
        let records = decode::observe(&chunk, sample, room);
        room -= records.map_err(table::table::TableError::Decode)?;
        offset = chunk.next_offset;
    }
    Ok(())
}

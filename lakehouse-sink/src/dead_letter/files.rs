//! Files of dead letters: their rows, their order, and which of them the table has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{Array as _, AsArray as _},
    compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch},
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
    record_batch::RecordBatch,
};
use bytes::Bytes;
use deltalake::{
    DeltaTableError,
    datafusion::prelude::{SessionContext, col, lit},
    kernel::{LogicalFileView, Remove},
    parquet::{
        arrow::{ProjectionMask, async_reader::ParquetRecordBatchStreamBuilder},
        file::metadata::ParquetMetaData,
    },
};
use futures::TryStreamExt as _;
use object_store::path::Path;
use table::{
    decode::{CREATE_TIME, DeadRecord, LOG_APPEND_TIME},
    schema::{HEADERS, KEY, OFFSET, PARTITION, TIMESTAMP, TIMESTAMP_TYPE, VALUE},
};
use tracing::warn;

use super::{REASON, stored::StoredFile};
use crate::{delta::TableLog, error::SinkError};

/// The part of a record that tells it from all others of its topic.
pub(crate) type Place = (i32, i64);

/// A file of the dead-letter table, by partition and offset.
#[derive(Debug)]
pub(crate) struct DeadFile {
    pub(crate) path: String,
    pub(crate) rows: RecordBatch,
}

impl DeadFile {
    pub(crate) async fn read(dead: &TableLog, file: ListedFile) -> Result<Self, SinkError> {
        let rows = read(open(dead, &file).await?, None).await?;
        let by = |name| {
            let values = Arc::clone(column(&rows, name)?);
            Ok::<_, SinkError>(SortColumn { values, options: None })
        };
        let order = lexsort_to_indices(&[by(PARTITION)?, by(OFFSET)?], None)?;
        Ok(Self { path: file.path, rows: take_record_batch(&rows, &order)? })
    }

    /// Where its records are in the topic, row by row.
    pub(crate) fn places(&self) -> Result<Vec<Place>, SinkError> {
        places(&self.rows)
    }

    /// Its records.
    pub(crate) fn records(&self) -> Result<Vec<DeadRecord>, SinkError> {
        let rows = &self.rows;
        let timestamps = column(rows, TIMESTAMP)?.as_primitive::<TimestampMicrosecondType>();
        let timestamp_types = column(rows, TIMESTAMP_TYPE)?.as_string::<i32>();
        let keys = column(rows, KEY)?.as_binary::<i32>();
        let values = column(rows, VALUE)?.as_binary::<i32>();
        let reasons = column(rows, REASON)?.as_string::<i32>();
        let headers = column(rows, HEADERS)?.as_list::<i32>();
        let bytes = |array: &arrow::array::BinaryArray, row: usize| {
            array.is_valid(row).then(|| Bytes::copy_from_slice(array.value(row)))
        };
        let mut records = Vec::with_capacity(rows.num_rows());
        for (row, (partition, offset)) in self.places()?.into_iter().enumerate() {
            let of_record = headers.value(row);
            let of_record = of_record.as_struct();
            let header_keys = of_record.column(0).as_string::<i32>();
            let header_values = of_record.column(1).as_binary::<i32>();
            records.push(DeadRecord {
                partition,
                offset,
                timestamp_ms: match timestamps.is_valid(row) {
                    true => timestamps.value(row) / 1000,
                    false => -1,
                },
                timestamp_type: match timestamp_types.value(row) {
                    LOG_APPEND_TIME => LOG_APPEND_TIME,
                    _ => CREATE_TIME,
                },
                key: bytes(keys, row),
                value: bytes(values, row),
                headers: (0..of_record.len())
                    .map(|at| {
                        let key = header_keys.value(at).as_bytes();
                        (Bytes::copy_from_slice(key), bytes(header_values, at))
                    })
                    .collect(),
                reason: reasons.value(row).to_owned(),
            });
        }
        Ok(records)
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef, SinkError> {
    rows.column_by_name(name).ok_or_else(|| SinkError::NoColumn(name.to_owned()))
}

fn places(rows: &RecordBatch) -> Result<Vec<Place>, SinkError> {
    let partitions = column(rows, PARTITION)?.as_primitive::<Int32Type>();
    let offsets = column(rows, OFFSET)?.as_primitive::<Int64Type>();
    Ok(partitions.values().iter().copied().zip(offsets.values().iter().copied()).collect())
}

/// Where rows are in the topic.
pub(crate) fn places_of(rows: &RecordBatch) -> Result<BTreeSet<Place>, SinkError> {
    Ok(places(rows)?.into_iter().collect())
}

/// A file as the log of its table has it.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Bytes of its rows in memory, about; 0 until it was looked at.
    pub(crate) row_bytes: u64,
}

/// The files of a dead-letter table, such that each partition's records come in their order.
///
/// A file has the records of one commit, or of some that follow one another, so of two files one
/// comes first in all partitions.
pub(crate) async fn in_order(dead: &TableLog) -> Result<Vec<ListedFile>, SinkError> {
    let mut files: Vec<_> = {
        let state = dead.table().snapshot()?;
        let listed = |file: LogicalFileView| ListedFile {
            path: file.path().to_string(),
            bytes: u64::try_from(file.size()).unwrap_or(0),
            row_bytes: 0,
        };
        state.log_data().iter().map(listed).map(Some).collect()
    };
    let mut starts: BTreeMap<i32, Vec<(i64, usize)>> = BTreeMap::new();
    for (file, listed) in files.iter_mut().enumerate() {
        let Some(listed) = listed else { continue };
        let mut first: BTreeMap<i32, i64> = BTreeMap::new();
        let reader = open(dead, listed).await?;
        listed.row_bytes = row_bytes(reader.metadata());
        for (partition, offset) in places(&read(reader, Some(&[PARTITION, OFFSET])).await?)? {
            let known = first.entry(partition).or_insert(offset);
            *known = offset.min(*known);
        }
        for (partition, offset) in first {
            starts.entry(partition).or_default().push((offset, file));
        }
    }
    let order = in_all_partitions(starts, files.len());
    Ok(order.into_iter().filter_map(|file| files.get_mut(file)?.take()).collect())
}

/// An order of files that is right in all partitions, by the offsets with which they begin in
/// each. Where others have mixed them up so that there is none, the rest comes as it is.
fn in_all_partitions(starts: BTreeMap<i32, Vec<(i64, usize)>>, count: usize) -> Vec<usize> {
    let mut next: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut before = vec![0_usize; count];
    for mut files in starts.into_values() {
        files.sort_unstable();
        for pair in files.windows(2) {
            if let [(_, one), (_, other)] = pair {
                next.entry(*one).or_default().push(*other);
                before.get_mut(*other).into_iter().for_each(|count| *count += 1);
            }
        }
    }
    let mut ready: BTreeSet<_> = (0..count).filter(|file| before.get(*file) == Some(&0)).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(file) = ready.pop_first() {
        order.push(file);
        for other in next.remove(&file).unwrap_or_default() {
            let Some(waits) = before.get_mut(other) else { continue };
            *waits -= 1;
            if *waits == 0 {
                ready.insert(other);
            }
        }
    }
    let rest: Vec<_> = (0..count).filter(|file| !order.contains(file)).collect();
    if !rest.is_empty() {
        warn!(files = rest.len(), "others have merged dead letters: not all are in order");
    }
    order.extend(rest);
    order
}

type Reader = ParquetRecordBatchStreamBuilder<StoredFile>;

async fn open(dead: &TableLog, file: &ListedFile) -> Result<Reader, SinkError> {
    let file = StoredFile {
        store: dead.table().object_store(),
        path: Path::parse(&file.path).map_err(object_store::Error::from)?,
        bytes: file.bytes,
    };
    Ok(Reader::new(file).await.map_err(DeltaTableError::from)?)
}

/// What the rows of a file take in memory, about. Values that repeat take little of a file.
fn row_bytes(metadata: &ParquetMetaData) -> u64 {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let bytes = columns.map(|column| {
        column.unencoded_byte_array_data_bytes().unwrap_or(0).max(column.uncompressed_size())
    });
    u64::try_from(bytes.sum::<i64>()).unwrap_or(0)
}

/// The rows of a file; all columns, or some.
async fn read(mut reader: Reader, columns: Option<&[&str]>) -> Result<RecordBatch, SinkError> {
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(reader.parquet_schema(), columns.iter().copied());
        reader = reader.with_projection(mask);
    }
    let reader = reader.build().map_err(DeltaTableError::from)?;
    let schema = Arc::clone(reader.schema());
    let batches = reader.try_collect::<Vec<_>>().await.map_err(DeltaTableError::from)?;
    Ok(concat_batches(&schema, &batches)?)
}

/// The action that takes a file out of a table, and rows with it or not.
pub(crate) fn remove(
    log: &TableLog,
    path: &str,
    takes_rows: bool,
    now_ms: i64,
) -> Result<Remove, SinkError> {
    let state = log.table().snapshot()?;
    let found = state.log_data().iter().find(|file| file.path() == path);
    let removed = found.map(|file| file.remove_action(takes_rows));
    let removed = removed.ok_or_else(|| SinkError::NoFile(path.to_owned()))?;
    Ok(Remove { deletion_timestamp: Some(now_ms), ..removed })
}

/// Which of some records are rows of a table.
pub(crate) async fn places_within(
    log: &TableLog,
    wanted: &[Place],
) -> Result<BTreeSet<Place>, SinkError> {
    let offsets = || wanted.iter().map(|(_, offset)| *offset);
    let (Some(first), Some(last)) = (offsets().min(), offsets().max()) else {
        return Ok(BTreeSet::new());
    };
    let partitions: BTreeSet<_> = wanted.iter().map(|(partition, _)| *partition).collect();
    let partitions: Vec<_> = partitions.into_iter().map(lit).collect();
    let table = log.rows().await.map_err(DeltaTableError::from)?;
    let is_near =
        col(PARTITION).in_list(partitions, false).and(col(OFFSET).between(lit(first), lit(last)));
    let rows = SessionContext::new()
        .read_table(table)
        .and_then(|rows| rows.filter(is_near))
        .and_then(|rows| rows.select_columns(&[PARTITION, OFFSET]))
        .map_err(DeltaTableError::from)?;
    let mut rows = rows.execute_stream().await.map_err(DeltaTableError::from)?;
    let wanted: BTreeSet<_> = wanted.iter().copied().collect();
    let mut found = BTreeSet::new();
    while let Some(batch) = rows.try_next().await.map_err(DeltaTableError::from)? {
        found.extend(places(&batch)?.into_iter().filter(|place| wanted.contains(place)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_order_in_each_partition() {
        // Partition 0: files 2, 0; partition 1: files 1, 2; partition 2: files 1, 3.
        let starts = BTreeMap::from([
            (0, vec![(90, 0), (5, 2)]),
            (1, vec![(7, 1), (8, 2)]),
            (2, vec![(3, 1), (100, 3)]),
        ]);
        assert_eq!(in_all_partitions(starts, 4), [1, 2, 0, 3]);
        // Each comes before the other: none is left out.
        let starts = BTreeMap::from([(0, vec![(1, 0), (2, 1)]), (1, vec![(1, 1), (2, 0)])]);
        assert_eq!(in_all_partitions(starts, 3), [2, 0, 1]);
    }
}

//! Reading what is committed of a partition: below the last stable offset, without control records
//! and without what aborted transactions wrote, as a read_committed consumer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol::records::{Batch, DecompressLimit, batches};
use storage::{AbortedTransaction, IsolationLevel, Partition, ReadError, ReadRequest, ReadResult};

use crate::decode::{DeadRecord, DecodeError, RecordView, timestamp_type};

/// Largest body of a batch after decompression, bytes: what a topic's `max.message.bytes` can let
/// in, with room for what compresses well.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Committed records of one partition, as the log holds them.
#[derive(Debug)]
pub struct Chunk {
    topic: Arc<str>,
    partition: i32,
    batches: Vec<Batch>,
    from: i64,
    /// The offset to read on from.
    pub next_offset: i64,
    /// Bytes of the batches.
    pub bytes: usize,
}

/// Why a partition cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadChunkError {
    /// The log refused or failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its bytes are damaged.
    #[error(transparent)]
    Damaged(#[from] DecodeError),
}

impl Chunk {
    /// Reads from `offset` up to `end` at most, about `max_bytes`. Empty where nothing is
    /// committed there; then `next_offset` may still lie further on.
    ///
    /// # Errors
    /// Those of the log, [`ReadError::OffsetOutOfRange`] where `offset` has been deleted among them.
    pub async fn read(
        partition: &Partition,
        offset: i64,
        end: i64,
        max_bytes: usize,
    ) -> Result<Self, ReadChunkError> {
        let key = partition.key();
        let mut chunk = Self {
            topic: partition.topic().into(),
            partition: key.partition,
            batches: Vec::new(),
            from: offset,
            next_offset: offset,
            bytes: 0,
        };
        if offset >= end {
            return Ok(chunk);
        }
        let result = partition
            .read(ReadRequest {
                offset,
                max_bytes,
                min_one_batch: true,
                isolation: IsolationLevel::ReadCommitted,
            })
            .await?;
        chunk.take(&result, end)?;
        if chunk.next_offset == offset {
            // Compaction may have left nothing up to the bound.
            chunk.next_offset = end.min(result.last_stable_offset).max(offset);
        }
        Ok(chunk)
    }

    fn take(&mut self, result: &ReadResult, end: i64) -> Result<(), DecodeError> {
        for records in result.records.chunks() {
            for batch in batches(records) {
                let batch = batch.map_err(|source| self.damaged(source))?;
                let header = batch.header();
                if header.base_offset >= end {
                    return Ok(());
                }
                self.next_offset = header.next_offset().min(end);
                if header.is_control() || is_aborted(&batch, &result.aborted) {
                    continue;
                }
                self.bytes += batch.bytes().len();
                self.batches.push(batch);
            }
        }
        Ok(())
    }

    /// The partition's index.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The first offset that was asked for.
    #[must_use]
    pub fn first_offset(&self) -> i64 {
        self.from
    }

    /// Whether no record is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Calls `f` with each record, in order.
    ///
    /// # Errors
    /// Where a batch is damaged.
    pub fn for_each(&self, mut f: impl FnMut(&RecordView<'_>)) -> Result<(), DecodeError> {
        let limit = DecompressLimit { max_bytes: BATCH_BYTES_MAX };
        for batch in &self.batches {
            let header = batch.header();
            let borrowed = batch.borrowed();
            let plain = borrowed.decompressed(limit).map_err(|source| self.damaged(source))?;
            for record in plain.iter() {
                let record = record.map_err(|source| self.damaged(source))?;
                let offset = header.base_offset + i64::from(record.offset_delta);
                if !(self.from..self.next_offset).contains(&offset) {
                    continue;
                }
                f(&RecordView {
                    topic: &self.topic,
                    partition: self.partition,
                    offset,
                    timestamp_ms: header.record_timestamp(record.timestamp_delta),
                    timestamp_type: timestamp_type(header),
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                });
            }
        }
        Ok(())
    }

    fn damaged(&self, source: protocol::records::RecordError) -> DecodeError {
        DecodeError::Records { topic: Arc::clone(&self.topic), partition: self.partition, source }
    }

    /// A chunk of dead letters of one partition, in the order of their offsets.
    ///
    /// # Errors
    /// Where one is too large for a batch, which a record of the log is not.
    pub fn of_dead_letters(
        topic: &str,
        partition: i32,
        dead: &[DeadRecord],
    ) -> Result<Self, DecodeError> {
        let damaged = |source| DecodeError::Records { topic: topic.into(), partition, source };
        let mut records = BytesMut::new();
        for record in dead {
            records.extend_from_slice(&record.batch().map_err(damaged)?);
        }
        let records = records.freeze();
        let batches = batches(&records).collect::<Result<Vec<_>, _>>().map_err(damaged)?;
        Ok(Self {
            topic: topic.into(),
            partition,
            from: dead.first().map_or(0, |record| record.offset),
            next_offset: dead.last().map_or(0, |record| record.offset + 1),
            bytes: records.len(),
            batches,
        })
    }

    /// A chunk of whole batches, for tests and benchmarks.
    #[must_use]
    pub fn of_batches(topic: &str, partition: i32, records: &Bytes) -> Self {
        let batches: Vec<_> = batches(records).filter_map(Result::ok).collect();
        Self {
            topic: topic.into(),
            partition,
            from: batches.first().map_or(0, |batch| batch.header().base_offset),
            next_offset: batches.last().map_or(0, |batch| batch.header().next_offset()),
            bytes: records.len(),
            batches,
        }
    }
}

/// Whether an aborted transaction wrote the batch.
fn is_aborted(batch: &Batch, aborted: &[AbortedTransaction]) -> bool {
    let header = batch.header();
    header.is_transactional()
        && aborted.iter().any(|transaction| {
            transaction.producer_id == header.producer_id
                && (transaction.first_offset..=transaction.last_offset)
                    .contains(&header.base_offset)
        })
}

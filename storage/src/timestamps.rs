//! Looking up offsets by time (ListOffsets): the first record at or after a timestamp, and the
//! record with the largest timestamp.
//!
//! Extents and runs carry their largest timestamp, so a look-up skips to the first of them that
//! can hold the answer and walks only that one's batches.

use metadata::Extent;
use protocol::records::{BatchHeader, BatchRef, DecompressLimit, batch_refs};

use crate::{
    error::ReadError,
    partition::{Partition, State},
    read::{IsolationLevel, ReadRequest},
};

/// Bytes read at a time while looking for a timestamp.
const SCAN_BYTES: usize = 1 << 20;

/// Most bytes that a stored batch is decompressed to while looking for a record. Batches were
/// validated against a bound when they were produced.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp, Unix milliseconds.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// The leader epoch of its batch.
    pub leader_epoch: i32,
}

/// A stretch of the log with one largest timestamp: an extent or a run.
struct Stretch {
    base_offset: i64,
    end_offset: i64,
    max_timestamp: i64,
}

impl Partition {
    /// The first record, in offset order, whose timestamp is `timestamp` or later, below the bound
    /// of `isolation`; `None` where there is none.
    ///
    /// # Errors
    /// As [`Partition::read`].
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: IsolationLevel,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let (stretches, bound) = self.stretches(isolation);
        for stretch in stretches.iter().filter(|stretch| stretch.max_timestamp >= timestamp) {
            let wanted = |header: &BatchHeader| header.max_timestamp >= timestamp;
            let found =
                self.find_record(stretch, bound, wanted, |record| record >= timestamp).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the partition's largest timestamp (KIP-734); `None` where no record
    /// has a timestamp.
    ///
    /// # Errors
    /// As [`Partition::read`].
    pub async fn max_timestamp_offset(
        &self,
        isolation: IsolationLevel,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let (mut stretches, bound) = self.stretches(isolation);
        // Largest first; among equals the first in offset order. A stretch may owe its maximum to
        // records outside [log start, bound): then the next one decides.
        stretches.sort_by_key(|stretch| std::cmp::Reverse(stretch.max_timestamp));
        for stretch in stretches.iter().filter(|stretch| stretch.max_timestamp >= 0) {
            let max = stretch.max_timestamp;
            let wanted = |header: &BatchHeader| header.max_timestamp == max;
            let found = self.find_record(stretch, bound, wanted, |record| record == max).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn stretches(&self, isolation: IsolationLevel) -> (Vec<Stretch>, i64) {
        let state = self.lock();
        let bound = match isolation {
            IsolationLevel::ReadUncommitted => state.high_watermark,
            IsolationLevel::ReadCommitted => state.last_stable(),
        };
        (state.stretches(bound), bound)
    }

    async fn find_record(
        &self,
        stretch: &Stretch,
        bound: i64,
        batch_matches: impl Fn(&BatchHeader) -> bool,
        record_matches: impl Fn(i64) -> bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let end_offset = stretch.end_offset.min(bound);
        let mut offset = stretch.base_offset.max(self.offsets().log_start);
        while offset < end_offset {
            let request = ReadRequest {
                offset,
                max_bytes: SCAN_BYTES,
                min_one_batch: true,
                isolation: IsolationLevel::ReadUncommitted,
            };
            let read = self.read(request).await?;
            let before = offset;
            for batch in read.records.chunks().flat_map(|chunk| batch_refs(chunk)) {
                let batch = batch.map_err(|error| self.damaged(offset, &error.to_string()))?;
                let header = batch.header();
                if header.base_offset >= end_offset {
                    return Ok(None);
                }
                if batch_matches(header) && !header.is_control() {
                    let first = offset.max(header.base_offset);
                    let found = self.find_in_batch(&batch, first, &record_matches)?;
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                offset = header.next_offset();
            }
            if offset == before {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn find_in_batch(
        &self,
        batch: &BatchRef<'_>,
        first: i64,
        matches: impl Fn(i64) -> bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let header = batch.header();
        let damaged = |reason: String| self.damaged(header.base_offset, &reason);
        let records = batch
            .decompressed(DecompressLimit { max_bytes: DECOMPRESSED_BYTES_MAX })
            .map_err(|error| damaged(error.to_string()))?;
        for record in records.iter() {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            let timestamp = header.record_timestamp(record.timestamp_delta);
            if offset >= first && matches(timestamp) {
                let leader_epoch = header.partition_leader_epoch;
                return Ok(Some(TimestampOffset { timestamp, offset, leader_epoch }));
            }
        }
        Ok(None)
    }
}

impl State {
    /// What covers `[log_start, bound)`, in offset order.
    fn stretches(&self, bound: i64) -> Vec<Stretch> {
        let runs_from = self.runs.front().map_or(i64::MAX, |run| run.base_offset);
        let extents = self.extents.values().map(|stored| Stretch::of_extent(&stored.extent));
        let runs = self.runs.iter().map(|run| Stretch {
            base_offset: run.base_offset,
            end_offset: run.last_offset + 1,
            max_timestamp: run.max_timestamp,
        });
        extents
            .filter(|stretch| stretch.base_offset < runs_from)
            .chain(runs)
            .filter(|s| s.base_offset < bound && s.end_offset > self.log_start)
            .collect()
    }
}

impl Stretch {
    fn of_extent(extent: &Extent) -> Self {
        Self {
            base_offset: extent.base_offset,
            end_offset: extent.end_offset,
            max_timestamp: extent.max_timestamp,
        }
    }
}

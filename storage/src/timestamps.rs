//! Looking up offsets by time (ListOffsets): the first record at or after a timestamp, and the
//! record with the largest timestamp.
//!
//! Extents and runs carry their largest timestamp, so a look-up skips to the first of them that
//! can hold the answer and walks only that one's batches, from where its time index says. Records
//! may be deleted meanwhile: then it is looked up anew from the new log start.

use std::{cmp::Reverse, ops::Range, sync::Arc};

use bytes::Bytes;
use protocol::records::{BatchRef, DecompressLimit, batch_refs};

use crate::{
    error::ReadError,
    object::{self, ObjectRef},
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
    /// The extent's object, whose footer has an index by time.
    object: Option<Arc<ObjectRef>>,
}

/// What a look-up may see.
struct View {
    /// What covers it, in offset order.
    stretches: Vec<Stretch>,
    log_start: i64,
    bound: i64,
}

impl View {
    /// What may be seen of a stretch.
    fn visible(&self, stretch: &Stretch) -> Range<i64> {
        stretch.base_offset.max(self.log_start)..stretch.end_offset.min(self.bound)
    }

    /// Whether all of a stretch may be seen.
    fn is_whole(&self, stretch: &Stretch) -> bool {
        self.visible(stretch) == (stretch.base_offset..stretch.end_offset)
    }
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
        loop {
            let view = self.view(isolation);
            let found = self.first_of_view(&view, timestamp).await;
            if !self.is_overtaken(&view, &found) {
                return found;
            }
        }
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
        loop {
            let mut view = self.view(isolation);
            // Largest first; among equals the first in offset order.
            view.stretches.sort_by_key(|stretch| Reverse(stretch.max_timestamp));
            let found = self.max_of_view(&view).await;
            if !self.is_overtaken(&view, &found) {
                return found;
            }
        }
    }

    fn view(&self, isolation: IsolationLevel) -> View {
        let state = self.lock();
        let bound = match isolation {
            IsolationLevel::ReadUncommitted => state.high_watermark,
            IsolationLevel::ReadCommitted => state.last_stable(),
        };
        View { stretches: state.stretches(bound), log_start: state.log_start, bound }
    }

    /// Whether records were deleted meanwhile and that decided the answer: then a new view does.
    fn is_overtaken(
        &self,
        view: &View,
        found: &Result<Option<TimestampOffset>, ReadError>,
    ) -> bool {
        let log_start = self.offsets().log_start;
        match found {
            Ok(found) => found.is_some_and(|found| found.offset < log_start),
            Err(ReadError::OffsetOutOfRange { .. }) => log_start > view.log_start,
            Err(_) => false,
        }
    }

    async fn first_of_view(
        &self,
        view: &View,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        for stretch in view.stretches.iter().filter(|stretch| stretch.max_timestamp >= timestamp) {
            let found = self.find_record(stretch, view.visible(stretch), timestamp).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The largest of what is visible, given the stretches by their largest timestamps. Only the
    /// first and the last in offset order can owe theirs to what is not visible: those are read.
    async fn max_of_view(&self, view: &View) -> Result<Option<TimestampOffset>, ReadError> {
        let mut best: Option<TimestampOffset> = None;
        for stretch in view.stretches.iter().filter(|stretch| stretch.max_timestamp >= 0) {
            let (visible, max) = (view.visible(stretch), stretch.max_timestamp);
            let rank = (max, Reverse(visible.start));
            if best.is_some_and(|best| (best.timestamp, Reverse(best.offset)) > rank) {
                break;
            }
            let mut found = None;
            if view.is_whole(stretch) {
                found = self.find_record(stretch, visible.clone(), max).await?;
            }
            if found.is_none() {
                found = self.visible_max(visible).await?;
            }
            best =
                best.into_iter().chain(found).max_by_key(|at| (at.timestamp, Reverse(at.offset)));
        }
        Ok(best)
    }

    /// The first record of `visible`, which lies within the stretch, at `timestamp` or later.
    async fn find_record(
        &self,
        stretch: &Stretch,
        visible: Range<i64>,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let Range { start: mut offset, end } = visible;
        let reader = &self.shared.reader;
        while let Some(object) = stretch.object.as_ref().filter(|_| offset < end) {
            let found = reader.batch_for_timestamp(object, &self.key, timestamp, offset, end).await;
            let batch = match found {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(None),
                // It was merged into another, which a read finds.
                Err(object::Error::Gone { .. }) => break,
                Err(error) => return Err(self.cold_error(offset, &error)),
            };
            for batch in batch_refs(&batch) {
                let batch = batch.map_err(|error| self.damaged(offset, &error.to_string()))?;
                let found = self.find_in_batch(&batch, offset, |record| record >= timestamp)?;
                if found.is_some() {
                    return Ok(found);
                }
                offset = batch.header().next_offset();
            }
        }
        let mut found = None;
        self.scan(offset..end, |batch, first, _| {
            if batch.header().max_timestamp >= timestamp {
                found = self.find_in_batch(batch, first, |record| record >= timestamp)?;
            }
            Ok(found.is_none())
        })
        .await?;
        Ok(found)
    }

    /// The first record with the largest timestamp of `visible`.
    async fn visible_max(&self, visible: Range<i64>) -> Result<Option<TimestampOffset>, ReadError> {
        // The first batch with the largest timestamp is kept, and looked into at the end.
        let (mut max, mut best) = (-1, None);
        self.scan(visible.clone(), |batch, first, chunk| {
            let header = batch.header();
            if header.max_timestamp > max {
                let of_batch = if first == header.base_offset {
                    header.max_timestamp
                } else {
                    self.max_in_batch(batch, first)?
                };
                if of_batch > max {
                    (max, best) = (of_batch, Some(chunk.slice_ref(batch.bytes())));
                }
            }
            Ok(true)
        })
        .await?;
        let Some(best) = best else { return Ok(None) };
        let batch = BatchRef::parse(&best);
        let batch = batch.map_err(|error| self.damaged(visible.start, &error.to_string()))?;
        let first = visible.start.max(batch.header().base_offset);
        self.find_in_batch(&batch, first, |record| record == max)
    }

    /// Gives out the batches of `range` in order, each with the first offset that counts in it and
    /// the piece of memory that it lies in, until `each` says `false`.
    async fn scan(
        &self,
        range: Range<i64>,
        mut each: impl FnMut(&BatchRef<'_>, i64, &Bytes) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let Range { start: mut offset, end } = range;
        while offset < end {
            let request = ReadRequest {
                offset,
                max_bytes: SCAN_BYTES,
                min_one_batch: true,
                isolation: IsolationLevel::ReadUncommitted,
            };
            let read = self.read(request).await?;
            let before = offset;
            for chunk in read.records.chunks() {
                for batch in batch_refs(chunk) {
                    let batch = batch.map_err(|error| self.damaged(offset, &error.to_string()))?;
                    let header = batch.header();
                    if header.base_offset >= end {
                        return Ok(());
                    }
                    if !each(&batch, offset.max(header.base_offset), chunk)? {
                        return Ok(());
                    }
                    offset = header.next_offset();
                }
            }
            if offset == before {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The largest timestamp from offset `first` on, -1 where there is none.
    fn max_in_batch(&self, batch: &BatchRef<'_>, first: i64) -> Result<i64, ReadError> {
        let mut max = -1;
        self.find_in_batch(batch, first, |timestamp| {
            max = max.max(timestamp);
            false
        })?;
        Ok(max)
    }

    /// The first record from offset `first` on that matches; a marker may, as in Kafka.
    fn find_in_batch(
        &self,
        batch: &BatchRef<'_>,
        first: i64,
        mut matches: impl FnMut(i64) -> bool,
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
        let extents = self.extents.values().map(|stored| Stretch {
            base_offset: stored.extent.base_offset,
            end_offset: stored.extent.end_offset,
            max_timestamp: stored.extent.max_timestamp,
            object: Some(Arc::clone(&stored.object)),
        });
        let runs = self.runs.iter().map(|run| Stretch {
            base_offset: run.base_offset,
            end_offset: run.last_offset + 1,
            max_timestamp: run.max_timestamp,
            object: None,
        });
        extents
            .filter(|stretch| stretch.base_offset < runs_from)
            .chain(runs)
            .filter(|s| s.base_offset < bound && s.end_offset > self.log_start)
            .collect()
    }
}

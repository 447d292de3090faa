//! What a cleaning pass leaves of each batch: Kafka's `Cleaner.cleanInto` and `MemoryRecords.filterTo`.
//!
//! A record stays if no newer one of its key was written before the end of the dirty stretch. A
//! tombstone stays for `delete.retention.ms` after the first pass that met it: that pass writes the
//! deadline into the batch (KIP-534). Offsets never change: a batch that loses records keeps its
//! offset range, codec, producer and sequence numbers.

use bytes::Bytes;
use protocol::records::{
    BatchBuilder, BatchRef, Compression, DecompressLimit, PlainRecords, Record, RecordError,
    TimestampType, set_max_timestamp,
};

use super::{offset_map::OffsetMap, transactions::Transactions};
use crate::object::AbortedRange;

/// Most bytes that a stored batch is decompressed to. Batches were validated against a bound when
/// they were produced.
pub(super) const DECOMPRESS_LIMIT: DecompressLimit = DecompressLimit { max_bytes: 256 << 20 };

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it is.
    Stays,
    /// This takes its place.
    Becomes(Bytes),
    /// It goes.
    Goes,
}

/// The rules of one pass.
#[derive(Debug)]
pub(super) struct Filter {
    map: OffsetMap,
    transactions: Transactions,
    now_ms: i64,
    delete_retention_ms: i64,
    forgotten: Vec<AbortedRange>,
}

impl Filter {
    /// A pass at `now_ms` over what `map` accounts for and everything before it.
    pub(super) fn new(
        map: OffsetMap,
        transactions: Transactions,
        now_ms: i64,
        delete_retention_ms: i64,
    ) -> Self {
        Self { map, transactions, now_ms, delete_retention_ms, forgotten: Vec::new() }
    }

    /// The end of what the map accounts for: the log is clean up to here after the pass.
    pub(super) fn end_offset(&self) -> i64 {
        self.map.latest_offset() + 1
    }

    /// Aborted transactions of which only the marker is left: the index need not name them.
    pub(super) fn into_forgotten(self) -> Vec<AbortedRange> {
        self.forgotten
    }

    /// Decides on the next batch, in offset order. `last` keeps it, if only as a header: where an
    /// object ends must stay known, and a reader must get past it.
    ///
    /// # Errors
    /// Where the batch cannot be read or rebuilt.
    pub(super) fn next(&mut self, batch: &BatchRef<'_>, last: bool) -> Result<Fate, RecordError> {
        let header = batch.header();
        let control = header.is_control();
        let fate = if control {
            let marker = self.transactions.marker(batch)?;
            if marker.needless {
                self.forgotten.extend(marker.indexed);
            }
            // The index forgets a transaction at least one pass before its marker goes: an entry
            // without a marker would hide what the producer wrote later.
            let due = header.has_delete_horizon() && header.base_timestamp <= self.now_ms;
            if marker.needless && due && marker.indexed.is_none() {
                Fate::Goes
            } else {
                self.filter_records(batch, marker.needless)?
            }
        } else if self.transactions.is_aborted(batch) {
            Fate::Goes
        } else {
            self.filter_records(batch, false)?
        };
        match fate {
            Fate::Goes if last => Ok(Fate::Becomes(empty(batch)?)),
            fate => Ok(fate),
        }
    }

    fn filter_records(
        &self,
        batch: &BatchRef<'_>,
        marker_of_nothing: bool,
    ) -> Result<Fate, RecordError> {
        let header = batch.header();
        let plain = batch.decompressed(DECOMPRESS_LIMIT)?;
        let (mut all, mut any, mut tombstones) = (true, false, false);
        for record in &plain {
            let record = record?;
            if self.stays(batch, &record) {
                any = true;
                tombstones |= record.value.is_none();
            } else {
                all = false;
            }
        }
        if !any {
            return Ok(Fate::Goes);
        }
        let begins_to_wait = (tombstones || marker_of_nothing) && !header.has_delete_horizon();
        if all && !begins_to_wait {
            return Ok(Fate::Stays);
        }
        let horizon_ms = if begins_to_wait {
            Some(self.now_ms.saturating_add(self.delete_retention_ms))
        } else {
            header.has_delete_horizon().then_some(header.base_timestamp)
        };
        self.rebuild(batch, &plain, horizon_ms).map(Fate::Becomes)
    }

    fn stays(&self, batch: &BatchRef<'_>, record: &Record<'_>) -> bool {
        let header = batch.header();
        if header.is_control() {
            return true;
        }
        let offset = header.base_offset + i64::from(record.offset_delta);
        if offset > self.map.latest_offset() {
            return true;
        }
        // A compacted topic takes no records without keys, but it may have been another one once.
        let Some(key) = record.key else { return false };
        let newest = self.map.newest(key).is_none_or(|newest| offset >= newest);
        let waits = !header.has_delete_horizon() || self.now_ms < header.base_timestamp;
        newest && (record.value.is_some() || waits)
    }

    fn rebuild(
        &self,
        batch: &BatchRef<'_>,
        plain: &PlainRecords<'_>,
        horizon_ms: Option<i64>,
    ) -> Result<Bytes, RecordError> {
        let header = batch.header();
        let compression = Compression::with_default_level(header.compression()?);
        let mut builder = like(batch, compression);
        if header.timestamp_type() == TimestampType::LogAppendTime {
            builder = builder.log_append_time(header.max_timestamp);
        }
        if let Some(horizon_ms) = horizon_ms {
            builder = builder.delete_horizon(horizon_ms);
        }
        for record in plain {
            let record = record?;
            if self.stays(batch, &record) {
                let timestamp = header.record_timestamp(record.timestamp_delta);
                builder.append_with(
                    record.offset_delta,
                    timestamp,
                    record.key,
                    record.value,
                    record.headers,
                )?;
            }
        }
        builder.build()
    }
}

/// A batch without records that has the place of another one.
fn empty(batch: &BatchRef<'_>) -> Result<Bytes, RecordError> {
    let header = batch.header();
    let mut bytes = like(batch, Compression::None).build()?.to_vec();
    set_max_timestamp(&mut bytes, header.timestamp_type(), header.max_timestamp)?;
    Ok(bytes.into())
}

/// A builder with the header of another batch, but for its timestamps.
fn like(batch: &BatchRef<'_>, compression: Compression) -> BatchBuilder {
    let header = batch.header();
    BatchBuilder::new(compression)
        .base_offset(header.base_offset)
        .partition_leader_epoch(header.partition_leader_epoch)
        .producer(header.producer_id, header.producer_epoch, header.base_sequence)
        .transactional(header.is_transactional())
        .control(header.is_control())
        .last_offset_delta(header.last_offset_delta)
}

#[cfg(test)]
mod tests;

//! One partition's share of an object while it is built: extent, sparse index, producers.
//!
//! Invariant: batches come in offset order without a gap; what an index entry says of timestamps
//! holds through the end of what it covers.

use std::collections::{BTreeMap, btree_map::Entry};

use common::{PartitionKey, limits::PRODUCER_BATCHES_RETAINED};
use protocol::records::{BatchHeader, EndTransactionMarker, NO_TIMESTAMP, TimestampType};

use super::{
    error::FormatError,
    format::{AbortedUpdate, IndexEntry, PartitionFooter, ProducerBatch, ProducerUpdate},
};

/// Collects a [`PartitionFooter`].
#[derive(Debug)]
pub(super) struct PartitionBuilder {
    footer: PartitionFooter,
    producers: ProducerTracker,
}

impl PartitionBuilder {
    /// An empty extent at `base_offset`, with the producers known at its start.
    pub(super) fn new(key: PartitionKey, base_offset: i64, producers: ProducerTracker) -> Self {
        let footer = PartitionFooter {
            key,
            leader_epoch: -1,
            base_offset,
            end_offset: base_offset,
            bytes: 0,
            min_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            index: Vec::new(),
            producers: Vec::new(),
            cleaned_end_offset: None,
            aborted: Vec::new(),
        };
        Self { footer, producers }
    }

    /// Adds an index entry for what follows, at `position`.
    pub(super) fn mark(&mut self, position: u64) {
        let footer = &mut self.footer;
        footer.index.push(IndexEntry {
            offset: footer.end_offset,
            max_timestamp: footer.max_timestamp,
            position,
            crc32c: 0,
        });
    }

    /// The newest index entry.
    pub(super) fn last_mark(&mut self) -> Option<&mut IndexEntry> {
        self.footer.index.last_mut()
    }

    /// Bytes of batches so far.
    pub(super) fn bytes(&self) -> u64 {
        self.footer.bytes
    }

    /// The end of the extent so far.
    pub(super) fn end_offset(&self) -> i64 {
        self.footer.end_offset
    }

    /// Adds the next batch, with the marker in it.
    ///
    /// # Errors
    /// `Invalid` where it does not continue the extent. Compaction may leave gaps between batches,
    /// so a batch may start above the end, where `gaps` says so, but never below.
    pub(super) fn push(
        &mut self,
        batch: &BatchHeader,
        marker: Option<EndTransactionMarker>,
        gaps: bool,
    ) -> Result<(), FormatError> {
        let footer = &mut self.footer;
        let continues =
            batch.base_offset == footer.end_offset || gaps && batch.base_offset > footer.end_offset;
        if !continues || batch.last_offset_delta < 0 {
            return Err(FormatError::Invalid("a batch does not continue its partition"));
        }
        footer.leader_epoch = footer.leader_epoch.max(batch.partition_leader_epoch);
        footer.end_offset = batch.next_offset();
        footer.bytes += batch.total_len() as u64;
        let first = match batch.timestamp_type() {
            TimestampType::CreateTime => batch.base_timestamp.min(batch.max_timestamp),
            TimestampType::LogAppendTime => batch.max_timestamp,
        };
        if first > NO_TIMESTAMP
            && (footer.min_timestamp == NO_TIMESTAMP || first < footer.min_timestamp)
        {
            footer.min_timestamp = first;
        }
        footer.max_timestamp = footer.max_timestamp.max(batch.max_timestamp);
        if let Some(entry) = footer.index.last_mut() {
            entry.max_timestamp = footer.max_timestamp;
        }
        self.producers.push(batch, marker);
        Ok(())
    }

    /// Notes how far the log is clean.
    pub(super) fn cleaned_up_to(&mut self, end_offset: i64) {
        self.footer.cleaned_end_offset = Some(end_offset);
    }

    /// Remembers the producer of a batch that is not part of the extent any more.
    pub(super) fn note_removed(&mut self, batch: &BatchHeader) {
        self.producers.push(batch, None);
    }

    /// The finished share.
    pub(super) fn finish(mut self) -> PartitionFooter {
        (self.footer.producers, self.footer.aborted) = self.producers.into_updates();
        self.footer
    }
}

/// The state of producers as a sequence of batches leaves it.
#[derive(Debug, Clone, Default)]
pub struct ProducerTracker {
    producers: BTreeMap<i64, ProducerUpdate>,
    /// Transactions that markers among the batches aborted.
    aborted: Vec<AbortedUpdate>,
    /// Batches below it are accounted for already.
    known_end_offset: i64,
}

impl ProducerTracker {
    /// Takes what a footer says: the extents before it were taken already, or it is of an L1
    /// object and knows everything. Batches below `end_offset`, the end of the footer's extent,
    /// change nothing any more.
    pub fn absorb(&mut self, updates: &[ProducerUpdate], end_offset: i64) {
        self.known_end_offset = end_offset;
        for update in updates {
            match self.producers.entry(update.producer_id) {
                Entry::Vacant(vacant) => _ = vacant.insert(update.clone()),
                Entry::Occupied(mut known) => known.get_mut().continue_with(update),
            }
        }
    }

    /// Forgets producers that are not `known` any more and that have no open transaction.
    pub fn forget_unknown(&mut self, known: impl Fn(i64) -> bool) {
        self.producers.retain(|producer_id, producer| {
            producer.txn_first_offset.is_some() || known(*producer_id)
        });
    }

    /// Takes the next batch of the partition, with the marker in it.
    pub fn push(&mut self, batch: &BatchHeader, marker: Option<EndTransactionMarker>) {
        if !batch.has_producer_id() || batch.base_offset < self.known_end_offset {
            return;
        }
        let producer = self.producers.entry(batch.producer_id).or_insert_with(|| ProducerUpdate {
            producer_id: batch.producer_id,
            producer_epoch: batch.producer_epoch,
            marker_offset: None,
            coordinator_epoch: -1,
            txn_first_offset: None,
            last_timestamp: batch.max_timestamp,
            batches: Vec::new(),
        });
        if batch.producer_epoch != producer.producer_epoch {
            producer.producer_epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        producer.last_timestamp = producer.last_timestamp.max(batch.max_timestamp);
        if batch.is_control() {
            match marker {
                Some(marker) => self.aborted.extend(producer.end(batch.last_offset(), marker)),
                // Compaction by key has removed what it said.
                None => {
                    producer.marker_offset = Some(batch.last_offset());
                    producer.txn_first_offset = None;
                }
            }
            return;
        }
        if batch.is_transactional() {
            producer.txn_first_offset.get_or_insert(batch.base_offset);
        }
        if producer.batches.len() == PRODUCER_BATCHES_RETAINED {
            producer.batches.remove(0);
        }
        producer.batches.push(ProducerBatch {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            timestamp: batch.max_timestamp,
            transactional: batch.is_transactional(),
        });
    }

    /// What is known, ascending by producer, and the transactions that were seen to be aborted,
    /// ascending by marker.
    #[must_use]
    pub fn into_updates(self) -> (Vec<ProducerUpdate>, Vec<AbortedUpdate>) {
        (self.producers.into_values().collect(), self.aborted)
    }
}

impl ProducerUpdate {
    /// Takes a marker; returns the transaction that it aborts. The first marker may end one that
    /// began earlier; behind another marker a transaction without batches wrote nothing.
    fn end(&mut self, offset: i64, marker: EndTransactionMarker) -> Option<AbortedUpdate> {
        let first_offset = self.txn_first_offset.take();
        let may_begin_before = self.marker_offset.is_none();
        let wrote = first_offset.is_some() || may_begin_before;
        self.marker_offset = Some(offset);
        self.coordinator_epoch = marker.coordinator_epoch;
        let producer_id = self.producer_id;
        (wrote && !marker.commit).then_some(AbortedUpdate {
            producer_id,
            first_offset,
            may_begin_before,
            last_offset: offset,
        })
    }

    /// The state after `later` happened, too.
    fn continue_with(&mut self, later: &Self) {
        if self.producer_epoch != later.producer_epoch {
            self.producer_epoch = later.producer_epoch;
            self.batches.clear();
        }
        self.last_timestamp = self.last_timestamp.max(later.last_timestamp);
        // A marker ends the transaction that was open before it.
        self.txn_first_offset = match later.marker_offset {
            Some(_) => later.txn_first_offset,
            None => self.txn_first_offset.or(later.txn_first_offset),
        };
        self.marker_offset = later.marker_offset.or(self.marker_offset);
        self.coordinator_epoch = self.coordinator_epoch.max(later.coordinator_epoch);
        self.batches.extend_from_slice(&later.batches);
        let surplus = self.batches.len().saturating_sub(PRODUCER_BATCHES_RETAINED);
        self.batches.drain(..surplus);
    }
}

//! Producers of one partition (KIP-98, KIP-890): a window of the last batches per producer,
//! duplicate detection, epoch fencing, sequence checks and open transactions, as Kafka's
//! `ProducerStateManager`.
//!
//! Invariants IDM-1..3, TXN-1, TXN-4. An append is *tentative* until its block is synced:
//! [`ProducerState`] keeps tentative batches behind the durable ones and notes what each append
//! changed, so that a roll-back only undoes those notes, last one first. What may be appended at
//! all is decided in `rules.rs`.

mod restore;
mod rules;
#[cfg(test)]
mod tests;
mod verification;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::{ProducerId, limits::PRODUCER_BATCHES_RETAINED};
use protocol::records::BatchHeader;

pub(crate) use self::restore::{ExtentProducers, RestoredProducers};
use self::{rules::Owed, verification::Verifications};
pub use self::{rules::SequenceError, verification::VerificationGuard};
pub(crate) use self::{
    rules::{ProducerAppend, SequenceCheck},
    verification::VerificationRequest,
};
use crate::{
    marker::EndTransaction,
    transactions::{Ended, Transactions},
    txn_index::AbortedTransaction,
};

/// Kafka's "no epoch yet", of producers and of coordinators.
pub(crate) const NO_EPOCH: i16 = -1;

/// One appended batch of a producer: what a duplicate is answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer's epoch at the time.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Sequence number of the last record.
    pub last_sequence: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The batch's largest timestamp, Unix milliseconds.
    pub timestamp: i64,
}

impl ProducerBatch {
    /// The batch with this header, at `base_offset` in the log.
    pub(crate) fn new(header: &BatchHeader, base_offset: i64, timestamp: i64) -> Self {
        Self {
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset,
            last_offset: base_offset + i64::from(header.last_offset_delta),
            timestamp,
        }
    }
}

/// A live producer of the partition, for DescribeProducers and snapshots: what is durable of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveProducer {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its newest epoch.
    pub producer_epoch: i16,
    /// Epoch of the coordinator that wrote its last marker, -1 for none.
    pub coordinator_epoch: i32,
    /// Timestamp of its last batch or marker, Unix milliseconds.
    pub last_timestamp: i64,
    /// First offset of its open transaction.
    pub txn_first_offset: Option<i64>,
    /// Its batches of that epoch, oldest first, at most [`PRODUCER_BATCHES_RETAINED`].
    pub batches: Vec<ProducerBatch>,
}

/// The producers of one partition, and its transactions.
#[derive(Debug, Default)]
pub(crate) struct ProducerState {
    producers: BTreeMap<ProducerId, Producer>,
    /// What was appended and is not durable, in offset order.
    tentative: VecDeque<Tentative>,
    transactions: Transactions,
    verifications: Verifications,
    /// Producers without a batch here whose first one was refused or taken back. What was
    /// pipelined behind it must not become the first: the retry would then be out of order for
    /// ever. Kafka takes the whole partition offline in that case.
    owed: BTreeMap<ProducerId, Owed>,
    /// Up to where restored state accounts for the log.
    restored_end: i64,
}

/// Producers remembered per partition whose first batch was refused: their headers are not
/// validated yet, so a client must not be able to make the list long.
const OWED_PRODUCERS_MAX: usize = 4096;

/// One producer, tentative appends included.
#[derive(Debug)]
struct Producer {
    head: Head,
    /// Durable batches first, tentative ones behind them.
    batches: VecDeque<ProducerBatch>,
    durable: usize,
    /// When it was first seen to be idle, Unix milliseconds; `None` if it appended since the last
    /// look. Not its batches' timestamps: a client may write what happened years ago.
    idle_since_ms: Option<i64>,
}

/// What is known of a producer besides its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    producer_epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    txn_first_offset: Option<i64>,
}

/// An append that may be taken back.
#[derive(Debug, Clone, Copy)]
struct Tentative {
    producer_id: ProducerId,
    last_offset: i64,
    /// A batch of the window; a marker otherwise.
    is_batch: bool,
    /// The producer before it.
    before: Head,
}

impl Head {
    /// Of a producer that nothing is known of.
    const UNKNOWN: Self = Self {
        producer_epoch: NO_EPOCH,
        coordinator_epoch: -1,
        last_timestamp: -1,
        txn_first_offset: None,
    };
}

impl ProducerState {
    /// Records an append that is not durable yet.
    pub(crate) fn append_tentative(
        &mut self,
        producer_id: ProducerId,
        batch: ProducerBatch,
        transactional: bool,
    ) {
        let Self { producers, tentative, transactions, verifications, owed, .. } = self;
        owed.remove(&producer_id);
        let producer = producers.entry(producer_id).or_insert_with(Producer::unknown);
        tentative.push_back(Tentative {
            producer_id,
            last_offset: batch.last_offset,
            is_batch: true,
            before: producer.head,
        });
        if transactional {
            verifications.clear(producer_id);
            if producer.head.txn_first_offset.is_none() {
                transactions.open(producer_id, batch.base_offset);
            }
        }
        producer.push(batch, transactional);
    }

    /// Records a marker that is not durable yet.
    pub(crate) fn end_tentative(&mut self, end: &EndTransaction, offset: i64, timestamp: i64) {
        let Self { producers, tentative, transactions, verifications, owed, .. } = self;
        owed.remove(&end.producer_id);
        let producer = producers.entry(end.producer_id).or_insert_with(Producer::unknown);
        tentative.push_back(Tentative {
            producer_id: end.producer_id,
            last_offset: offset,
            is_batch: false,
            before: producer.head,
        });
        verifications.transaction_ended(end.producer_id, end.producer_epoch);
        if let Some(first_offset) = producer.end(end, timestamp) {
            transactions.end(Ended {
                producer_id: end.producer_id,
                first_offset,
                last_offset: offset,
                aborted: !end.commit,
            });
        }
    }

    /// Makes what lies below `end_offset` durable and trims the producers' windows.
    pub(crate) fn mark_durable(&mut self, end_offset: i64) {
        while let Some(tentative) = self.tentative.front().filter(|t| t.last_offset < end_offset) {
            if tentative.is_batch
                && let Some(producer) = self.producers.get_mut(&tentative.producer_id)
            {
                producer.durable += 1;
                producer.trim();
            }
            self.tentative.pop_front();
        }
    }

    /// Takes back every tentative append; `end_offset` is where the log ends then.
    pub(crate) fn roll_back(&mut self, end_offset: i64) {
        let Self { producers, tentative, transactions, owed, .. } = self;
        while let Some(taken) = tentative.pop_back() {
            let Some(producer) = producers.get_mut(&taken.producer_id) else { continue };
            producer.head = taken.before;
            let batch = taken.is_batch.then(|| producer.batches.pop_back()).flatten();
            if producer.head != Head::UNKNOWN {
                continue;
            }
            producers.remove(&taken.producer_id);
            if let Some(first) = batch.filter(|batch| batch.base_sequence >= 0) {
                owed.insert(taken.producer_id, Owed::of(&first));
            }
        }
        transactions.roll_back(end_offset);
    }

    /// Decides the transactions whose markers lie below the high watermark.
    pub(crate) fn settle(&mut self, high_watermark: i64) {
        self.transactions.settle(high_watermark);
    }

    /// The first offset that belongs to a transaction that is open, or whose marker may still be
    /// taken back.
    pub(crate) fn first_unstable(&self) -> Option<i64> {
        self.transactions.first_unstable()
    }

    /// The transactions of the partition.
    pub(crate) fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// Forgets aborted transactions that lie below the log start.
    pub(crate) fn trim(&mut self, log_start: i64) {
        self.transactions.trim(log_start);
    }

    /// Compaction by key has removed every batch of these.
    pub(crate) fn forget_aborted(&mut self, forgotten: &[AbortedTransaction]) {
        self.transactions.forget_aborted(forgotten);
    }

    /// Forgets producers that have been idle for longer than `expiration_ms`, as far as the looks
    /// of this function can tell, and unused verifications of that age. A producer with an open
    /// transaction stays, and so does one with an append that is not durable.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        let before_ms = now_ms.saturating_sub(expiration_ms);
        self.owed.retain(|_, owed| *owed.since_ms.get_or_insert(now_ms) >= before_ms);
        self.verifications.expire(before_ms);
        let busy: BTreeSet<_> = self.tentative.iter().map(|t| t.producer_id).collect();
        self.producers.retain(|producer_id, producer| {
            let idle_since_ms = *producer.idle_since_ms.get_or_insert(now_ms);
            producer.head.txn_first_offset.is_some()
                || idle_since_ms >= before_ms
                || busy.contains(producer_id)
        });
    }

    /// Whether the producer is known, so that footers have to know it as well.
    pub(crate) fn knows(&self, producer_id: ProducerId) -> bool {
        self.producers.contains_key(&producer_id)
    }

    /// As [`Self::active`], for a snapshot: the timestamps are the moments of last use, as far as
    /// they are later, so that the start which reads it can tell who was idle.
    pub(crate) fn snapshot(&self, now_ms: i64) -> Vec<ActiveProducer> {
        let mut active = self.active();
        for producer in &mut active {
            let known = self.producers.get(&producer.producer_id);
            let used_ms = known.and_then(|known| known.idle_since_ms).unwrap_or(now_ms);
            producer.last_timestamp = producer.last_timestamp.max(used_ms);
        }
        active
    }

    /// The producers as far as they are durable, by id.
    pub(crate) fn active(&self) -> Vec<ActiveProducer> {
        let taken_back = self.tentative.iter().rev().map(|t| (t.producer_id, t.before));
        let durable: BTreeMap<_, _> = taken_back.collect();
        let producers = self.producers.iter().map(|(producer_id, producer)| {
            (*producer_id, durable.get(producer_id).unwrap_or(&producer.head), producer)
        });
        producers
            .filter(|(_, head, _)| **head != Head::UNKNOWN)
            .map(|(producer_id, head, producer)| ActiveProducer {
                producer_id,
                producer_epoch: head.producer_epoch,
                coordinator_epoch: head.coordinator_epoch,
                last_timestamp: head.last_timestamp,
                txn_first_offset: head.txn_first_offset,
                batches: producer.durable_batches(head.producer_epoch),
            })
            .collect()
    }

    /// Whether there is anything that would be lost with the records' footers.
    pub(crate) fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.transactions.is_empty()
    }
}

impl Producer {
    fn unknown() -> Self {
        Self { head: Head::UNKNOWN, batches: VecDeque::new(), durable: 0, idle_since_ms: None }
    }

    fn push(&mut self, batch: ProducerBatch, transactional: bool) {
        self.head.producer_epoch = batch.producer_epoch;
        self.head.last_timestamp = batch.timestamp;
        self.idle_since_ms = None;
        if transactional {
            self.head.txn_first_offset.get_or_insert(batch.base_offset);
        }
        self.batches.push_back(batch);
    }

    /// Takes a marker; returns the first offset of the transaction that it ends.
    fn end(&mut self, end: &EndTransaction, timestamp: i64) -> Option<i64> {
        self.head.producer_epoch = end.producer_epoch;
        self.head.coordinator_epoch = end.coordinator_epoch;
        self.head.last_timestamp = timestamp;
        self.idle_since_ms = None;
        self.head.txn_first_offset.take()
    }

    /// The newest batch of the newest epoch.
    fn last(&self) -> Option<&ProducerBatch> {
        let last = self.batches.back();
        last.filter(|batch| batch.producer_epoch == self.head.producer_epoch)
    }

    fn trim(&mut self) {
        while self.durable > PRODUCER_BATCHES_RETAINED {
            self.batches.pop_front();
            self.durable -= 1;
        }
    }

    fn durable_batches(&self, producer_epoch: i16) -> Vec<ProducerBatch> {
        let durable = self.batches.iter().take(self.durable);
        durable.filter(|batch| batch.producer_epoch == producer_epoch).copied().collect()
    }
}

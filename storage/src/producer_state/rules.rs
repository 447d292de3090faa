//! What may be appended next, as Kafka's `ProducerAppendInfo` and `UnifiedLog` decide it: the
//! same checks in the same order. Pure functions of the state.

use common::{ProducerId, limits::PRODUCER_BATCHES_RETAINED};

use super::{Head, OWED_PRODUCERS_MAX, Producer, ProducerBatch, ProducerState, VerificationGuard};
use crate::{append::AppendOrigin, error::AppendError, marker::EndTransaction};

/// From this version on a marker carries the epoch after its transaction's (KIP-890).
const EPOCH_BUMP_SINCE: i16 = 2;

/// A batch about to be appended, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerAppend {
    /// The producer.
    pub(crate) producer_id: ProducerId,
    /// Its epoch.
    pub(crate) producer_epoch: i16,
    /// Sequence number of the first record.
    pub(crate) base_sequence: i32,
    /// Sequence number of the last record.
    pub(crate) last_sequence: i32,
    /// Whether it belongs to a transaction.
    pub(crate) transactional: bool,
    /// Who appends it.
    pub(crate) origin: AppendOrigin,
}

/// What the sequence check says of an acceptable batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceCheck {
    /// Append it.
    InOrder,
    /// It was appended before, as this batch.
    Duplicate(ProducerBatch),
}

/// Why a batch does not fit what its producer sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The producer was fenced by a newer epoch (INVALID_PRODUCER_EPOCH).
    #[error("producer {producer_id} has epoch {epoch}, the partition has seen {current}")]
    StaleEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's epoch.
        epoch: i16,
        /// The partition's epoch for it.
        current: i16,
    },
    /// A gap or a step back (OUT_OF_ORDER_SEQUENCE_NUMBER).
    #[error("out of order sequence of producer {producer_id}: {found}, last was {last}")]
    OutOfOrder {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's first sequence number.
        found: i32,
        /// The last one appended, -1 for none in this epoch.
        last: i32,
    },
}

/// The batch that a producer without state must begin with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    /// When it was refused, Unix milliseconds; `None` until expiry looks at it.
    pub(super) since_ms: Option<i64>,
}

impl Owed {
    pub(super) fn of(batch: &ProducerBatch) -> Self {
        Self {
            producer_epoch: batch.producer_epoch,
            base_sequence: batch.base_sequence,
            since_ms: None,
        }
    }
}

impl ProducerState {
    /// Decides whether a batch may be appended next. A transactional one needs an open transaction
    /// of its epoch, or the guard of the verification that is under way.
    ///
    /// # Errors
    /// Where Kafka refuses it. A producer without state may start anywhere, as in Kafka: its state
    /// may have expired.
    pub(crate) fn check(
        &self,
        append: &ProducerAppend,
        guard: Option<VerificationGuard>,
    ) -> Result<SequenceCheck, AppendError> {
        let producer = self.producers.get(&append.producer_id);
        if let (Some(producer), AppendOrigin::Client) = (producer, append.origin)
            && let Some(original) = producer.duplicate_of(append)
        {
            return Ok(SequenceCheck::Duplicate(original));
        }
        let head = producer.map_or(Head::UNKNOWN, |producer| producer.head);
        if append.producer_epoch < head.producer_epoch {
            return Err(stale(append.producer_id, append.producer_epoch, head.producer_epoch));
        }
        let is_open = head.is_open(append.producer_epoch);
        if append.transactional
            && !is_open
            && !self.verifications.is_verified(append.producer_id, guard)
        {
            return Err(AppendError::InvalidTxnState {
                producer_id: append.producer_id,
                reason: "the batch is not part of an ongoing transaction",
            });
        }
        if append.origin == AppendOrigin::Client {
            self.check_sequence(append, producer)?;
        }
        if !append.transactional && head.txn_first_offset.is_some() {
            return Err(AppendError::InvalidTxnState {
                producer_id: append.producer_id,
                reason: "a batch outside of the producer's open transaction",
            });
        }
        Ok(SequenceCheck::InOrder)
    }

    fn check_sequence(
        &self,
        append: &ProducerAppend,
        producer: Option<&Producer>,
    ) -> Result<(), SequenceError> {
        let last = producer.and_then(Producer::last).map(|batch| batch.last_sequence);
        if let Some(bound) =
            self.verifications.base_sequence_max(append.producer_id, last.is_none())
            && append.base_sequence > bound
        {
            return Err(out_of_order(append, last.unwrap_or(-1)));
        }
        let Some(producer) = producer else { return self.check_owed(append) };
        let next = if append.producer_epoch > producer.head.producer_epoch {
            0
        } else {
            last.map_or(0, next_sequence)
        };
        if append.base_sequence == next {
            Ok(())
        } else {
            let same_epoch = append.producer_epoch == producer.head.producer_epoch;
            Err(out_of_order(append, last.filter(|_| same_epoch).unwrap_or(-1)))
        }
    }

    fn check_owed(&self, append: &ProducerAppend) -> Result<(), SequenceError> {
        match self.owed.get(&append.producer_id) {
            Some(owed)
                if owed.producer_epoch == append.producer_epoch
                    && owed.base_sequence != append.base_sequence =>
            {
                Err(out_of_order(append, -1))
            }
            _ => Ok(()),
        }
    }

    /// Decides whether a marker may be appended next.
    ///
    /// A marker of version 2 bumps the epoch, so one of the current epoch is either late or the
    /// retry of one that was written; only the retry finds no open transaction. It is written
    /// again, as in Kafka. A producer at the last epoch has no other to be bumped to.
    ///
    /// # Errors
    /// `StaleEpoch`, then `CoordinatorFenced`.
    pub(crate) fn check_end(&self, end: &EndTransaction) -> Result<(), AppendError> {
        let head = self.producers.get(&end.producer_id).map_or(Head::UNKNOWN, |found| found.head);
        let is_current = end.producer_epoch == head.producer_epoch;
        let is_allowed_retry = head.txn_first_offset.is_none() || end.producer_epoch == i16::MAX;
        let is_late =
            is_current && end.transaction_version >= EPOCH_BUMP_SINCE && !is_allowed_retry;
        if end.producer_epoch < head.producer_epoch || is_late {
            return Err(stale(end.producer_id, end.producer_epoch, head.producer_epoch));
        }
        if end.coordinator_epoch < head.coordinator_epoch {
            return Err(AppendError::CoordinatorFenced {
                producer_id: end.producer_id,
                epoch: end.coordinator_epoch,
                current: head.coordinator_epoch,
            });
        }
        Ok(())
    }

    /// Remembers that a batch was refused before it was appended, for a reason that a retry may
    /// get over. Of a producer with state nothing needs remembering: what follows has a gap.
    pub(crate) fn note_refused(&mut self, append: &ProducerAppend) {
        if append.base_sequence < 0 || self.producers.contains_key(&append.producer_id) {
            return;
        }
        let ProducerAppend { producer_id, producer_epoch, base_sequence, .. } = *append;
        let owed = Owed { producer_epoch, base_sequence, since_ms: None };
        if self.owed.len() >= OWED_PRODUCERS_MAX && !self.owed.contains_key(&producer_id) {
            return;
        }
        let known = self.owed.entry(producer_id).or_insert(owed);
        if known.producer_epoch < producer_epoch {
            *known = owed;
        }
    }
}

impl Head {
    /// Whether a transaction of this epoch is open.
    pub(super) fn is_open(&self, producer_epoch: i16) -> bool {
        self.txn_first_offset.is_some() && self.producer_epoch == producer_epoch
    }
}

impl Producer {
    fn duplicate_of(&self, append: &ProducerAppend) -> Option<ProducerBatch> {
        if append.producer_epoch != self.head.producer_epoch {
            return None;
        }
        let retained = self.batches.iter().rev().take(PRODUCER_BATCHES_RETAINED);
        retained
            .take_while(|batch| batch.producer_epoch == append.producer_epoch)
            .find(|batch| {
                batch.base_sequence == append.base_sequence
                    && batch.last_sequence == append.last_sequence
            })
            .copied()
    }
}

pub(super) fn stale(producer_id: ProducerId, epoch: i16, current: i16) -> AppendError {
    SequenceError::StaleEpoch { producer_id, epoch, current }.into()
}

fn out_of_order(append: &ProducerAppend, last: i32) -> SequenceError {
    SequenceError::OutOfOrder { producer_id: append.producer_id, found: append.base_sequence, last }
}

/// The sequence number after `sequence`: wraps to 0 after `i32::MAX` (KIP-98).
fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

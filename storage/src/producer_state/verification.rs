//! Verification of transactions (KIP-890): who is asking the coordinator whether a partition
//! belongs to an open transaction, before its first batch is appended.
//!
//! Invariant TXN-4: a guard is good for one transaction. The first append of a transaction and the
//! marker that ends one throw it away, so an answer that comes back late opens nothing.

use std::collections::BTreeMap;

use common::ProducerId;

use super::{Head, ProducerState, rules::stale};
use crate::error::AppendError;

/// Verifications under way per partition. Past it the oldest goes, and its batch is refused.
const VERIFICATIONS_MAX: usize = 65_536;

/// Stands for one verification under way. Guards are never used twice in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerificationGuard(u64);

/// What a verification begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VerificationRequest {
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: i16,
    /// First sequence of the batch that waits for it.
    pub(crate) base_sequence: i32,
    /// Whether the producer bumps its epoch with each transaction.
    pub(crate) supports_epoch_bump: bool,
}

/// Verifications by producer.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    under_way: BTreeMap<ProducerId, Verification>,
    guards_given: u64,
}

#[derive(Debug)]
struct Verification {
    guard: VerificationGuard,
    created_ms: i64,
    producer_epoch: i16,
    /// The lowest sequence seen: what is above it must not get into the log before it does.
    lowest_sequence: i32,
    supports_epoch_bump: bool,
}

impl ProducerState {
    /// Begins to verify, or joins what is under way; `None` where a transaction of the epoch is
    /// open and nothing needs to be verified.
    ///
    /// # Errors
    /// `StaleEpoch`.
    pub(crate) fn begin_verification(
        &mut self,
        request: &VerificationRequest,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let VerificationRequest { producer_id, producer_epoch, .. } = *request;
        let head = self.producers.get(&producer_id).map_or(Head::UNKNOWN, |found| found.head);
        if producer_epoch < head.producer_epoch {
            return Err(stale(producer_id, producer_epoch, head.producer_epoch));
        }
        if head.is_open(producer_epoch) {
            return Ok(None);
        }
        Ok(Some(self.verifications.begin(request, now_ms)))
    }
}

impl Verifications {
    fn begin(&mut self, request: &VerificationRequest, now_ms: i64) -> VerificationGuard {
        self.make_room(request.producer_id);
        let guards_given = &mut self.guards_given;
        let verification = self.under_way.entry(request.producer_id).or_insert_with(|| {
            *guards_given += 1;
            Verification {
                guard: VerificationGuard(*guards_given),
                created_ms: now_ms,
                producer_epoch: request.producer_epoch,
                lowest_sequence: request.base_sequence,
                supports_epoch_bump: request.supports_epoch_bump,
            }
        });
        verification.take_sequence(request);
        verification.guard
    }

    fn make_room(&mut self, producer_id: ProducerId) {
        if self.under_way.len() < VERIFICATIONS_MAX || self.under_way.contains_key(&producer_id) {
            return;
        }
        let oldest = self.under_way.iter().min_by_key(|(_, found)| found.guard);
        if let Some(oldest) = oldest.map(|(producer_id, _)| *producer_id) {
            self.under_way.remove(&oldest);
        }
    }

    pub(super) fn is_verified(
        &self,
        producer_id: ProducerId,
        guard: Option<VerificationGuard>,
    ) -> bool {
        let under_way = self.under_way.get(&producer_id).map(|found| found.guard);
        under_way.is_some() && under_way == guard
    }

    /// The largest base sequence that may be appended while a verification is under way; `is_new`
    /// says that the producer has no batch in its epoch.
    pub(super) fn base_sequence_max(&self, producer_id: ProducerId, is_new: bool) -> Option<i32> {
        let found = self.under_way.get(&producer_id)?;
        Some(if is_new && found.supports_epoch_bump { 0 } else { found.lowest_sequence })
    }

    pub(super) fn clear(&mut self, producer_id: ProducerId) {
        self.under_way.remove(&producer_id);
    }

    /// A marker ends the verification of its own transaction, not the one of the next, which has
    /// the marker's epoch where epochs are bumped.
    pub(super) fn transaction_ended(&mut self, producer_id: ProducerId, marker_epoch: i16) {
        let found = self.under_way.get(&producer_id);
        let is_next = found
            .is_some_and(|found| found.supports_epoch_bump && found.producer_epoch == marker_epoch);
        if !is_next {
            self.clear(producer_id);
        }
    }

    pub(super) fn expire(&mut self, before_ms: i64) {
        self.under_way.retain(|_, found| found.created_ms >= before_ms);
    }
}

impl Verification {
    /// Keeps the lowest sequence of the newest epoch.
    fn take_sequence(&mut self, request: &VerificationRequest) {
        if request.producer_epoch > self.producer_epoch {
            self.producer_epoch = request.producer_epoch;
            self.lowest_sequence = request.base_sequence;
        } else if request.producer_epoch == self.producer_epoch {
            self.lowest_sequence = self.lowest_sequence.min(request.base_sequence);
        }
    }
}

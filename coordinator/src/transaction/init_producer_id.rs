//! InitProducerId for a transactional id: a producer begins, and every one before it is fenced.
//!
//! KIP-98; KIP-360 (a producer names the id and epoch that it has, to go on after an error); KIP-939
//! (two-phase commit) as far as Kafka 4.3 has it.

use common::ProducerId;
use protocol::ErrorCode;

use super::{
    metadata::{NO_EPOCH, TransactionMetadata, TransactionVersion, is_epoch_exhausted},
    records::TransactionRecord,
    shard::{Attempt, Ctx, TransactionConfig, TransactionShard},
    state::TransactionState,
};
use crate::shard::Outcome;

/// A producer's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdAndEpoch {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: i16,
}

/// What a producer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitProducerId {
    /// Its transactional id.
    pub transactional_id: String,
    /// How long its transactions may stay open.
    pub timeout_ms: i32,
    /// Whether they take part in a two-phase commit and have no timeout.
    pub two_phase_commit: bool,
    /// Whether the open transaction is to be kept.
    pub keep_prepared: bool,
    /// What it is, where it has been one before (KIP-360).
    pub expected: Option<ProducerIdAndEpoch>,
}

type Decision = Result<Next, Attempt<ProducerIdAndEpoch>>;

/// An id's next state, and the epoch that a retry may still name.
struct Next {
    metadata: TransactionMetadata,
    last_producer_epoch: i16,
}

impl InitProducerId {
    /// What is refused whatever is known of the id.
    ///
    /// # Errors
    /// Kafka's code for it.
    pub fn validate(&self, config: &TransactionConfig) -> Result<(), ErrorCode> {
        if self.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        if self.two_phase_commit && !config.two_phase_commit {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        if self.keep_prepared {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if !self.two_phase_commit && !(1..=config.max_timeout_ms).contains(&self.timeout_ms) {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        Ok(())
    }

    const fn resolved_timeout_ms(&self) -> i32 {
        if self.two_phase_commit { i32::MAX } else { self.timeout_ms }
    }

    /// Whether the producer may be the one that the id belongs to; its epoch is checked when it is
    /// bumped. The producer id before is right where its last epoch went lost with an answer.
    fn may_be(&self, known: &TransactionMetadata) -> bool {
        self.expected.is_none_or(|expected| {
            expected.producer_id == known.producer_id
                || (known.previous_producer_id == Some(expected.producer_id)
                    && is_epoch_exhausted(expected.producer_epoch))
        })
    }
}

impl TransactionShard {
    /// Begins a producer. An open transaction is aborted first, and the producer told to come
    /// back. `fresh` is a producer id that nobody has had.
    pub fn init_producer_id(
        &mut self,
        context: Ctx<'_, '_>,
        request: &InitProducerId,
        fresh: Option<ProducerId>,
    ) -> Outcome<Attempt<ProducerIdAndEpoch>, TransactionRecord> {
        if let Err(error) = request.validate(&self.config) {
            return Outcome::read(Attempt::refused(error));
        }
        let id = request.transactional_id.as_str();
        let decision = match self.transactional_ids.get(id) {
            None => first(request, fresh, context.now_ms),
            Some(entry) if entry.metadata.state == TransactionState::Ongoing => {
                return self.fence(context, request, fresh);
            }
            Some(entry) => {
                let last = entry.last_producer_epoch;
                bump(&entry.metadata, last, request, fresh, context.now_ms)
            }
        };
        let next = match decision {
            Ok(next) => next,
            Err(attempt) => return Outcome::read(attempt),
        };
        if let Some(entry) = self.transactional_ids.get_mut(id) {
            entry.last_epoch_of_init = next.last_producer_epoch;
        }
        let identity = ProducerIdAndEpoch {
            producer_id: next.metadata.producer_id,
            producer_epoch: next.metadata.producer_epoch,
        };
        let record = self.step(context, id, next.metadata);
        Outcome::write(vec![record], Attempt::Done(Ok(identity)))
    }

    /// Aborts the open transaction with a bumped epoch, which nobody is given: when the producer
    /// comes back, its epoch is bumped again.
    fn fence(
        &self,
        context: Ctx<'_, '_>,
        request: &InitProducerId,
        fresh: Option<ProducerId>,
    ) -> Outcome<Attempt<ProducerIdAndEpoch>, TransactionRecord> {
        let Some(known) = self.metadata(&request.transactional_id) else {
            return Outcome::read(Attempt::refused(ErrorCode::InvalidProducerIdMapping));
        };
        if !request.may_be(known) {
            return Outcome::read(Attempt::refused(ErrorCode::ProducerFenced));
        }
        match self.fencing_abort(context, &request.transactional_id, known, fresh) {
            Some(records) => {
                Outcome::write(records, Attempt::refused(ErrorCode::ConcurrentTransactions))
            }
            None => Outcome::read(Attempt::NeedsProducerId),
        }
    }

    /// The records that abort an open transaction and fence its producer; `None` where that takes
    /// a producer id.
    pub(super) fn fencing_abort(
        &self,
        context: Ctx<'_, '_>,
        transactional_id: &str,
        known: &TransactionMetadata,
        fresh: Option<ProducerId>,
    ) -> Option<Vec<TransactionRecord>> {
        if known.is_epoch_exhausted() && fresh.is_none() {
            return None;
        }
        let next_producer_id = fresh.filter(|_| known.is_epoch_exhausted());
        let version = TransactionVersion::V2;
        let aborted = known.prepared(false, version, next_producer_id, context.now_ms);
        Some(vec![self.step(context, transactional_id, aborted)])
    }
}

fn first(request: &InitProducerId, fresh: Option<ProducerId>, now_ms: i64) -> Decision {
    let producer_id = fresh.ok_or(Attempt::NeedsProducerId)?;
    let metadata = TransactionMetadata::first(producer_id, request.resolved_timeout_ms(), now_ms);
    Ok(Next { metadata, last_producer_epoch: NO_EPOCH })
}

/// A step of an id that has no open transaction.
fn bump(
    known: &TransactionMetadata,
    last_producer_epoch: i16,
    request: &InitProducerId,
    fresh: Option<ProducerId>,
    now_ms: i64,
) -> Decision {
    if known.state.is_completing() {
        return Err(Attempt::refused(ErrorCode::ConcurrentTransactions));
    }
    if !request.may_be(known) {
        return Err(Attempt::refused(ErrorCode::ProducerFenced));
    }
    let timeout_ms = request.resolved_timeout_ms();
    let current = known.producer_epoch;
    let (producer_epoch, last) = match request.expected.map(|expected| expected.producer_epoch) {
        expected if known.is_epoch_exhausted() && expected.is_none_or(|e| e == current) => {
            let producer_id = fresh.ok_or(Attempt::NeedsProducerId)?;
            return Ok(Next {
                metadata: known.rotated(producer_id, timeout_ms, now_ms),
                last_producer_epoch: expected.unwrap_or(NO_EPOCH),
            });
        }
        None => (current + 1, NO_EPOCH),
        // It goes on after an error, and nobody has come between.
        Some(expected) if expected == current => (current + 1, current),
        // Its last call went through, and the answer was lost. Another producer's call would have
        // forgotten the epoch before.
        Some(expected) if expected == last_producer_epoch => (current, last_producer_epoch),
        Some(_) => return Err(Attempt::refused(ErrorCode::ProducerFenced)),
    };
    let metadata = known.initialized(producer_epoch, timeout_ms, now_ms);
    Ok(Next { metadata, last_producer_epoch: last })
}

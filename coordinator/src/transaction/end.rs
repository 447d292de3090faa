//! EndTxn: a producer commits or aborts, and timeouts abort for it.
//!
//! With KIP-890 the answer carries the producer's next epoch, and the same request again, after its
//! answer was lost, is known by an epoch that is one behind:
//!
//! | epoch one behind, or the current one | abort | | commit | |
//! |---|---|---|---|---|
//! | | behind | current | behind | current |
//! | `Empty` | PRODUCER_FENCED | bumps | PRODUCER_FENCED | INVALID_TXN_STATE |
//! | `CompleteAbort` | same answer | bumps | INVALID_TXN_STATE | INVALID_TXN_STATE |
//! | `CompleteCommit` | INVALID_TXN_STATE | bumps | same answer | INVALID_TXN_STATE |
//!
//! Older clients have no such sign: their epoch must be the current one, and the end that the id is
//! already in is answered as done.

use common::ProducerId;
use protocol::ErrorCode;
use tracing::info;

use super::{
    init_producer_id::ProducerIdAndEpoch,
    markers::{TimedOut, Work},
    metadata::{TransactionMetadata, TransactionVersion},
    records::TransactionRecord,
    shard::{Attempt, Ctx, TransactionShard, TransactionTimer},
    state::TransactionState,
};
use crate::shard::Outcome;

/// What a producer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndTransaction {
    /// Its transactional id.
    pub transactional_id: String,
    /// Its identity.
    pub producer: ProducerIdAndEpoch,
    /// Commit, or abort.
    pub committed: bool,
    /// What it speaks.
    pub client_version: TransactionVersion,
}

/// The end is decided, and will be done; the producer's identity from here on, where the end gives
/// it one.
pub type Ended = Option<ProducerIdAndEpoch>;

/// What is to be done about an id.
enum Decision {
    /// The request was obeyed before.
    Repeated,
    /// Its open transaction ends.
    End,
    /// There is none, and its abort still bumps the epoch.
    AbortNothing,
}

impl TransactionShard {
    /// Decides the end of a transaction. `fresh` is a producer id that nobody has had.
    pub fn end_transaction(
        &mut self,
        context: Ctx<'_, '_>,
        request: &EndTransaction,
        fresh: Option<ProducerId>,
    ) -> Outcome<Attempt<Ended>, TransactionRecord> {
        if request.transactional_id.is_empty() {
            return Outcome::read(Attempt::refused(ErrorCode::InvalidRequest));
        }
        let Some(known) = self.metadata(&request.transactional_id) else {
            return Outcome::read(Attempt::refused(ErrorCode::InvalidProducerIdMapping));
        };
        let bumps = request.client_version.bumps_epoch();
        let decision = if bumps { decide(known, request) } else { decide_v1(known, request) };
        let prepare = |fresh| {
            known.prepared(request.committed, request.client_version, fresh, context.now_ms)
        };
        match decision {
            Err(error) => {
                if error == ErrorCode::InvalidTxnState {
                    let transactional_id = request.transactional_id.as_str();
                    let (state, committed) = (known.state.name(), request.committed);
                    info!(transactional_id, state, committed, "a transaction cannot end so");
                }
                Outcome::read(Attempt::refused(error))
            }
            Ok(Decision::Repeated) => {
                Outcome::read(Attempt::Done(Ok(bumps.then(|| identity(known)))))
            }
            Ok(Decision::End | Decision::AbortNothing)
                if bumps && known.is_epoch_exhausted() && fresh.is_none() =>
            {
                Outcome::read(Attempt::NeedsProducerId)
            }
            Ok(Decision::End) => {
                let prepared = prepare(fresh.filter(|_| bumps && known.is_epoch_exhausted()));
                let ended = bumps.then(|| identity(&prepared.completed(context.now_ms)));
                let record = self.step(context, &request.transactional_id, prepared);
                Outcome::write(vec![record], Attempt::Done(Ok(ended)))
            }
            Ok(Decision::AbortNothing) => {
                // There are no markers to wait for: both states at once.
                let prepared = prepare(fresh.filter(|_| known.is_epoch_exhausted()));
                let completed = prepared.completed(context.now_ms);
                let ended = Some(identity(&completed));
                let record = |metadata| TransactionRecord {
                    transactional_id: request.transactional_id.clone(),
                    metadata: Some(metadata),
                };
                Outcome::write(vec![record(prepared), record(completed)], Attempt::Done(Ok(ended)))
            }
        }
    }

    /// The open transaction of an id has run for as long as it may.
    pub(super) fn time_out(
        &self,
        context: Ctx<'_, '_>,
        transactional_id: &str,
    ) -> Outcome<(), TransactionRecord> {
        let known = self.metadata(transactional_id);
        let Some(known) = known.filter(|known| known.state == TransactionState::Ongoing) else {
            return Outcome::read(());
        };
        info!(transactional_id, timeout_ms = known.timeout_ms, "a transaction has timed out");
        if let Some(records) = self.fencing_abort(context, transactional_id, known, None) {
            return Outcome::write(records, ());
        }
        let timed_out = TimedOut {
            transactional_id: transactional_id.to_owned(),
            producer_id: known.producer_id,
            producer_epoch: known.producer_epoch,
        };
        let again = TransactionTimer::Timeout(transactional_id.to_owned());
        context.set_timer(again, self.config.abort_timed_out_interval);
        self.ask(context, Work::Abort(timed_out));
        Outcome::read(())
    }

    /// Aborts a transaction that has timed out, unless it has ended meanwhile.
    pub fn abort_timed_out(
        &mut self,
        context: Ctx<'_, '_>,
        timed_out: &TimedOut,
        fresh: ProducerId,
    ) -> Outcome<(), TransactionRecord> {
        let TimedOut { transactional_id, producer_id, producer_epoch } = timed_out;
        let known = self.metadata(transactional_id).filter(|known| {
            known.state == TransactionState::Ongoing
                && (known.producer_id, known.producer_epoch) == (*producer_id, *producer_epoch)
        });
        let abort = known
            .and_then(|known| self.fencing_abort(context, transactional_id, known, Some(fresh)));
        Outcome::write(abort.unwrap_or_default(), ())
    }
}

fn identity(metadata: &TransactionMetadata) -> ProducerIdAndEpoch {
    ProducerIdAndEpoch {
        producer_id: metadata.producer_id,
        producer_epoch: metadata.producer_epoch,
    }
}

/// For clients that know nothing of bumped epochs.
fn decide_v1(known: &TransactionMetadata, request: &EndTransaction) -> Result<Decision, ErrorCode> {
    if known.producer_id != request.producer.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if known.producer_epoch != request.producer.producer_epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    match known.state {
        TransactionState::Ongoing => Ok(Decision::End),
        TransactionState::CompleteCommit if request.committed => Ok(Decision::Repeated),
        TransactionState::CompleteAbort if !request.committed => Ok(Decision::Repeated),
        state if state.is_completing() => Err(ErrorCode::ConcurrentTransactions),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

fn decide(known: &TransactionMetadata, request: &EndTransaction) -> Result<Decision, ErrorCode> {
    // First, since the producer may already name the identity that the completion gives it.
    if known.state.is_completing() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let ProducerIdAndEpoch { producer_id, producer_epoch } = request.producer;
    let same_id = known.producer_id == producer_id;
    let complete =
        matches!(known.state, TransactionState::CompleteCommit | TransactionState::CompleteAbort);
    let behind = i32::from(known.producer_epoch) == i32::from(producer_epoch) + 1;
    let rotated = known.previous_producer_id == Some(producer_id)
        && producer_epoch == i16::MAX - 1
        && known.producer_epoch == 0;
    if !same_id && !rotated {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let repeated = complete && (behind || rotated);
    if !repeated && producer_epoch != known.producer_epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    match (known.state, request.committed) {
        (TransactionState::Ongoing, _) => Ok(Decision::End),
        (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false)
            if repeated =>
        {
            Ok(Decision::Repeated)
        }
        (_, false) if !repeated => Ok(Decision::AbortNothing),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

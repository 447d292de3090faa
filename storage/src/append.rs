//! Appending to a partition: sequence check, offset assignment, hand-over to the WAL.
//!
//! All of it happens in one step under the partition's lock, so the WAL's order is the offsets'
//! order. The new state is tentative until the WAL reports the block synced (design D3); the
//! [`Ticket`] is what an acknowledgement waits on.

use std::sync::Arc;

use common::ProducerId;
use protocol::records::{BatchHeader, TimestampType, ValidatedRecords};
use tokio::sync::oneshot;

use crate::{
    error::AppendError,
    partition::{Partition, PendingAck, State},
    producer_state::{
        ProducerAppend, ProducerBatch, SequenceCheck, VerificationGuard, VerificationRequest,
    },
    wal::{AppendTarget, Completion, CompletionWaiter, WalAppend},
};

/// What the client asked to wait for (`acks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Nothing: no response is sent.
    None,
    /// The write, not its sync (acks=1).
    Leader,
    /// The topic's durability class (acks=all).
    All,
}

/// An accepted append. Nothing of it is visible before it is durable.
#[derive(Debug)]
pub struct Appended {
    /// Offset of the first record; of the original batch for a duplicate.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The broker's timestamp, where the topic uses LogAppendTime.
    pub log_append_time: Option<i64>,
    /// The log start at the time.
    pub log_start_offset: i64,
    /// Whether the batch had been appended before and was not again.
    pub duplicate: bool,
    /// Completes when the acknowledgement may be sent.
    pub ticket: Ticket,
}

/// Who appends a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client: its sequences are checked.
    Client,
    /// A coordinator of this broker, on behalf of a transactional producer: its batches have no
    /// sequences. Epochs and verification count as for a client.
    Coordinator {
        /// Where its state believes that the log ends. Checked under the partition's lock: a batch
        /// built on records that a failed write took back must not get in.
        log_end: i64,
    },
}

/// Where a batch was put.
pub(crate) struct Placed {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    log_append_time: Option<i64>,
    waiter: Option<CompletionWaiter>,
}

/// What an acknowledgement waits for.
#[derive(Debug)]
pub struct Ticket(Wait);

#[derive(Debug)]
enum Wait {
    Nothing,
    Written(CompletionWaiter),
    Durable(oneshot::Receiver<Result<(), AppendError>>),
}

impl Ticket {
    /// Waits until the append has reached what `acks` asked for. Cancel-safe: giving up (a
    /// request timeout) leaves the append's outcome unknown, not undone.
    ///
    /// # Errors
    /// [`AppendError`] where the append was taken back.
    pub async fn wait(self) -> Result<(), AppendError> {
        match self.0 {
            Wait::Nothing => Ok(()),
            Wait::Written(waiter) => waiter.written().await.map_err(AppendError::from),
            Wait::Durable(done) => done.await.unwrap_or(Err(AppendError::Closed)),
        }
    }
}

impl Partition {
    /// Notes that a batch was turned away before [`Partition::append`] for a reason that a retry
    /// may get over (the log was full): what its producer has sent behind it must not overtake it.
    pub fn turned_away(&self, header: &BatchHeader) {
        self.lock().note_refused(header);
    }

    /// Begins to verify that the producer's open transaction includes this partition (KIP-890),
    /// before the first batch of it is appended. `None` where a transaction of the epoch is open
    /// here: nothing needs to be verified. Otherwise the append needs the guard; asking the
    /// coordinator in between is up to the caller.
    ///
    /// # Errors
    /// [`AppendError::Sequence`] for a stale epoch; a closed partition's.
    pub fn begin_verification(
        &self,
        producer_id: ProducerId,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let request =
            VerificationRequest { producer_id, producer_epoch, base_sequence, supports_epoch_bump };
        let now_ms = self.shared.clock.now_ms();
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Err(reason.into());
        }
        state.producers.begin_verification(&request, now_ms)
    }

    /// Appends one validated batch of a client, without a guard.
    ///
    /// # Errors
    /// As [`Partition::append_as`].
    pub fn append(&self, records: ValidatedRecords, acks: Acks) -> Result<Appended, AppendError> {
        self.append_as(records, acks, AppendOrigin::Client, None)
    }

    /// Appends one validated batch. Synchronous and ordered: the offsets are assigned on return.
    /// The first batch of a transaction needs the guard of [`Partition::begin_verification`].
    ///
    /// # Errors
    /// [`AppendError`]; the partition is unchanged then.
    pub fn append_as(
        &self,
        records: ValidatedRecords,
        acks: Acks,
        origin: AppendOrigin,
        guard: Option<VerificationGuard>,
    ) -> Result<Appended, AppendError> {
        let header = records.header;
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Err(reason.into());
        }
        if let AppendOrigin::Coordinator { log_end } = origin {
            state.expect_end(log_end)?;
        }
        if let Some(original) = state.duplicate_of(&header, origin, guard)? {
            return Ok(state.answer_duplicate(original, acks));
        }
        let max_timestamp = records.max_timestamp;
        let placed =
            self.enqueue(&state, records, acks).inspect_err(|_| state.note_refused(&header))?;
        state.note_append(&header, placed.base_offset, max_timestamp);
        Ok(state.accepted(placed, acks))
    }

    /// Hands a batch to the WAL at the log's end, which the caller moves.
    pub(crate) fn enqueue(
        &self,
        state: &State,
        records: ValidatedRecords,
        acks: Acks,
    ) -> Result<Placed, AppendError> {
        let target: Arc<dyn AppendTarget> = self.this.upgrade().ok_or(AppendError::Closed)?;
        let log_append_time = records.log_append_time();
        let base_offset = state.log_end;
        let last_offset = base_offset + i64::from(records.header.last_offset_delta);
        let (completion, waiter) = match acks {
            Acks::Leader => {
                let (completion, waiter) = Completion::pair();
                (Some(completion), Some(waiter))
            }
            Acks::None | Acks::All => (None, None),
        };
        self.shared.enqueue(WalAppend {
            target,
            leader_epoch: state.leader_epoch.0,
            base_offset,
            records: records.bytes,
            header: records.header,
            log_append_time,
            object_class: state.readable_end.is_some(),
            completion,
        })?;
        Ok(Placed { base_offset, last_offset, log_append_time, waiter })
    }
}

/// The place in its producer's sequence that a batch's header claims.
fn producer_append(header: &BatchHeader, origin: AppendOrigin) -> ProducerAppend {
    ProducerAppend {
        producer_id: ProducerId(header.producer_id),
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
        transactional: header.is_transactional(),
        origin,
    }
}

impl State {
    fn note_refused(&mut self, header: &BatchHeader) {
        if header.has_producer_id() {
            let append = producer_append(header, AppendOrigin::Client);
            self.producers.note_refused(&append);
        }
    }

    fn duplicate_of(
        &self,
        header: &BatchHeader,
        origin: AppendOrigin,
        guard: Option<VerificationGuard>,
    ) -> Result<Option<ProducerBatch>, AppendError> {
        if !header.has_producer_id() {
            return Ok(None);
        }
        match self.producers.check(&producer_append(header, origin), guard)? {
            SequenceCheck::InOrder => Ok(None),
            SequenceCheck::Duplicate(original) => Ok(Some(original)),
        }
    }

    /// A duplicate is answered when its original is durable, never earlier.
    fn answer_duplicate(&mut self, original: ProducerBatch, acks: Acks) -> Appended {
        let ticket = match acks {
            Acks::None => Ticket(Wait::Nothing),
            Acks::Leader | Acks::All => self.wait_for(original.last_offset + 1),
        };
        Appended {
            base_offset: original.base_offset,
            last_offset: original.last_offset,
            log_append_time: (self.config.timestamp_type == TimestampType::LogAppendTime)
                .then_some(original.timestamp),
            log_start_offset: self.log_start,
            duplicate: true,
            ticket,
        }
    }

    fn note_append(&mut self, header: &BatchHeader, base_offset: i64, max_timestamp: i64) {
        let batch = ProducerBatch::new(header, base_offset, max_timestamp);
        self.log_end = batch.last_offset + 1;
        if !header.has_producer_id() {
            return;
        }
        let producer_id = ProducerId(header.producer_id);
        self.producers.append_tentative(producer_id, batch, header.is_transactional());
    }

    /// The answer to an append that is in the log.
    pub(crate) fn accepted(&mut self, placed: Placed, acks: Acks) -> Appended {
        let Placed { base_offset, last_offset, log_append_time, waiter } = placed;
        let ticket = match (acks, waiter) {
            (Acks::Leader, Some(waiter)) => Ticket(Wait::Written(waiter)),
            (Acks::All, _) => self.wait_for(last_offset + 1),
            _ => Ticket(Wait::Nothing),
        };
        Appended {
            base_offset,
            last_offset,
            log_append_time,
            log_start_offset: self.log_start,
            duplicate: false,
            ticket,
        }
    }

    fn wait_for(&mut self, end_offset: i64) -> Ticket {
        if end_offset <= self.high_watermark {
            return Ticket(Wait::Nothing);
        }
        let (done, waiting) = oneshot::channel();
        self.wait_for_ack(PendingAck { end_offset, done });
        Ticket(Wait::Durable(waiting))
    }
}

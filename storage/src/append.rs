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
    producer_state::{ProducerAppend, ProducerBatch, SequenceCheck},
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
        // The header's own time was not validated, and decides when this is forgotten.
        let now_ms = self.shared.clock.now_ms();
        self.lock().note_refused(header, now_ms);
    }

    /// Appends one validated batch. Synchronous and ordered: the offsets are assigned on return.
    ///
    /// # Errors
    /// [`AppendError`]; the partition is unchanged then.
    pub fn append(&self, records: ValidatedRecords, acks: Acks) -> Result<Appended, AppendError> {
        let header = records.header;
        let log_append_time = records.log_append_time();
        let max_timestamp = records.max_timestamp;
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Err(reason.into());
        }
        if let Some(original) = state.duplicate_of(&header)? {
            return Ok(state.answer_duplicate(original, acks));
        }
        let this: Arc<dyn AppendTarget> = self.this.upgrade().ok_or(AppendError::Closed)?;
        let base_offset = state.log_end;
        let last_offset = base_offset + i64::from(header.last_offset_delta);
        let (completion, waiter) = match acks {
            Acks::Leader => {
                let (completion, waiter) = Completion::pair();
                (Some(completion), Some(waiter))
            }
            Acks::None | Acks::All => (None, None),
        };
        let enqueued = self.shared.enqueue(WalAppend {
            target: this,
            leader_epoch: state.leader_epoch.0,
            base_offset,
            records: records.bytes,
            header,
            log_append_time,
            object_class: state.readable_end.is_some(),
            completion,
        });
        if let Err(refused) = enqueued {
            state.note_refused(&header, max_timestamp);
            return Err(refused);
        }
        state.note_append(&header, base_offset, max_timestamp);
        let ticket = match (acks, waiter) {
            (Acks::Leader, Some(waiter)) => Ticket(Wait::Written(waiter)),
            (Acks::All, _) => state.wait_for(last_offset + 1),
            _ => Ticket(Wait::Nothing),
        };
        Ok(Appended {
            base_offset,
            last_offset,
            log_append_time,
            log_start_offset: state.log_start,
            duplicate: false,
            ticket,
        })
    }
}

/// The place in its producer's sequence that a batch's header claims.
fn producer_append(header: &BatchHeader) -> ProducerAppend {
    ProducerAppend {
        producer_id: ProducerId(header.producer_id),
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
    }
}

impl State {
    fn note_refused(&mut self, header: &BatchHeader, max_timestamp: i64) {
        if header.has_producer_id() {
            self.producers.note_refused(&producer_append(header), max_timestamp);
        }
    }

    fn duplicate_of(&self, header: &BatchHeader) -> Result<Option<ProducerBatch>, AppendError> {
        if !header.has_producer_id() {
            return Ok(None);
        }
        match self.producers.check(&producer_append(header))? {
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
        self.producers.append_tentative(producer_id, batch);
        self.tentative.push_back((producer_id, batch.last_offset));
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

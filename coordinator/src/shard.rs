//! What a coordinator's state machine looks like to the runtime that drives it.
//!
//! A shard is the state of one partition of a coordinator's topic. *Hard* state is what the log
//! holds: it changes in [`Shard::replay`] and [`Shard::replay_marker`] only, in live use and at
//! load alike. *Soft* state (who waits for a rebalance, when a session ends) is what a new owner
//! does without: operations may change it directly, and it is lost with the shard.
//!
//! Operations are synchronous and run one at a time per shard. The runtime appends an operation's
//! records, replays them, and lets its response and its [`Context::answer`]s go once they are
//! durable. A failed append unloads the shard, soft state included, and loads it anew: so nothing
//! that was never durable is ever built upon or shown.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use bytes::Bytes;
use common::{ProducerId, rng::Rng};
use protocol::ErrorCode;
use tokio::sync::oneshot;

/// A record's key and value as they lie in the log; no value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// The key, its type (i16) in front.
    pub key: Bytes,
    /// The value, its version (i16) in front.
    pub value: Option<Bytes>,
}

/// Why a record of a coordinator's log cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("coordinator record of type {record_type}: {reason}")]
pub struct RecordError {
    /// The key's first two bytes, -1 where it has none.
    pub record_type: i16,
    /// What is wrong.
    pub reason: String,
}

/// A record as its shard means it.
pub trait LogRecord: Sized + Send + Debug {
    /// The bytes for the log.
    ///
    /// # Errors
    /// [`RecordError`] where a value does not fit its field, such as a string beyond 32,767 bytes.
    fn encode(&self) -> Result<EncodedRecord, RecordError>;

    /// Reads a record back; `None` for a type of a newer release, which is skipped as in Kafka.
    ///
    /// # Errors
    /// [`RecordError`] where the bytes are not what their type says.
    fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Self>, RecordError>;
}

/// Where a replayed record lies and who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Its offset in the shard's partition.
    pub offset: i64,
    /// Its timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// The producer and its epoch, where it belongs to a transaction.
    pub transaction: Option<(ProducerId, i16)>,
}

/// A state machine over one partition.
pub trait Shard: Send + Sized + 'static {
    /// What its log holds.
    type Record: LogRecord;
    /// Names a timer. Each key has at most one deadline.
    type Timer: Ord + Clone + Debug + Send;

    /// Applies one record to the hard state. Must not fail: what is in the log is so.
    fn replay(&mut self, at: Replayed, record: Self::Record);

    /// Applies a transaction's end in this partition.
    fn replay_marker(&mut self, producer_id: ProducerId, producer_epoch: i16, committed: bool);

    /// Called once when all of the log has been replayed: sets timers, schedules what is overdue.
    fn loaded(&mut self, context: &mut Context<'_, Self::Timer>);

    /// A timer has run out. It is no longer set.
    fn expired(
        &mut self,
        timer: Self::Timer,
        context: &mut Context<'_, Self::Timer>,
    ) -> Outcome<(), Self::Record>;

    /// The shard is given up: whoever waits for it is answered with `error`.
    fn unloaded(&mut self, error: ErrorCode);
}

/// What an operation decides.
#[derive(Debug)]
pub struct Outcome<R, Record> {
    /// Appended together, as one batch: all or none.
    pub records: Vec<Record>,
    /// Given to the caller once the records are durable.
    pub response: R,
    /// Whether each record stands for itself, so that several batches will do.
    pub(crate) in_parts: bool,
}

impl<R, Record> Outcome<R, Record> {
    /// Nothing changes.
    pub fn read(response: R) -> Self {
        Self { records: Vec::new(), response, in_parts: false }
    }

    /// These records, then this response.
    pub fn write(records: Vec<Record>, response: R) -> Self {
        Self { records, response, in_parts: false }
    }

    /// These records, as many batches as it takes, then this response: for what may be lost in part,
    /// such as tombstones that the next run would write again.
    pub fn write_in_parts(records: Vec<Record>, response: R) -> Self {
        Self { records, response, in_parts: true }
    }
}

/// What an operation is given beside the shard.
#[derive(Debug)]
pub struct Context<'a, Timer> {
    /// Monotonic time: sessions and deadlines.
    pub now: Duration,
    /// Wall-clock time, Unix milliseconds: what records say.
    pub now_ms: i64,
    /// Randomness: member ids.
    pub rng: &'a Rng,
    /// The most bytes that one batch of the log may have.
    pub(crate) batch_bytes_max: usize,
    pub(crate) timers: &'a mut Timers<Timer>,
    pub(crate) answers: &'a mut Vec<Answer>,
}

/// The most bytes that a record takes in a batch beside its key and value: the lengths, the deltas
/// and the count of headers, each at its longest.
pub(crate) const RECORD_OVERHEAD_MAX: usize = 36;
/// What a batch takes beside its records.
const BATCH_OVERHEAD: usize = 61;

impl<Timer: Ord + Clone> Context<'_, Timer> {
    /// Whether these records surely fit one batch of the log. An operation whose records grow with
    /// what clients send asks before it changes any soft state: an append that is refused afterwards
    /// costs the whole shard its soft state.
    pub(crate) fn fits<R: LogRecord>(&self, records: &[R]) -> bool {
        let bytes_of = |record: &R| {
            let encoded = record.encode().ok()?;
            let value_bytes = encoded.value.as_ref().map_or(0, Bytes::len);
            Some(encoded.key.len() + value_bytes + RECORD_OVERHEAD_MAX)
        };
        let bytes = records.iter().try_fold(BATCH_OVERHEAD, |sum, record| {
            bytes_of(record).map(|bytes| sum.saturating_add(bytes))
        });
        bytes.is_some_and(|bytes| bytes <= self.batch_bytes_max)
    }

    /// Sets a timer, in place of the one with the same key.
    pub fn set_timer(&mut self, timer: Timer, after: Duration) {
        self.timers.set(timer, self.now.saturating_add(after));
    }

    /// Cancels a timer, if it is set.
    pub fn cancel_timer(&mut self, timer: &Timer) {
        self.timers.cancel(timer);
    }

    /// Whether a timer is set.
    #[must_use]
    pub fn has_timer(&self, timer: &Timer) -> bool {
        self.timers.deadline(timer).is_some()
    }

    /// Answers somebody who waits, once what this operation writes is durable. Where that fails,
    /// the waiter sees its channel close, as when the shard is unloaded.
    pub fn answer<R: Send + 'static>(&mut self, waiter: oneshot::Sender<R>, response: R) {
        self.answers.push(Answer(Box::new(move || {
            // Whoever waited may have gone.
            let _ = waiter.send(response);
        })));
    }

    /// Runs something once what this operation writes is durable, for what must not leave the
    /// shard before; where that fails it is dropped. It must be short and may not wait.
    pub fn after_durable(&mut self, then: impl FnOnce() + Send + 'static) {
        self.answers.push(Answer(Box::new(then)));
    }
}

/// An answer that is held until it may leave.
pub struct Answer(Box<dyn FnOnce() + Send>);

impl Answer {
    /// Lets it go.
    pub fn release(self) {
        (self.0)();
    }
}

impl Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

/// A shard's timers, by key and by deadline: setting, cancelling and finding the next one take
/// logarithmic time, so a heartbeat never scans.
#[derive(Debug)]
pub struct Timers<Timer> {
    deadlines: BTreeMap<Timer, Duration>,
    queue: BTreeMap<(Duration, Timer), ()>,
}

impl<Timer> Default for Timers<Timer> {
    fn default() -> Self {
        Self { deadlines: BTreeMap::new(), queue: BTreeMap::new() }
    }
}

impl<Timer: Ord + Clone> Timers<Timer> {
    /// Sets or moves a timer.
    pub fn set(&mut self, timer: Timer, deadline: Duration) {
        self.cancel(&timer);
        self.deadlines.insert(timer.clone(), deadline);
        self.queue.insert((deadline, timer), ());
    }

    /// Forgets a timer.
    pub fn cancel(&mut self, timer: &Timer) {
        if let Some(deadline) = self.deadlines.remove(timer) {
            self.queue.remove(&(deadline, timer.clone()));
        }
    }

    /// When a timer runs out, if it is set.
    #[must_use]
    pub fn deadline(&self, timer: &Timer) -> Option<Duration> {
        self.deadlines.get(timer).copied()
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((deadline, _), ())| *deadline)
    }

    /// Takes a timer whose deadline has come.
    pub fn pop_expired(&mut self, now: Duration) -> Option<Timer> {
        let (deadline, timer) = self.queue.first_key_value().map(|(key, ())| key.clone())?;
        if deadline > now {
            return None;
        }
        self.cancel(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_timer_set_again_moves_and_a_cancelled_one_never_runs_out() {
        let mut timers = Timers::default();
        timers.set("session", at(5));
        timers.set("session", at(9));
        timers.set("join", at(7));
        assert_eq!(timers.next_deadline(), Some(at(7)));
        timers.cancel(&"join");
        assert_eq!(timers.pop_expired(at(8)), None);
        assert_eq!(timers.pop_expired(at(9)), Some("session"));
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn timers_run_out_in_the_order_of_deadlines() {
        let mut timers = Timers::default();
        for (timer, deadline) in [(3, 1), (1, 3), (2, 2), (4, 9)] {
            timers.set(timer, at(deadline));
        }
        let order: Vec<_> = std::iter::from_fn(|| timers.pop_expired(at(5))).collect();
        assert_eq!(order, [3, 2, 1]);
    }
}

//! Drives a shard without a runtime: operations, timers and reloads on a log in memory, for tests of
//! state machines. Records go through their bytes, so every test is one of the formats too.

use std::time::Duration;

use common::{ProducerId, rng::Rng};

use crate::shard::{Context, EncodedRecord, LogRecord, Outcome, Replayed, Shard, Timers};

/// Unix milliseconds at the beginning of every test: 2026-01-01.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

/// An entry of the log in memory.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A record.
    Record(Replayed, EncodedRecord),
    /// A transaction's end.
    Marker(ProducerId, i16, bool),
}

/// A shard, its log, its timers and a clock that moves only when told to.
#[derive(Debug)]
pub struct Driver<S: Shard> {
    /// The state machine.
    pub shard: S,
    /// Everything appended so far.
    pub log: Vec<Entry>,
    /// What is set.
    pub timers: Timers<S::Timer>,
    /// Monotonic time.
    pub now: Duration,
    /// What [`Context::fits`] is asked about.
    pub batch_bytes_max: usize,
    rng: Rng,
}

impl<S: Shard> Driver<S> {
    /// A loaded shard with an empty log.
    #[must_use]
    pub fn new(shard: S) -> Self {
        Self::loaded(shard, Vec::new(), Duration::from_secs(1), Rng::seeded(1))
    }

    /// What a new owner has: `fresh` with this log replayed; soft state is gone. Randomness goes on
    /// where it was, so that ids do not repeat.
    #[must_use]
    pub fn reloaded(&self, fresh: S) -> Self {
        Self::loaded(fresh, self.log.clone(), self.now, self.rng.clone())
    }

    fn loaded(shard: S, log: Vec<Entry>, now: Duration, rng: Rng) -> Self {
        let (log_so_far, timers, batch_bytes_max) = (Vec::new(), Timers::default(), usize::MAX);
        let mut driver = Self { shard, log: log_so_far, timers, now, batch_bytes_max, rng };
        for entry in log {
            driver.replay(entry);
        }
        let ((), _) = driver.run(|shard, context| {
            shard.loaded(context);
            Outcome::read(())
        });
        driver
    }

    /// Runs an operation as the runtime does; returns its response and the records it appended.
    pub fn run<R>(
        &mut self,
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> (R, Vec<EncodedRecord>) {
        self.apply(None, operation)
    }

    /// Runs an operation whose records belong to a transaction.
    pub fn run_transactional<R>(
        &mut self,
        transaction: (ProducerId, i16),
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> (R, Vec<EncodedRecord>) {
        self.apply(Some(transaction), operation)
    }

    /// Ends a transaction.
    pub fn end_transaction(&mut self, producer_id: ProducerId, epoch: i16, committed: bool) {
        self.replay(Entry::Marker(producer_id, epoch, committed));
    }

    /// Moves time, running timers when they are due, each at its own time; returns what they wrote.
    pub fn advance(&mut self, by: Duration) -> Vec<EncodedRecord> {
        let until = self.now + by;
        let mut written = Vec::new();
        while let Some(deadline) = self.timers.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(deadline);
            let Some(timer) = self.timers.pop_expired(self.now) else { break };
            let ((), records) = self.run(|shard, context| shard.expired(timer, context));
            written.extend(records);
        }
        self.now = until;
        written
    }

    /// Wall-clock time, Unix milliseconds: moves with monotonic time.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.now.as_millis()).unwrap_or(i64::MAX)
    }

    fn apply<R>(
        &mut self,
        transaction: Option<(ProducerId, i16)>,
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> (R, Vec<EncodedRecord>) {
        let mut answers = Vec::new();
        let now_ms = self.now_ms();
        let mut context = Context {
            now: self.now,
            now_ms,
            rng: &self.rng,
            batch_bytes_max: self.batch_bytes_max,
            timers: &mut self.timers,
            answers: &mut answers,
        };
        let outcome = operation(&mut self.shard, &mut context);
        let records: Vec<_> = outcome.records.iter().map(encoded).collect();
        for record in &records {
            let offset = i64::try_from(self.log.len()).unwrap_or(i64::MAX);
            let at = Replayed { offset, timestamp_ms: now_ms, transaction };
            self.replay(Entry::Record(at, record.clone()));
        }
        for answer in answers {
            answer.release();
        }
        (outcome.response, records)
    }

    #[allow(clippy::panic, reason = "for tests: a record that cannot be read back is a failure")]
    fn replay(&mut self, entry: Entry) {
        self.log.push(entry.clone());
        match entry {
            Entry::Record(at, record) => {
                match S::Record::decode(&record.key, record.value.as_ref()) {
                    Ok(Some(decoded)) => self.shard.replay(at, decoded),
                    Ok(None) => panic!("a record of our own is of no known type: {record:?}"),
                    Err(error) => panic!("a record of our own cannot be read: {error}"),
                }
            }
            Entry::Marker(producer_id, epoch, committed) => {
                self.shard.replay_marker(producer_id, epoch, committed);
            }
        }
    }
}

#[allow(clippy::panic, reason = "for tests: a record that cannot be written is a failure")]
fn encoded<R: LogRecord>(record: &R) -> EncodedRecord {
    match record.encode() {
        Ok(encoded) => encoded,
        Err(error) => panic!("a record of our own cannot be written: {error}: {record:?}"),
    }
}

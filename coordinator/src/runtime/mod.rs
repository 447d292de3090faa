//! Drives shards: an operation's records are appended, replayed and, once durable, answered (design
//! D7, RFC 0006).
//!
//! Per partition there is a slot with the shard under a lock. What an operation changes is tentative
//! until its batch is durable; whoever finds that a batch was taken back unloads the shard and loads
//! it anew, and nobody appends behind a lost batch, because every append names the offset at which it
//! believes that the log ends.

mod alarm;
mod batch;
#[cfg(test)]
pub(crate) mod fake_log;
mod hosting;
mod load;
mod slot;

#[cfg(test)]
mod tests;

use futures::future::BoxFuture;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use common::{ProducerId, clock::SharedClock, rng::Rng, spawn::Spawner};
use protocol::{ErrorCode, records::Compression};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use self::{
    alarm::Alarm,
    batch::Form,
    slot::{Active, Durable, Phase, Slot},
};
use crate::{
    log::{CoordinatorLog, LogError, NewBatch, TransactionEnd, VerificationGuard},
    shard::{Answer, Context, Outcome, Replayed, Shard},
};

/// How long timers rest after the log refused or lost what an operation wrote: the shard is loaded anew,
/// and what was overdue then would be tried again at once.
const TIMERS_REST: Duration = Duration::from_secs(1);

/// What a runtime is built on.
#[derive(Debug, Clone)]
pub struct RuntimeDeps {
    /// Which coordinator it is, for messages.
    pub name: &'static str,
    /// Where records go.
    pub log: Arc<dyn CoordinatorLog>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: Rng,
    /// Tasks.
    pub spawner: Spawner,
    /// How batches are compressed.
    pub compression: Compression,
}

/// A transactional batch: whose it is, and the verification that it needed.
pub struct TransactionalWrite {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The verification of its transaction, if one was needed.
    pub guard: Option<VerificationGuard>,
}

/// What a runtime has done, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuntimeStats {
    /// Partitions that answer.
    pub active: usize,
    /// Partitions that are being loaded.
    pub loading: usize,
    /// Partitions that could not be loaded, and are tried again from time to time.
    pub failed: usize,
    /// Loads so far.
    pub loads: u64,
    /// How long the longest load took.
    pub load_max: Duration,
}

/// What to do when an append is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnRefusal {
    /// The operation may have changed soft state: load anew.
    Reload,
    /// The operation changes nothing by itself: only tell the client, where the log is as it was.
    Tell,
}

/// The shards of one coordinator. Clones share them.
pub struct Runtime<S: Shard> {
    inner: Arc<Inner<S>>,
}

impl<S: Shard> Clone for Runtime<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: Shard> Debug for Runtime<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("name", &self.inner.deps.name).finish_non_exhaustive()
    }
}

type NewShard<S> = Box<dyn Fn(i32) -> S + Send + Sync>;

struct Inner<S: Shard> {
    deps: RuntimeDeps,
    new_shard: NewShard<S>,
    slots: RwLock<BTreeMap<i32, Arc<Slot<S>>>>,
    /// Partitions of the coordinator's topic; 0 while it does not exist.
    topic_partitions: AtomicI32,
    alarm: Alarm,
    stopped: CancellationToken,
}

/// What a finished step leaves to wait for.
struct Step<R> {
    response: R,
    answers: Vec<Answer>,
    durable: Option<Durable>,
    incarnation: u64,
}

impl<S: Shard> Runtime<S> {
    /// A runtime without partitions; `new_shard` makes the state of one before its log is replayed.
    pub fn new(deps: RuntimeDeps, new_shard: impl Fn(i32) -> S + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Inner {
            deps,
            new_shard: Box::new(new_shard),
            slots: RwLock::default(),
            topic_partitions: AtomicI32::default(),
            alarm: Alarm::default(),
            stopped: CancellationToken::new(),
        });
        let timers = Arc::clone(&inner);
        inner.deps.spawner.spawn_critical("coordinator-timers", async move {
            timers.run_timers().await;
        });
        Self { inner }
    }

    /// Begins to host a partition: loads it in the background. Does nothing if it is hosted.
    pub fn start(&self, partition: i32) {
        let mut slots = self.inner.slots.write().unwrap_or_else(PoisonError::into_inner);
        if self.inner.stopped.is_cancelled() || slots.contains_key(&partition) {
            return;
        }
        let slot = Arc::new(Slot::new(partition));
        slots.insert(partition, Arc::clone(&slot));
        drop(slots);
        self.inner.spawn_load(slot, 0);
    }

    /// Gives a partition up: whoever waits is told to look for another coordinator.
    pub fn stop(&self, partition: i32) {
        let mut slots = self.inner.slots.write().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.remove(&partition) else { return };
        drop(slots);
        self.inner.unload(&slot);
    }

    /// Gives all partitions up and takes no more. Batches on their way still become durable or not,
    /// and their operations are answered.
    pub fn shutdown(&self) {
        self.inner.topic_partitions.store(0, Ordering::Release);
        self.inner.stopped.cancel();
        let mut slots = self.inner.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slots = std::mem::take(&mut *slots);
        for slot in slots.values() {
            self.inner.unload(slot);
        }
    }

    /// The hosted partitions, ascending, whatever their state.
    #[must_use]
    pub fn partitions(&self) -> Vec<i32> {
        let slots = self.inner.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.keys().copied().collect()
    }

    /// Gauges of this moment.
    #[must_use]
    pub fn stats(&self) -> RuntimeStats {
        let mut stats = RuntimeStats::default();
        for slot in self.inner.all_slots() {
            let state = slot.lock();
            match &state.phase {
                Phase::Active(_) => stats.active += 1,
                Phase::Loading => stats.loading += 1,
                Phase::Failed => stats.failed += 1,
                Phase::Unloaded => {}
            }
            stats.loads += state.loads;
            stats.load_max = stats.load_max.max(state.load_time);
        }
        stats
    }

    /// Looks at every active shard, as it is now, durable or not: for gauges, never for answers.
    pub fn observe(&self, mut look: impl FnMut(&S)) {
        for slot in self.inner.all_slots() {
            if let Phase::Active(active) = &slot.lock().phase {
                look(&active.shard);
            }
        }
    }

    /// Runs an operation that may change soft state: where its append fails, the shard is loaded
    /// anew.
    ///
    /// # Errors
    /// What the client is told: `NOT_COORDINATOR`, `COORDINATOR_LOAD_IN_PROGRESS`,
    /// `COORDINATOR_NOT_AVAILABLE`, `UNKNOWN_SERVER_ERROR` (too large).
    pub async fn write<R: Send + 'static>(
        &self,
        partition: i32,
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> Result<R, ErrorCode> {
        let slot = self.inner.slot(partition)?;
        let _room = self.inner.admit().await?;
        let step = self.inner.step(&slot, OnRefusal::Reload, None, operation)?;
        self.inner.finish(&slot, step).await
    }

    /// Runs an operation that changes the shard through its records alone: where the log refuses
    /// them (too large), the shard stays as it was.
    ///
    /// # Errors
    /// As [`Runtime::write`].
    pub async fn commit<R: Send + 'static>(
        &self,
        partition: i32,
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> Result<R, ErrorCode> {
        self.begin_commit(partition, operation).await?.await
    }

    /// As [`Runtime::commit`], in two parts: when this returns, the records have their place in the
    /// log; the future that it returns waits until they are durable. It may be dropped.
    ///
    /// # Errors
    /// As [`Runtime::write`], in the first part what is refused, in the second what is lost.
    pub async fn begin_commit<R: Send + 'static>(
        &self,
        partition: i32,
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> Result<BoxFuture<'static, Result<R, ErrorCode>>, ErrorCode> {
        let slot = self.inner.slot(partition)?;
        let room = self.inner.admit().await?;
        let step = self.inner.step(&slot, OnRefusal::Tell, None, operation)?;
        let inner = Arc::clone(&self.inner);
        Ok(Box::pin(async move {
            let _room = room;
            inner.finish(&slot, step).await
        }))
    }

    /// As [`Runtime::commit`], with records that belong to a producer's transaction.
    ///
    /// # Errors
    /// As [`Runtime::write`], and why the transaction may not append here.
    pub async fn commit_transactional<R: Send + 'static>(
        &self,
        partition: i32,
        transaction: TransactionalWrite,
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> Result<R, ErrorCode> {
        let slot = self.inner.slot(partition)?;
        let _room = self.inner.admit().await?;
        let step = self.inner.step(&slot, OnRefusal::Tell, Some(transaction), operation)?;
        self.inner.finish(&slot, step).await
    }

    /// Reads the shard. The answer leaves when all that it may reveal is durable.
    ///
    /// # Errors
    /// As [`Runtime::write`].
    pub async fn read<R: Send + 'static>(
        &self,
        partition: i32,
        look: impl FnOnce(&S) -> R,
    ) -> Result<R, ErrorCode> {
        let slot = self.inner.slot(partition)?;
        let step =
            self.inner.step(&slot, OnRefusal::Tell, None, |shard, _| Outcome::read(look(shard)))?;
        self.inner.finish(&slot, step).await
    }

    /// Ends a producer's transaction in a partition: writes the marker and applies it.
    ///
    /// # Errors
    /// As [`Runtime::write`], and `INVALID_PRODUCER_EPOCH` or `TRANSACTION_COORDINATOR_FENCED` where
    /// the log refuses the marker.
    pub async fn complete_transaction(
        &self,
        partition: i32,
        end: TransactionEnd,
    ) -> Result<(), ErrorCode> {
        let slot = self.inner.slot(partition)?;
        let _room = self.inner.admit().await?;
        let step = self.inner.end_transaction(&slot, end)?;
        self.inner.finish(&slot, step).await
    }
}

impl<S: Shard> Inner<S> {
    fn slot(&self, partition: i32) -> Result<Arc<Slot<S>>, ErrorCode> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(&partition).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    fn all_slots(&self) -> Vec<Arc<Slot<S>>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().cloned().collect()
    }

    async fn admit(&self) -> Result<crate::log::Permit, ErrorCode> {
        self.deps.log.admit().await.map_err(|error| error.code())
    }

    /// Runs an operation under the slot's lock: its records are appended and replayed.
    fn step<R>(
        self: &Arc<Self>,
        slot: &Arc<Slot<S>>,
        on_refusal: OnRefusal,
        transaction: Option<TransactionalWrite>,
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> Result<Step<R>, ErrorCode> {
        let mut state = slot.lock();
        let incarnation = state.incarnation;
        let active = state.active()?;
        let mut answers = Vec::new();
        let outcome = self.operate(slot.partition, active, &mut answers, operation);
        let Outcome { records, response, in_parts } = outcome;
        let appended = self.append(slot.partition, active, records, in_parts, transaction);
        if let Err(refused) = appended {
            let unchanged = matches!(refused, LogError::TooLarge { .. } | LogError::Refused(_));
            if on_refusal == OnRefusal::Reload || !unchanged {
                warn!(
                    coordinator = self.deps.name,
                    partition = slot.partition,
                    error = %refused,
                    "an append was refused: the shard is loaded anew"
                );
                drop(state);
                self.reload(slot, incarnation);
            }
            return Err(refused.code());
        }
        let durable = active.tail();
        let deadline = active.next_deadline();
        self.alarm.set(slot.partition, &mut active.alarm, deadline);
        Ok(Step { response, answers, durable, incarnation })
    }

    /// Calls an operation. A panic in it leaves the shard half changed: the process stops.
    fn operate<R>(
        &self,
        partition: i32,
        active: &mut Active<S>,
        answers: &mut Vec<Answer>,
        operation: impl FnOnce(&mut S, &mut Context<'_, S::Timer>) -> Outcome<R, S::Record>,
    ) -> Outcome<R, S::Record> {
        let mut context = Context {
            now: self.deps.clock.monotonic(),
            now_ms: self.deps.clock.now_ms(),
            rng: &self.deps.rng,
            batch_bytes_max: self.deps.log.batch_bytes_max(partition),
            timers: &mut active.timers,
            answers,
        };
        let shard = &mut active.shard;
        catch_unwind(AssertUnwindSafe(|| operation(shard, &mut context))).unwrap_or_else(|panic| {
            error!(coordinator = self.deps.name, "an operation panicked");
            self.deps.spawner.fatal().stop("a coordinator's operation panicked");
            std::panic::resume_unwind(panic)
        })
    }

    /// Appends and replays records: as one batch, or as several where the operation allows it.
    fn append(
        &self,
        partition: i32,
        active: &mut Active<S>,
        records: Vec<S::Record>,
        in_parts: bool,
        transaction: Option<TransactionalWrite>,
    ) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        let now_ms = self.deps.clock.now_ms();
        let bytes_max = self.deps.log.batch_bytes_max(partition);
        let (producer, mut guard) = match transaction {
            Some(write) => (Some((write.producer_id, write.producer_epoch)), write.guard),
            None => (None, None),
        };
        let form = Form { compression: self.deps.compression, producer };
        for batch in batch::encode(records, in_parts, now_ms, bytes_max, form)? {
            let appended = self.deps.log.append(
                partition,
                NewBatch {
                    bytes: batch.bytes,
                    records: batch.count,
                    expected_offset: active.next_offset,
                    guard: guard.take(),
                },
            )?;
            // A take-back between the log's check and its append: what this batch was built upon is gone.
            if appended.base_offset != active.next_offset {
                return Err(LogError::Moved {
                    expected: active.next_offset,
                    actual: appended.base_offset,
                });
            }
            let mut at = Replayed {
                offset: appended.base_offset,
                timestamp_ms: now_ms,
                transaction: producer,
            };
            for record in batch.records {
                active.shard.replay(at, record);
                at.offset += 1;
            }
            active.appended(at.offset, appended.durable);
        }
        Ok(())
    }

    fn end_transaction(
        self: &Arc<Self>,
        slot: &Arc<Slot<S>>,
        end: TransactionEnd,
    ) -> Result<Step<()>, ErrorCode> {
        let mut state = slot.lock();
        let incarnation = state.incarnation;
        let active = state.active()?;
        let appended = self.deps.log.append_marker(slot.partition, active.next_offset, end);
        match appended {
            Ok(appended) => {
                let TransactionEnd { producer_id, producer_epoch, committed, .. } = end;
                active.shard.replay_marker(producer_id, producer_epoch, committed);
                active.appended(appended.base_offset + 1, appended.durable);
                let durable = active.tail();
                Ok(Step { response: (), answers: Vec::new(), durable, incarnation })
            }
            Err(refused) => {
                drop(state);
                if !matches!(refused, LogError::Refused(_)) {
                    self.reload(slot, incarnation);
                }
                Err(refused.code())
            }
        }
    }

    /// Waits until what a step wrote, or may reveal, is durable.
    async fn finish<R>(
        self: &Arc<Self>,
        slot: &Arc<Slot<S>>,
        step: Step<R>,
    ) -> Result<R, ErrorCode> {
        let Step { response, answers, durable, incarnation } = step;
        let Some(durable) = durable else {
            answers.into_iter().for_each(Answer::release);
            return Ok(response);
        };
        if !answers.is_empty() {
            self.release_later(slot, incarnation, durable.clone(), answers);
        }
        match durable.await {
            Ok(()) => Ok(response),
            Err(error) => {
                self.lost(slot, incarnation, &error);
                Err(ErrorCode::NotCoordinator)
            }
        }
    }

    /// Lets answers go once they may leave, whatever becomes of the request that gave them.
    fn release_later(
        self: &Arc<Self>,
        slot: &Arc<Slot<S>>,
        incarnation: u64,
        durable: Durable,
        answers: Vec<Answer>,
    ) {
        let (inner, slot) = (Arc::clone(self), Arc::clone(slot));
        self.deps.spawner.spawn("coordinator-answers", async move {
            match durable.await {
                Ok(()) => answers.into_iter().for_each(Answer::release),
                Err(error) => inner.lost(&slot, incarnation, &error),
            }
        });
    }

    fn lost(self: &Arc<Self>, slot: &Arc<Slot<S>>, incarnation: u64, error: &LogError) {
        warn!(
            coordinator = self.deps.name,
            partition = slot.partition,
            %error,
            "a batch was taken back: the shard is loaded anew"
        );
        self.reload(slot, incarnation);
    }

    /// Unloads the shard of this incarnation and loads it anew; a later one is left alone.
    fn reload(self: &Arc<Self>, slot: &Arc<Slot<S>>, incarnation: u64) {
        if let Some(next) = self.replace(slot, Phase::Loading, Some(incarnation)) {
            self.spawn_load(Arc::clone(slot), next);
        }
    }

    fn unload(&self, slot: &Slot<S>) {
        self.replace(slot, Phase::Unloaded, None);
    }

    /// Ends an incarnation, if it is still that one. Returns the next.
    fn replace(&self, slot: &Slot<S>, phase: Phase<S>, incarnation: Option<u64>) -> Option<u64> {
        let mut state = slot.lock();
        if incarnation.is_some_and(|expected| expected != state.incarnation) {
            return None;
        }
        state.incarnation += 1;
        state.timers_from = self.deps.clock.monotonic() + TIMERS_REST;
        if let Phase::Active(mut active) = std::mem::replace(&mut state.phase, phase) {
            self.alarm.set(slot.partition, &mut active.alarm, None);
            active.shard.unloaded(ErrorCode::NotCoordinator);
        }
        Some(state.incarnation)
    }

    /// Runs timers when they are due, until the shutdown.
    async fn run_timers(self: Arc<Self>) {
        loop {
            let due = tokio::select! {
                () = self.stopped.cancelled() => return,
                due = self.alarm.next(&self.deps.clock) => due,
            };
            for partition in due {
                if let Ok(slot) = self.slot(partition) {
                    self.expire(&slot).await;
                }
            }
        }
    }

    /// Runs what is due in one shard, each timer as an operation of its own.
    async fn expire(self: &Arc<Self>, slot: &Arc<Slot<S>>) {
        loop {
            let Ok(_room) = self.admit().await else { return };
            let timer = {
                let mut state = slot.lock();
                let Ok(active) = state.active() else { return };
                let timer = active.pop_expired(self.deps.clock.monotonic());
                let deadline = active.next_deadline();
                self.alarm.set(slot.partition, &mut active.alarm, deadline);
                timer
            };
            let Some(timer) = timer else { return };
            let step = self.step(slot, OnRefusal::Reload, None, |shard, context| {
                shard.expired(timer, context)
            });
            match step {
                Ok(Step { durable: None, answers, .. }) => {
                    answers.into_iter().for_each(Answer::release);
                }
                Ok(Step { durable: Some(durable), answers, incarnation, .. }) => {
                    self.release_later(slot, incarnation, durable, answers);
                }
                // The shard is loaded anew, and its timers with it; they rest for a while.
                Err(_) => return,
            }
        }
    }
}

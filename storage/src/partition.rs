//! One partition's log state: offsets, the runs in the WAL, the extents in objects, producers.
//!
//! Invariants kept here: LOG-3 (offsets dense and monotonic), LOG-4 (`log_start ≤ LSO ≤ high
//! watermark ≤ log end`, none moves back), LOG-5 (extents then runs cover `[log_start, synced
//! end)` without a gap). Appends enter through `append.rs`, reads leave through `read.rs`; the
//! WAL writer reports synced blocks through [`AppendTarget`], the uploader committed extents
//! through [`ExtentTarget`].
//!
//! Lock order: partition state → WAL queue. The tail cache locks other partitions' states only
//! while no partition state is held.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, Weak},
};

use common::{LeaderEpoch, ObjectId, PartitionKey, ProducerId, invariant};
use metadata::Extent;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::{
    compaction::CleaningPolicy,
    config::TopicLogConfig,
    epochs::Epochs,
    error::{AppendError, Error},
    hold::Hold,
    log::Shared,
    object::{AbortedRange, ExtentTarget, ObjectRef},
    producer_state::{ActiveProducer, ProducerState},
    synced_run::{Place, SyncedRun},
    txn_index::AbortedTransaction,
    waiter::ReadWaiter,
    wal::{AppendTarget, Run},
};

/// A partition of this broker. Shared by handlers, the WAL writer and the uploader.
pub struct Partition {
    pub(crate) key: PartitionKey,
    pub(crate) topic: Arc<str>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) this: Weak<Self>,
    state: Mutex<State>,
}

/// The offsets of a partition at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// First offset that may be read.
    pub log_start: i64,
    /// End of what no open transaction precedes; bounds read_committed.
    pub last_stable: i64,
    /// End of what is durable by the topic's class; bounds every read.
    pub high_watermark: i64,
    /// End of what has been appended, durable or not.
    pub log_end: i64,
    /// End of what this broker's WAL has synced.
    pub synced_end: i64,
    /// End of what the object store holds.
    pub committed_end: i64,
}

pub(crate) struct State {
    pub(crate) config: Arc<TopicLogConfig>,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) epochs: Epochs,
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) synced_end: i64,
    pub(crate) committed_end: i64,
    pub(crate) log_end: i64,
    /// The durability class in force, see `class.rs`: `None` where all that is synced may be read,
    /// else the end of what may be before an object holds it.
    pub(crate) readable_end: Option<i64>,
    /// What metadata knows of it.
    pub(crate) recorded_readable_end: Option<i64>,
    /// Synced runs, contiguous up to `synced_end`.
    pub(crate) runs: VecDeque<SyncedRun>,
    /// Committed extents by base offset, contiguous up to `committed_end`.
    pub(crate) extents: BTreeMap<i64, StoredExtent>,
    /// The first record without a timestamp that no object holds, and when it was first seen.
    undated: Option<(i64, i64)>,
    pub(crate) producers: ProducerState,
    /// Acknowledgements that wait for an end offset, in offset order.
    pub(crate) pending: VecDeque<PendingAck>,
    pub(crate) waiters: Vec<Arc<ReadWaiter>>,
    pub(crate) closed: Option<Closed>,
    /// What readers outside of the log still need, by holder.
    pub(crate) holds: BTreeMap<u32, Hold>,
}

/// Why a partition takes no more requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its topic was deleted.
    Deleted,
    /// Another owner has it.
    Fenced,
}

#[derive(Debug, Clone)]
pub(crate) struct StoredExtent {
    pub(crate) object: Arc<ObjectRef>,
    pub(crate) extent: Extent,
}

pub(crate) struct PendingAck {
    pub(crate) end_offset: i64,
    pub(crate) done: oneshot::Sender<Result<(), AppendError>>,
}

/// What recovery starts a partition from.
pub(crate) struct Restored {
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) epochs: Epochs,
    pub(crate) log_start: i64,
    pub(crate) committed_end: i64,
    pub(crate) readable_end: Option<i64>,
    pub(crate) extents: Vec<StoredExtent>,
}

impl Restored {
    /// What metadata says of a partition, and what objects hold of it.
    pub(crate) fn new(row: &metadata::Partition, extents: Vec<StoredExtent>) -> Self {
        Self {
            leader_epoch: LeaderEpoch(row.leader_epoch),
            epochs: Epochs::new(row.epoch_starts.clone()),
            log_start: row.log_start_offset,
            committed_end: row.committed_end_offset,
            readable_end: row.readable_end_offset,
            extents,
        }
    }
}

impl Partition {
    pub(crate) fn new(
        key: PartitionKey,
        topic: Arc<str>,
        shared: Arc<Shared>,
        config: Arc<TopicLogConfig>,
        restored: Restored,
    ) -> Arc<Self> {
        let state = Mutex::new(State::new(config, restored));
        Arc::new_cyclic(|this| Self { key, topic, shared, this: this.clone(), state })
    }

    /// The partition's key.
    #[must_use]
    pub fn key(&self) -> PartitionKey {
        self.key
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The offsets now.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        let state = self.lock();
        Offsets {
            log_start: state.log_start,
            last_stable: state.last_stable(),
            high_watermark: state.high_watermark,
            log_end: state.log_end,
            synced_end: state.synced_end,
            committed_end: state.committed_end,
        }
    }

    /// The epoch of this broker's lease on the partition.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.lock().leader_epoch
    }

    /// The largest epoch not above `epoch` and its end offset; `(-1, -1)` where unknown. Bounded
    /// by the high watermark, as consumers see the log.
    #[must_use]
    pub fn epoch_end_offset(&self, epoch: i32) -> (i32, i64) {
        let state = self.lock();
        state.epochs.end_offset_for(epoch, state.leader_epoch.0, state.high_watermark)
    }

    /// The epoch under which `offset` was written, -1 where unknown.
    #[must_use]
    pub fn epoch_at(&self, offset: i64) -> i32 {
        self.lock().epochs.epoch_at(offset).unwrap_or(-1)
    }

    /// The topic's configuration now.
    #[must_use]
    pub fn config(&self) -> Arc<TopicLogConfig> {
        Arc::clone(&self.lock().config)
    }

    /// Producers with durable batches, for DescribeProducers.
    #[must_use]
    pub fn producers(&self) -> Vec<ActiveProducer> {
        self.lock().producers.active()
    }

    /// The aborted transactions that overlap `[from, to)`, in the order of their markers, so that a
    /// batch's fate can be told ([`crate::AbortedTransactions`]). Complete within the log start and
    /// the last stable offset.
    #[must_use]
    pub fn aborted_transactions(&self, from: i64, to: i64) -> Vec<AbortedTransaction> {
        self.lock().producers.transactions().aborted(from, to)
    }

    /// Bytes of record batches between log start and synced end, as stored.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.lock().size_bytes()
    }

    /// Has `waiter` woken once, when the high watermark moves or the partition closes.
    pub fn watch(&self, waiter: &Arc<ReadWaiter>) {
        let mut state = self.lock();
        if state.closed.is_some() {
            waiter.wake();
            return;
        }
        // A waiter that only this list still holds belongs to a fetch that has ended. Looked for
        // when the list has doubled, so that a thousand consumers do not pay for each other.
        if state.waiters.len().is_power_of_two() {
            state.waiters.retain(|known| Arc::strong_count(known) > 1);
        }
        state.waiters.push(Arc::clone(waiter));
    }

    /// Refuses what comes from now on and fails what waits.
    pub(crate) fn close(&self, reason: Closed) {
        let mut state = self.lock();
        state.closed = Some(reason);
        state.wake_readers();
        for ack in std::mem::take(&mut state.pending) {
            let _ = ack.done.send(Err(reason.into()));
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        #[allow(clippy::expect_used, reason = "a half-changed partition must not be used")]
        self.state.lock().expect("a panic left the partition's state half changed")
    }

    /// Drops the bytes of the run at `base_offset`; the run itself once an object holds it.
    pub(crate) fn evict_run(&self, base_offset: i64) {
        let mut state = self.lock();
        let at = state.runs.partition_point(|run| run.base_offset < base_offset);
        if let Some(run) = state.runs.get_mut(at).filter(|run| run.base_offset == base_offset) {
            run.data = None;
        }
        state.drop_stored_runs();
    }

    /// Takes a synced run found by recovery; what objects hold already is skipped.
    pub(crate) fn restore_run(&self, run: Run) -> Result<(), Error> {
        let mut state = self.lock();
        if run.last_offset < state.synced_end {
            return Ok(());
        }
        if run.base_offset != state.synced_end {
            return Err(Error::Inconsistent(format!(
                "{}-{}: the write-ahead log goes on at offset {}, expected {} (invariant LOG-5)",
                self.topic, self.key.partition, run.base_offset, state.synced_end
            )));
        }
        state.synced_end = run.last_offset + 1;
        state.log_end = state.synced_end;
        state.runs.push_back(run.into());
        state.move_high_watermark();
        Ok(())
    }

    /// Begins the epoch of this start at the recovered end; returns (epoch, start offset).
    pub(crate) fn begin_epoch(&self) -> (i32, i64) {
        let mut state = self.lock();
        let (epoch, start_offset) = (state.leader_epoch.0, state.log_end);
        state.epochs.assign(epoch, start_offset);
        (epoch, start_offset)
    }
}

impl State {
    fn new(config: Arc<TopicLogConfig>, restored: Restored) -> Self {
        let committed_end = restored.committed_end;
        let extents =
            restored.extents.into_iter().map(|stored| (stored.extent.base_offset, stored));
        Self {
            config,
            leader_epoch: restored.leader_epoch,
            epochs: restored.epochs,
            log_start: restored.log_start,
            // Below the log start there is nothing to wait for, whatever the class was then.
            high_watermark: committed_end.max(restored.log_start),
            synced_end: committed_end,
            committed_end,
            log_end: committed_end,
            readable_end: restored.readable_end,
            recorded_readable_end: restored.readable_end,
            runs: VecDeque::new(),
            extents: extents.collect(),
            undated: None,
            producers: ProducerState::default(),
            pending: VecDeque::new(),
            waiters: Vec::new(),
            closed: None,
            holds: BTreeMap::new(),
        }
    }

    /// The first offset of the earliest transaction that is not decided, or the high watermark.
    pub(crate) fn last_stable(&self) -> i64 {
        match self.producers.first_unstable() {
            Some(first) => first.max(self.log_start).min(self.high_watermark),
            None => self.high_watermark,
        }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        let stored: u64 = self.extents.values().map(|stored| stored.extent.bytes).sum();
        let unstored = self.runs.iter().filter(|run| run.base_offset >= self.committed_end);
        stored + unstored.map(|run| u64::from(run.len)).sum::<u64>()
    }

    /// Moves the high watermark to that of the durability class in force and answers what waited.
    pub(crate) fn move_high_watermark(&mut self) {
        let durable = match self.readable_end {
            None => self.synced_end,
            Some(end) => self.committed_end.max(end.min(self.synced_end)),
        };
        if durable <= self.high_watermark {
            return;
        }
        self.high_watermark = durable;
        self.producers.settle(durable);
        while let Some(ack) = self.pending.pop_front() {
            if ack.end_offset > durable {
                self.pending.push_front(ack);
                break;
            }
            let _ = ack.done.send(Ok(()));
        }
        self.wake_readers();
    }

    /// Refuses an append whose author believes that the log ends elsewhere.
    pub(crate) fn expect_end(&self, expected: i64) -> Result<(), AppendError> {
        let actual = self.log_end;
        if actual == expected { Ok(()) } else { Err(AppendError::Moved { expected, actual }) }
    }

    /// Whether a compacted topic waits for the WAL's file to become an object. Records without a
    /// timestamp are as old as the first look at them.
    pub(crate) fn wants_seal(&mut self, now_ms: i64) -> bool {
        let config = &self.config;
        if !config.cleanup_policy.compact || self.synced_end <= self.committed_end {
            return false;
        }
        let unstored = || self.runs.iter().filter(|run| run.base_offset >= self.committed_end);
        let bytes: u64 = unstored().map(|run| u64::from(run.len)).sum();
        let oldest = unstored().map(|run| run.max_timestamp).filter(|timestamp| *timestamp >= 0);
        let oldest = oldest.min();
        let undated = unstored().find(|run| run.max_timestamp < 0).map(|run| run.base_offset);
        self.undated = undated.map(|offset| match self.undated {
            Some((known, seen_ms)) if known == offset => (known, seen_ms),
            _ => (offset, now_ms),
        });
        let oldest = oldest.into_iter().chain(self.undated.map(|(_, seen_ms)| seen_ms)).min();
        let age_ms = oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest));
        bytes >= config.segment_bytes
            || age_ms >= config.segment_ms
            || age_ms >= config.cleaning.max_lag_ms
    }

    /// Adds an acknowledgement. Duplicates may wait for an earlier offset than the newest append, so
    /// it finds its place in the order.
    pub(crate) fn wait_for_ack(&mut self, ack: PendingAck) {
        // Requests that timed out want no answer. Looked for when there are twice as many, so that
        // a thousand producers do not pay for each other.
        if self.pending.len().is_power_of_two() {
            self.pending.retain(|known| !known.done.is_closed());
        }
        let at = self.pending.partition_point(|known| known.end_offset <= ack.end_offset);
        self.pending.insert(at, ack);
    }

    pub(crate) fn wake_readers(&mut self) {
        for waiter in self.waiters.drain(..) {
            waiter.wake();
        }
    }

    /// Forgets leading runs that neither memory needs nor reads: their bytes are in objects.
    pub(crate) fn drop_stored_runs(&mut self) {
        while let Some(run) = self.runs.front() {
            let stored = run.last_offset < self.committed_end;
            let deleted = run.last_offset < self.log_start;
            if !deleted && (run.data.is_some() || !stored) {
                break;
            }
            self.runs.pop_front();
        }
    }

    /// Takes a committed extent. Returns the places in WAL files that it makes needless.
    fn take_extent(&mut self, stored: StoredExtent) -> Vec<Place> {
        self.committed_end = stored.extent.end_offset;
        self.extents.insert(stored.extent.base_offset, stored);
        let end = self.runs.partition_point(|run| run.last_offset < self.committed_end);
        // What lies in front of a run without a place was let go of before.
        let places = self.runs.range_mut(..end).rev().map_while(|run| run.place.take()).collect();
        self.drop_stored_runs();
        self.move_high_watermark();
        places
    }
}

impl AppendTarget for Partition {
    fn key(&self) -> PartitionKey {
        self.key
    }

    fn topic_name(&self) -> String {
        self.topic.to_string()
    }

    fn synced(&self, runs: Vec<Run>) {
        let charged: Vec<_> = runs.iter().map(|run| (run.base_offset, run.len as usize)).collect();
        {
            let mut state = self.lock();
            for run in runs {
                invariant!(
                    Log5,
                    run.base_offset == state.synced_end,
                    "{} {}: synced offset {}, expected {}",
                    self.topic,
                    self.key.partition,
                    run.base_offset,
                    state.synced_end
                );
                state.synced_end = run.last_offset + 1;
                state.runs.push_back(run.into());
            }
            let synced_end = state.synced_end;
            state.producers.mark_durable(synced_end);
            state.move_high_watermark();
        }
        if let Some(this) = self.this.upgrade() {
            self.shared.tail.admit(&this, charged.into_iter());
        }
    }

    fn rolled_back(&self) {
        let mut state = self.lock();
        warn!(
            topic = %self.topic,
            partition = self.key.partition,
            from = state.synced_end,
            to = state.log_end,
            "appends rolled back"
        );
        let synced_end = state.synced_end;
        state.log_end = synced_end;
        state.producers.roll_back(synced_end);
        let kept = state.pending.iter().take_while(|ack| ack.end_offset <= synced_end).count();
        for ack in state.pending.split_off(kept) {
            let _ = ack.done.send(Err(AppendError::RolledBack));
        }
    }
}

impl ExtentTarget for Partition {
    fn key(&self) -> PartitionKey {
        self.key
    }

    fn committed(&self, object: &Arc<ObjectRef>, extent: &Extent) {
        // Declared before the lock is taken, so that files are closed after it is given back.
        let _needless;
        let mut state = self.lock();
        if extent.end_offset <= state.committed_end {
            return;
        }
        invariant!(
            Log5,
            extent.base_offset == state.committed_end || extent.end_offset <= state.log_start,
            "{} {}: committed offset {}, expected {}",
            self.topic,
            self.key.partition,
            extent.base_offset,
            state.committed_end
        );
        _needless = state.take_extent(StoredExtent { object: Arc::clone(object), extent: *extent });
    }

    fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    fn rejected(&self, extent: &Extent) {
        error!(
            topic = %self.topic,
            partition = self.key.partition,
            base_offset = extent.base_offset,
            end_offset = extent.end_offset,
            leader_epoch = extent.leader_epoch,
            "the metadata store refused an extent: the partition has another owner"
        );
        self.close(Closed::Fenced);
    }

    fn replaced(&self, inputs: &[ObjectId], outputs: &[(Arc<ObjectRef>, Extent)]) {
        let mut state = self.lock();
        let Some((_, first)) = outputs.first() else { return };
        let end_offset = outputs.last().map_or(first.end_offset, |(_, last)| last.end_offset);
        let covered = first.base_offset..end_offset;
        state
            .extents
            .retain(|base, stored| !(covered.contains(base) && inputs.contains(&stored.object.id)));
        if state.config.cleanup_policy.compact {
            // Readers get what compaction left, not what memory still holds.
            let end = state.runs.partition_point(|run| run.last_offset < end_offset);
            for run in state.runs.range_mut(..end) {
                run.data = None;
            }
            state.drop_stored_runs();
        }
        // The log start may have passed an output while it was being written.
        let log_start = state.log_start;
        for (object, extent) in outputs.iter().filter(|(_, extent)| extent.end_offset > log_start) {
            let stored = StoredExtent { object: Arc::clone(object), extent: *extent };
            state.extents.insert(extent.base_offset, stored);
        }
    }

    fn extents(&self) -> Vec<(Arc<ObjectRef>, Extent)> {
        let state = self.lock();
        let stored = state.extents.values();
        stored.map(|stored| (Arc::clone(&stored.object), stored.extent)).collect()
    }

    fn log_start_offset(&self) -> i64 {
        self.lock().log_start
    }

    fn last_stable_offset(&self) -> i64 {
        self.lock().last_stable()
    }

    fn held_offset(&self, now_ms: i64) -> i64 {
        self.lock().held_offset(now_ms)
    }

    fn leader_epoch(&self) -> i32 {
        self.lock().leader_epoch.0
    }

    fn cleaning(&self) -> Option<CleaningPolicy> {
        let state = self.lock();
        state.config.cleanup_policy.compact.then_some(state.config.cleaning)
    }

    fn aborted_transactions(&self, from_offset: i64, end_offset: i64) -> Vec<AbortedRange> {
        Self::aborted_transactions(self, from_offset, end_offset)
    }

    fn knows_producer(&self, producer_id: i64) -> bool {
        self.lock().producers.knows(ProducerId(producer_id))
    }

    fn forget_aborted(&self, forgotten: &[AbortedRange]) {
        self.lock().producers.forget_aborted(forgotten);
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").field("topic", &self.topic).field("key", &self.key).finish()
    }
}

#[cfg(test)]
mod tests;

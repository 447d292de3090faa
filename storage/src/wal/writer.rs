//! The writer: one loop that drains the queue, writes a block, syncs it and tells whom it concerns.
//!
//! Invariants: a block is written only after all before it are synced, so each header proves the
//! blocks in front of it; a target hears of a run only after its sync; after a failed write nothing
//! is written behind the hole: the file is cut and sealed first; after a failed sync nothing is
//! acknowledged, ever. The loop never sleeps to make a block larger: the sync is the batching.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use common::{PartitionKey, clock::SharedClock, limits::WAL_BLOCK_ALIGN, spawn::Fatal};
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use tracing::{error, info, warn};

use super::{
    AppendTarget, Completion, WalAppend, WalError, WalEvent, WalFileRef, WalFs, WalOptions,
    WalPosition,
    block::MARKER_BYTES,
    current::{Current, Failed},
    fs::FileName,
    handle::Shared,
    plan::Plan,
    prepare::{Prepared, Slot},
    queue::{Command, Phase},
};

/// Why the loop ends before its time.
#[derive(Debug)]
enum Stop {
    /// A sync failed.
    Sync(io::Error),
    /// A shutdown was asked for while the disk took nothing.
    Closing,
}

/// Whether a block has a file to go to.
enum Room {
    Here,
    /// No next file can be had now.
    None,
    /// The full file could not be sealed.
    Unsealed(io::Error),
}

/// What a writer works with.
#[derive(Debug)]
pub(super) struct WriterDeps {
    pub(super) shared: Arc<Shared>,
    pub(super) fs: Arc<dyn WalFs>,
    pub(super) slot: Arc<Slot>,
    pub(super) clock: SharedClock,
    pub(super) fatal: Fatal,
    pub(super) options: WalOptions,
    pub(super) events: UnboundedSender<WalEvent>,
}

/// The writer's state.
#[derive(Debug)]
pub(super) struct Writer {
    deps: WriterDeps,
    /// Number of the next block.
    sequence: u64,
    current: Option<Current>,
    /// Whether the last block is no marker.
    unmarked: bool,
    /// Monotonic time of the last idle marker.
    last_marker: Option<Duration>,
    /// Whether appends are refused until the next file is ready.
    out_of_space: bool,
}

impl Writer {
    /// A writer whose first block gets the number `sequence`.
    pub(super) fn new(deps: WriterDeps, sequence: u64) -> Self {
        Self {
            deps,
            sequence,
            current: None,
            unmarked: false,
            last_marker: None,
            out_of_space: false,
        }
    }

    /// Runs until shutdown or a failed sync.
    pub(super) async fn run(mut self) {
        let stop = self.work().await;
        self.deps.slot.close();
        match stop {
            Ok(done) => {
                self.abandon();
                self.deps.slot.ended().await;
                info!(position = ?self.position(), "log closed");
                // The receiver may have given up waiting; the log is closed all the same.
                let _ = done.send(());
            }
            Err(Stop::Closing) => {
                self.abandon();
                warn!("log closed without a seal: the disk takes no writes");
            }
            Err(Stop::Sync(error)) => {
                self.deps.fatal.stop(&format!("write-ahead log sync failed: {error}"));
                // A real process has ended by now. The simulator's has not, but must not go on.
                self.abandon();
            }
        }
    }

    async fn work(&mut self) -> Result<oneshot::Sender<()>, Stop> {
        loop {
            let drained = self.deps.shared.queue.drain(self.deps.options.block_bytes);
            if !drained.appends.is_empty() {
                self.commit(drained.appends).await?;
                continue;
            }
            match drained.command {
                Some(Command::Seal(done)) => {
                    self.seal_or_roll_back().await?;
                    // Whoever asked may have given up.
                    done.map(|done| done.send(()));
                }
                Some(Command::Shutdown(done)) => {
                    self.seal_or_roll_back().await?;
                    return Ok(done);
                }
                None => self.idle().await?,
            }
        }
    }

    /// Waits for work. Writes a commit marker if that takes long enough.
    async fn idle(&mut self) -> Result<(), Stop> {
        let (shared, slot) = (Arc::clone(&self.deps.shared), Arc::clone(&self.deps.slot));
        let until_marker = self.until_marker();
        let marker = async {
            match until_marker {
                Some(delay) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.queue.wait_for_work() => {}
            () = slot.ready(), if self.out_of_space => {
                self.out_of_space = false;
                info!("log has space again");
                shared.queue.resume();
            }
            () = marker => self.mark().await?,
        }
        Ok(())
    }

    /// How long to be idle before a marker: a trickle of requests must not pay two syncs each.
    fn until_marker(&self) -> Option<Duration> {
        if !self.unmarked || self.current.is_none() {
            return None;
        }
        let options = &self.deps.options;
        let since = self.last_marker.map(|at| self.deps.clock.monotonic().saturating_sub(at));
        let spaced = since.map(|since| options.marker_interval.saturating_sub(since));
        Some(spaced.unwrap_or_default().max(options.marker_idle))
    }

    async fn mark(&mut self) -> Result<(), Stop> {
        self.last_marker = Some(self.deps.clock.monotonic());
        let marked = match &mut self.current {
            Some(current) if current.fits(MARKER_BYTES) => current.mark(self.sequence).await,
            _ => return self.seal_or_roll_back().await,
        };
        match marked {
            Ok(()) => {
                metrics::counter!("streamhouse_wal_markers").increment(1);
                self.sequence += 1;
                self.unmarked = false;
                self.publish_position();
                Ok(())
            }
            Err(Failed::Write(error)) => self.roll_back(None, error).await,
            Err(Failed::Sync(error)) => Err(Stop::Sync(error)),
        }
    }

    /// Writes one block and reports it.
    async fn commit(&mut self, appends: Vec<WalAppend>) -> Result<(), Stop> {
        #[allow(clippy::expect_used, reason = "`plan::check` compared lengths on enqueue")]
        let plan = Plan::build(appends).expect("checked batches are whole");
        match self.make_room(&plan).await? {
            Room::Here => {}
            Room::None => {
                self.no_space(plan);
                return Ok(());
            }
            Room::Unsealed(error) => return self.roll_back(Some(plan), error).await,
        }
        match self.write_block(&plan).await {
            Ok((file, from)) => {
                self.report(plan, &file, from);
                Ok(())
            }
            Err(Failed::Write(error)) => self.roll_back(Some(plan), error).await,
            Err(Failed::Sync(error)) => Err(Stop::Sync(error)),
        }
    }

    async fn write_block(&mut self, plan: &Plan) -> Result<(Arc<WalFileRef>, u64), Failed> {
        let Some(current) = &mut self.current else {
            return Err(Failed::Write(io::Error::other("no current file")));
        };
        let (from, len) = (current.end, plan.total_len());
        current.write(&plan.parts(current.handle.nonce, self.sequence, from)).await?;
        plan.completions.iter().for_each(Completion::written);
        let started = self.deps.clock.monotonic();
        current.sync(len).await?;
        let took = self.deps.clock.monotonic().saturating_sub(started);
        metrics::histogram!("streamhouse_wal_sync_seconds").record(took.as_secs_f64());
        metrics::counter!("streamhouse_wal_blocks").increment(1);
        metrics::counter!("streamhouse_wal_bytes").increment(len);
        current.has_batches = true;
        let file = Arc::clone(&current.handle);
        self.sequence += 1;
        self.unmarked = true;
        self.publish_position();
        Ok((file, from))
    }

    /// Tells the targets, then the waiters, then the uploader.
    fn report(&self, plan: Plan, file: &Arc<WalFileRef>, from: u64) {
        let to = from + plan.total_len();
        let (bytes, object_class) = (plan.queued_bytes, plan.object_class);
        let (groups, completions) = plan.into_runs(file, from);
        for (target, runs) in groups {
            target.synced(runs);
        }
        self.finished(bytes);
        completions.into_iter().for_each(Completion::synced);
        self.emit(WalEvent::Synced { file: Arc::clone(file), from, to, object_class });
    }

    /// Makes sure that the current file can take the block.
    async fn make_room(&mut self, plan: &Plan) -> Result<Room, Stop> {
        let len = plan.total_len();
        if self.current.as_ref().is_some_and(|current| current.fits(len)) {
            return Ok(Room::Here);
        }
        match self.seal().await {
            Ok(()) => {}
            Err(Failed::Write(error)) => return Ok(Room::Unsealed(error)),
            Err(Failed::Sync(error)) => return Err(Stop::Sync(error)),
        }
        let least = Current::capacity_for(len).next_multiple_of(WAL_BLOCK_ALIGN);
        let capacity = least.max(self.deps.options.file_bytes);
        if !self.wait_for_limit(capacity).await {
            return Ok(Room::None);
        }
        let slot = Arc::clone(&self.deps.slot);
        loop {
            match slot.try_take(least) {
                Ok(Some(prepared)) => {
                    self.open(prepared);
                    return Ok(Room::Here);
                }
                Ok(None) => {}
                Err(small) => self.discard(small).await,
            }
            slot.want(capacity);
            if let Err(error) = slot.settled().await {
                warn!(%error, "no next log file");
                return Ok(Room::None);
            }
        }
    }

    /// Waits until another file fits under the bound of all files; false if the log is to close.
    async fn wait_for_limit(&self, capacity: u64) -> bool {
        let (queue, files) = (&self.deps.shared.queue, &self.deps.shared.files);
        let room = files.room_for(capacity, self.deps.options.max_bytes);
        tokio::pin!(room);
        loop {
            tokio::select! {
                biased;
                () = &mut room => return true,
                () = queue.closing() => return false,
                () = queue.wait_for_work() => queue.answer_seals(),
            }
        }
    }

    fn open(&mut self, prepared: Prepared) {
        let current = Current::new(prepared);
        self.deps.shared.files.count(current.handle.id, current.capacity);
        self.current = Some(current);
        self.publish_position();
        self.deps.slot.want(self.deps.options.file_bytes);
    }

    /// Removes a prepared file that is too small for the next block.
    async fn discard(&self, prepared: Prepared) {
        let name = FileName::log(prepared.head.file_id);
        if let Err(error) = self.deps.fs.remove(&name).await {
            // Recovery removes what was never used.
            warn!(file = name, %error, "unused log file not removed");
        }
    }

    /// Takes back the block and all behind it, and refuses appends until the next file is ready.
    fn no_space(&mut self, plan: Plan) {
        self.take_back(Some(plan), Phase::NoSpace, &WalError::NoSpace);
        self.out_of_space = true;
        self.deps.slot.want(self.deps.options.file_bytes);
    }

    /// A write failed: takes back the block and all behind it, then cuts and seals the file. Tries
    /// that until the disk takes it: the next file may be used only if this one is closed for good.
    async fn roll_back(&mut self, plan: Option<Plan>, error: io::Error) -> Result<(), Stop> {
        error!(%error, position = ?self.position(), "log write failed, rolling back");
        metrics::counter!("streamhouse_wal_rollbacks").increment(1);
        self.take_back(plan, Phase::RollingBack, &WalError::Io(Arc::new(error)));
        loop {
            match self.seal().await {
                Ok(()) => break,
                Err(Failed::Sync(error)) => return Err(Stop::Sync(error)),
                Err(Failed::Write(error)) => error!(%error, "log file not sealed, trying again"),
            }
            tokio::select! {
                biased;
                () = self.deps.shared.queue.closing() => return Err(Stop::Closing),
                () = tokio::time::sleep(self.deps.options.retry_interval) => {}
            }
        }
        self.deps.shared.queue.resume();
        Ok(())
    }

    async fn seal_or_roll_back(&mut self) -> Result<(), Stop> {
        if self.current.as_ref().is_none_or(|current| !current.has_batches) {
            return Ok(());
        }
        match self.seal().await {
            Ok(()) => Ok(()),
            Err(Failed::Write(error)) => self.roll_back(None, error).await,
            Err(Failed::Sync(error)) => Err(Stop::Sync(error)),
        }
    }

    fn take_back(&self, plan: Option<Plan>, phase: Phase, error: &WalError) {
        let queued = self.deps.shared.queue.refuse(phase);
        let plan = plan.unwrap_or_default();
        let mut targets = BTreeMap::new();
        plan.groups.iter().for_each(|group| add_target(&mut targets, &group.target));
        queued.iter().for_each(|append| add_target(&mut targets, &append.target));
        for target in targets.into_values().flatten() {
            warn!(partition = %target.key(), topic = target.topic_name(), "appends taken back");
            target.rolled_back();
        }
        let bytes = queued.iter().map(|append| append.records.len()).sum::<usize>();
        self.finished(plan.queued_bytes + bytes);
        let queued = queued.into_iter().filter_map(|append| append.completion);
        plan.completions.into_iter().chain(queued).for_each(|c| c.fail(error.clone()));
    }

    /// Fails what is left when the log ends.
    fn abandon(&self) {
        for completion in self.deps.shared.queue.close().into_iter().filter_map(|a| a.completion) {
            completion.fail(WalError::Closed);
        }
    }

    /// Seals the current file, if there is one, and lets go of it.
    async fn seal(&mut self) -> Result<(), Failed> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.seal(self.sequence).await?;
        self.sequence += 1;
        self.unmarked = false;
        self.publish_position();
        let Some(Current { handle, end, has_batches, .. }) = self.current.take() else {
            return Ok(());
        };
        self.deps.slot.fill_none();
        info!(file = handle.name(), end, "log file sealed");
        self.deps.shared.files.count(handle.id, end);
        if has_batches {
            self.emit(WalEvent::Sealed { file: handle, end });
        } else if let Err(error) = self.deps.shared.files.release(handle.id).await {
            warn!(file = handle.name(), %error, "empty log file not deleted");
        }
        Ok(())
    }

    fn finished(&self, bytes: usize) {
        let queue = &self.deps.shared.queue;
        queue.finished(bytes);
        metrics::gauge!("streamhouse_wal_queue_bytes").set(queue.queued_bytes() as f64);
    }

    fn emit(&self, event: WalEvent) {
        // Without an uploader the events have nowhere to go; the files stay until one starts.
        let _ = self.deps.events.send(event);
    }

    fn publish_position(&self) {
        if let Some(current) = &self.current {
            self.deps.slot.fill(current.end, current.capacity);
            let position = WalPosition { file_id: current.handle.id, end: current.end };
            *self.deps.shared.synced.lock().unwrap_or_else(PoisonError::into_inner) = position;
        }
    }

    fn position(&self) -> WalPosition {
        *self.deps.shared.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a target once, in an order that a seed replays.
fn add_target(
    targets: &mut BTreeMap<PartitionKey, Vec<Arc<dyn AppendTarget>>>,
    target: &Arc<dyn AppendTarget>,
) {
    let same_key = targets.entry(target.key()).or_default();
    if !same_key.iter().any(|known| Arc::ptr_eq(known, target)) {
        same_key.push(Arc::clone(target));
    }
}

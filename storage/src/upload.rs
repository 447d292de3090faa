//! From the WAL to the object store: sealed files and flushed ranges become L0 objects.
//!
//! ```text
//!  WalEvent ─▶ planner ─┬─▶ prepare (verify, register, rename or put) ─┐  several at a time
//!                       └─▶ order ────────────────────────────────────▶ committer ─▶ partitions
//! ```
//!
//! Invariants: ranges are planned and committed in the order of the log, without gap or overlap,
//! so that each commit starts where the one before ended; a WAL file is released only when all of
//! it is in committed objects (or belongs to nobody any more); faults delay, and never drop, a
//! range: preparation and commit are tried for ever, and the WAL's own limit pushes back.

mod adopt;
mod commit;
mod prepare;
mod released;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{ObjectId, clock::SharedClock, rng::Rng, spawn::Spawner};
use metadata::{Fence, MetadataStore};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::released::last_released;
pub use self::settle::settle_registered;
use self::{
    commit::{Committer, Ordered},
    prepare::{Job, prepare},
};
use crate::{
    object::{ObjectStorage, Origin, Partitions},
    wal::{WalEvent, WalFileRef, WalFs, WalHandle, head::HEAD_BYTES},
};

/// How the uploader works.
#[derive(Debug, Clone)]
pub struct UploaderOptions {
    /// Put before every key; the cluster id, so that clusters may share a bucket.
    pub key_prefix: String,
    /// Age of the oldest unflushed block of the object class that starts a flush.
    pub flush_interval: Duration,
    /// Unflushed bytes that start a flush before that age.
    pub flush_bytes: u64,
    /// Least time between two flushes: at most four puts a second.
    pub flush_spacing: Duration,
    /// Ranges prepared at the same time.
    pub in_flight_max: usize,
}

impl Default for UploaderOptions {
    fn default() -> Self {
        Self {
            key_prefix: String::new(),
            flush_interval: Duration::from_millis(250),
            flush_bytes: 4 << 20,
            flush_spacing: Duration::from_millis(250),
            in_flight_max: 4,
        }
    }
}

/// What the uploader works with.
#[derive(Clone)]
pub struct UploaderDeps {
    /// Durable metadata.
    pub metadata: Arc<dyn MetadataStore>,
    /// This process' session.
    pub fence: Fence,
    /// Where objects go.
    pub storage: Arc<ObjectStorage>,
    /// The WAL's directory.
    pub wal_fs: Arc<dyn WalFs>,
    /// Where that directory is, if sealed files in it may be renamed into the store's directory
    /// (local files on the same file system); `None` copies.
    pub wal_directory: Option<PathBuf>,
    /// Whom to tell that a file is not needed any more.
    pub wal: Arc<dyn WalRelease>,
    /// Whom to tell what was committed.
    pub partitions: Arc<dyn Partitions>,
    /// Objects that GC must not take for orphans.
    pub in_use: ObjectsInUse,
    /// Stamps registrations.
    pub clock: SharedClock,
    /// Draws object ids and jitter.
    pub rng: Rng,
    /// Runs tasks; its fatal hook hears of a failed sync.
    pub spawner: Spawner,
}

/// The side of the WAL that gives space back.
#[async_trait]
pub trait WalRelease: Send + Sync {
    /// Every byte of the sealed file is in committed objects.
    ///
    /// # Errors
    /// The file system's; the call is repeated.
    async fn release(&self, file_id: u64) -> std::io::Result<()>;
}

#[async_trait]
impl WalRelease for WalHandle {
    async fn release(&self, file_id: u64) -> std::io::Result<()> {
        Self::release(self, file_id).await
    }
}

/// Ids of objects that this process is making: registered, not committed yet.
#[derive(Debug, Clone, Default)]
pub struct ObjectsInUse {
    ids: Arc<Mutex<BTreeSet<ObjectId>>>,
}

impl ObjectsInUse {
    /// Whether the object is being made.
    #[must_use]
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Protects the object until the guard is dropped.
    #[must_use]
    pub fn protect(&self, id: ObjectId) -> InUse {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        InUse { ids: Arc::clone(&self.ids), id }
    }
}

/// Protects one object from GC.
#[derive(Debug)]
pub struct InUse {
    ids: Arc<Mutex<BTreeSet<ObjectId>>>,
    id: ObjectId,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// How the uploader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All that the WAL announced is committed.
    Done,
    /// It was told to stop.
    Stopped,
    /// Another process has the metadata store: nothing may be committed from here any more.
    Fenced,
}

/// The running uploader. Clones refer to the same one.
#[derive(Debug, Clone)]
pub struct UploaderHandle {
    commands: mpsc::UnboundedSender<Command>,
    ended: watch::Receiver<Option<Ended>>,
    stop: CancellationToken,
}

#[derive(Debug)]
enum Command {
    Flush(oneshot::Sender<()>),
}

impl UploaderHandle {
    /// Starts uploading what `events` announce. `committed` says of recovered files up to where
    /// they have been committed before: that part is not uploaded again.
    #[must_use]
    pub fn start(
        deps: UploaderDeps,
        options: UploaderOptions,
        committed: BTreeMap<u64, u64>,
        events: mpsc::UnboundedReceiver<WalEvent>,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ended_sender, ended) = watch::channel(None);
        let (order, ordered) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let spawner = deps.spawner.clone();
        let shared =
            Arc::new(Shared { deps, options, stop: stop.clone(), fenced: AtomicBool::new(false) });
        let committer = Committer::new(Arc::clone(&shared));
        let planner = Planner {
            committed,
            in_flight: Arc::new(Semaphore::new(shared.options.in_flight_max.max(1))),
            shared,
            order,
            files: BTreeMap::new(),
            due: None,
            overdue: false,
            spacing: None,
        };
        spawner.spawn_critical("upload-planner", planner.run(events, receiver));
        spawner.spawn_critical("upload-committer", async move {
            let ended = committer.run(ordered).await;
            // Receivers that are gone do not want to know.
            let _ = ended_sender.send(Some(ended));
        });
        Self { commands, ended, stop }
    }

    /// Uploads everything that was announced so far, whatever its class; returns when it is
    /// committed, or the uploader has ended.
    pub async fn flush(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.commands.send(Command::Flush(sender)).is_ok() {
            // An error means that it ended before it got there.
            let _ = receiver.await;
        }
    }

    /// Waits until the uploader has ended: the WAL is shut down and all of it committed, or it was
    /// stopped or fenced.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let found = ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
        found.unwrap_or(Ended::Stopped)
    }

    /// Ends the uploader between two steps. What is not committed stays in the WAL.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// What planner, preparation and committer share.
struct Shared {
    deps: UploaderDeps,
    options: UploaderOptions,
    stop: CancellationToken,
    fenced: AtomicBool,
}

impl Shared {
    /// Another process has the metadata store: nothing may be committed from here any more.
    fn fence(&self) {
        self.fenced.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    /// How an uploader ends that was told to stop.
    fn stopped(&self) -> Ended {
        if self.fenced.load(Ordering::Relaxed) { Ended::Fenced } else { Ended::Stopped }
    }

    /// Waits; `false` where the uploader was stopped meanwhile.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploader").field("options", &self.options).finish_non_exhaustive()
    }
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Decides which range becomes an object when.
struct Planner {
    shared: Arc<Shared>,
    in_flight: Arc<Semaphore>,
    order: mpsc::UnboundedSender<Ordered>,
    /// Per file, where its committed objects end.
    committed: BTreeMap<u64, u64>,
    /// Files that are not sealed, or that hold what is not planned yet.
    files: BTreeMap<u64, Unplanned>,
    /// When the oldest unflushed block of the object class has waited long enough.
    due: Option<Timer>,
    overdue: bool,
    /// Until when no flush may start.
    spacing: Option<Timer>,
}

struct Unplanned {
    file: Arc<WalFileRef>,
    /// Start of what is not planned.
    from: u64,
    /// End of what is synced.
    to: u64,
    object_class: bool,
}

impl Planner {
    async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<WalEvent>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let stop = self.shared.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                event = events.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => break,
                },
                Some(Command::Flush(done)) = commands.recv() => {
                    self.flush().await;
                    self.send(Ordered::Reached(done));
                }
                () = elapsed(&mut self.due) => {
                    self.due = None;
                    self.overdue = true;
                }
                () = elapsed(&mut self.spacing) => self.spacing = None,
            }
            if self.spacing.is_none() && (self.overdue || self.enough()) {
                self.flush().await;
            }
        }
        self.flush().await;
    }

    async fn take(&mut self, event: WalEvent) {
        match event {
            WalEvent::Synced { file, from, to, object_class } => {
                let committed = self.committed.get(&file.id).copied().unwrap_or(0);
                let unplanned = self.files.entry(file.id).or_insert_with(|| Unplanned {
                    file,
                    from: from.max(committed),
                    to: from.max(committed),
                    object_class: false,
                });
                unplanned.to = unplanned.to.max(to);
                unplanned.object_class |= object_class;
                if object_class && self.due.is_none() && !self.overdue {
                    self.due =
                        Some(Box::pin(tokio::time::sleep(self.shared.options.flush_interval)));
                }
            }
            WalEvent::Sealed { file, end } => {
                let committed = self.committed.remove(&file.id).unwrap_or(0);
                let known = self.files.remove(&file.id);
                let from = known.map_or(committed, |unplanned| unplanned.from).max(committed);
                let file_id = file.id;
                // What starts at the first block is the whole file, its head included.
                let from = if from <= HEAD_BYTES { 0 } else { from };
                if from < end {
                    self.plan(file, from, end).await;
                }
                self.send(Ordered::Release(file_id));
                self.settle_timers();
            }
        }
    }

    /// Whether enough of the object class waits to flush before it is due.
    fn enough(&self) -> bool {
        self.files.values().any(|unplanned| {
            unplanned.object_class
                && unplanned.to - unplanned.from >= self.shared.options.flush_bytes
        })
    }

    /// Plans all that is synced.
    async fn flush(&mut self) {
        let mut ranges = Vec::new();
        for unplanned in self.files.values_mut() {
            if unplanned.from < unplanned.to {
                ranges.push((Arc::clone(&unplanned.file), unplanned.from, unplanned.to));
                unplanned.from = unplanned.to;
            }
            unplanned.object_class = false;
        }
        let planned = !ranges.is_empty();
        for (file, from, to) in ranges {
            self.plan(file, from, to).await;
        }
        self.settle_timers();
        if planned {
            let spacing = tokio::time::sleep(self.shared.options.flush_spacing);
            self.spacing = Some(Box::pin(spacing));
        }
    }

    /// Nothing is due where nothing of the object class waits.
    fn settle_timers(&mut self) {
        if !self.files.values().any(|unplanned| unplanned.object_class) {
            (self.due, self.overdue) = (None, false);
        }
    }

    /// Starts to prepare a range, and queues it for its turn to commit.
    async fn plan(&mut self, file: Arc<WalFileRef>, from: u64, to: u64) {
        let Ok(permit) = Arc::clone(&self.in_flight).acquire_owned().await else { return };
        let origin = Origin { file_id: file.id, from, to };
        let (sender, receiver) = oneshot::channel();
        self.send(Ordered::Commit { origin, prepared: receiver });
        let shared = Arc::clone(&self.shared);
        self.shared.deps.spawner.spawn_critical("upload-prepare", async move {
            if let Some(prepared) = prepare(&shared, &Job { file, origin }).await {
                // The committer is gone only when the uploader was stopped.
                let _ = sender.send((prepared, permit));
            }
        });
    }

    fn send(&self, ordered: Ordered) {
        // The committer is gone only when the uploader was stopped or fenced.
        let _ = self.order.send(ordered);
    }
}

/// Waits for the timer; for ever where there is none.
async fn elapsed(timer: &mut Option<Timer>) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

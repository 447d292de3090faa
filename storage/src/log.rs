//! All partitions of one broker over one WAL: the composition of this crate and its public face.
//!
//! Invariant: a partition is in the map from the moment its topic's metadata is durable (the
//! catalog calls in that order) until its topic is deleted; a deleted topic's partitions are
//! closed and never come back, since topic ids are never used twice.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use common::{ObjectId, PartitionKey, TopicId, clock::SharedClock, rng::Rng, spawn::Spawner};
use metadata::{EpochStart, Fence, MetadataStore, NewEpochStart, Topic};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{LiveLogConfig, LogConfig, TopicLogConfig},
    error::{AppendError, Error},
    object::{ExtentTarget, ObjectReader, ObjectStorage, Partitions},
    partition::{Closed, Partition, Restored},
    tail::TailCache,
    upload::UploaderHandle,
    wal::{AdmitPermit, WalAppend, WalFs, WalHandle},
};

/// What a log is built on: every way to the outside world.
#[derive(Debug, Clone)]
pub struct LogDeps {
    /// Durable metadata.
    pub metadata: Arc<dyn MetadataStore>,
    /// This process' session with it.
    pub fence: Fence,
    /// The WAL's directory.
    pub wal_fs: Arc<dyn WalFs>,
    /// Where that directory is, if sealed files may be renamed into a store of local files on the
    /// same file system; `None` copies them.
    pub wal_directory: Option<PathBuf>,
    /// The object store.
    pub objects: Arc<ObjectStorage>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: Rng,
    /// Tasks and threads.
    pub spawner: Spawner,
    /// Sizes and intervals.
    pub config: LogConfig,
}

/// What partitions share.
pub(crate) struct Shared {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) fence: Fence,
    /// What precedes every object key: the cluster's id, so that clusters may share a bucket.
    pub(crate) key_prefix: String,
    pub(crate) clock: SharedClock,
    pub(crate) spawner: Spawner,
    pub(crate) reader: ObjectReader,
    pub(crate) tail: TailCache,
    /// Set once recovery is done; appends are refused before.
    pub(crate) wal: OnceLock<WalHandle>,
}

impl Shared {
    pub(crate) fn enqueue(&self, append: WalAppend) -> Result<(), AppendError> {
        let wal = self.wal.get().ok_or(AppendError::Closed)?;
        wal.enqueue(append)?;
        Ok(())
    }
}

/// Gauges of the log, for metrics and DescribeLogDirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStats {
    /// Open partitions.
    pub partitions: usize,
    /// Bytes of the tail in memory.
    pub tail_bytes: usize,
    /// Bytes of WAL files that no object holds yet.
    pub wal_bytes: u64,
    /// Bytes appended and not yet synced.
    pub queued_bytes: usize,
}

/// The partitions of this broker.
pub struct Log {
    shared: Arc<Shared>,
    pub(crate) deps: LogDeps,
    partitions: RwLock<BTreeMap<PartitionKey, Arc<Partition>>>,
    pub(crate) uploader: OnceLock<UploaderHandle>,
    pub(crate) background: CancellationToken,
    /// What changes while the log runs: the background tasks watch it.
    live: watch::Sender<LiveLogConfig>,
    /// One change of durability classes at a time.
    pub(crate) class_changes: Mutex<()>,
}

impl Log {
    pub(crate) fn new(shared: Arc<Shared>, deps: LogDeps) -> Self {
        Self {
            shared,
            live: watch::Sender::new(deps.config.live),
            deps,
            partitions: RwLock::default(),
            uploader: OnceLock::new(),
            background: CancellationToken::new(),
            class_changes: Mutex::new(()),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Changes the settings that may change while the log runs: at once, also for what waits.
    pub fn reconfigure(&self, live: LiveLogConfig) {
        self.live.send_if_modified(|current| std::mem::replace(current, live) != live);
    }

    pub(crate) fn live_config(&self) -> LiveLogConfig {
        *self.live.borrow()
    }

    pub(crate) fn watch_config(&self) -> watch::Receiver<LiveLogConfig> {
        self.live.subscribe()
    }

    /// The partition, if this broker has it.
    #[must_use]
    pub fn partition(&self, key: &PartitionKey) -> Option<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Every partition, in order of keys.
    #[must_use]
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.values().cloned().collect()
    }

    /// Opens the partitions of a topic that metadata has just made durable; those that are open
    /// already stay as they are.
    ///
    /// # Errors
    /// [`Error::Metadata`] where epoch starts or durability classes could not be recorded. The
    /// partitions are open and of the class that is configured all the same.
    pub async fn add_topic(&self, topic: &Topic, config: Arc<TopicLogConfig>) -> Result<(), Error> {
        let (mut starts, mut opened) = (Vec::new(), Vec::new());
        let name: Arc<str> = topic.name.as_str().into();
        for row in &topic.partitions {
            let key = PartitionKey { topic_id: topic.id, partition: row.partition };
            if self.partition(&key).is_some() {
                continue;
            }
            let restored = Restored::new(row, Vec::new());
            let shared = Arc::clone(&self.shared);
            let config = Arc::clone(&config);
            let partition = Partition::new(key, Arc::clone(&name), shared, config, restored);
            let (epoch, start_offset) = partition.begin_epoch();
            // A new partition's row says so already, and then nothing can fail here.
            if row.epoch_starts.last() != Some(&EpochStart { epoch, start_offset }) {
                starts.push(NewEpochStart { key, epoch, start_offset });
            }
            self.insert(Arc::clone(&partition));
            opened.push(partition);
        }
        self.settle_classes(&opened).await?;
        if !starts.is_empty() {
            self.shared.metadata.record_epoch_starts(&self.shared.fence, starts).await?;
        }
        Ok(())
    }

    /// Closes a deleted topic's partitions; waiting requests fail.
    pub fn remove_topic(&self, id: TopicId) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.retain(|key, partition| {
            let keep = key.topic_id != id;
            if !keep {
                partition.close(Closed::Deleted);
            }
            keep
        });
    }

    pub(crate) fn partitions_of(&self, id: TopicId) -> Vec<Arc<Partition>> {
        let key = |partition| PartitionKey { topic_id: id, partition };
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.range(key(0)..=key(i32::MAX)).map(|(_, found)| Arc::clone(found)).collect()
    }

    /// Back-pressure before an append (design D13): waits until the WAL takes `bytes` more. Drop
    /// the permit once the append has been made. Bound the wait with the request's timeout.
    ///
    /// # Errors
    /// [`AppendError::Closed`] during shutdown.
    pub async fn admit(&self, bytes: usize) -> Result<AdmitPermit, AppendError> {
        let wal = self.shared.wal.get().ok_or(AppendError::Closed)?;
        Ok(wal.admit(bytes).await?)
    }

    /// Gauges now.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let wal = self.shared.wal.get();
        LogStats {
            partitions: self.partitions.read().unwrap_or_else(PoisonError::into_inner).len(),
            tail_bytes: self.shared.tail.bytes(),
            wal_bytes: wal.map_or(0, WalHandle::file_bytes),
            queued_bytes: wal.map_or(0, WalHandle::queued_bytes),
        }
    }

    /// Fails the acknowledgements that still wait: nothing will make them durable any more here.
    pub(crate) fn fail_pending(&self) {
        for partition in self.partitions() {
            // A dropped sender tells its ticket that the log is closed.
            partition.lock().pending.clear();
        }
    }

    pub(crate) fn insert(&self, partition: Arc<Partition>) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(partition.key(), partition);
    }
}

impl Partitions for Log {
    fn target(&self, key: &PartitionKey) -> Option<Arc<dyn ExtentTarget>> {
        self.partition(key).map(|partition| partition as Arc<dyn ExtentTarget>)
    }

    fn all(&self) -> Vec<Arc<dyn ExtentTarget>> {
        self.partitions().into_iter().map(|partition| partition as Arc<dyn ExtentTarget>).collect()
    }

    fn adopted(&self, id: ObjectId) {
        self.shared.reader.note_checked(id);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

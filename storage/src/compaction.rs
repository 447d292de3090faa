//! L0 → L1: a partition's extents in many interleaved objects become one object of its own.
//!
//! It runs when policy needs it (design D4): many small extents make cold reads and metadata dear,
//! and an interleaved object lives as long as its longest-kept partition. Invariants: inputs are
//! contiguous, below the last stable offset, and replaced by exactly their records in one
//! conditional commit; they are deleted (by GC) only after outputs and metadata are durable; a
//! failed attempt changes nothing but an object that GC will find dead.

mod cleaner;
mod merge;
mod plan;
mod rewrite;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{ObjectId, clock::SharedClock, rng::Rng};
use metadata::{Fence, MetadataStore};
use tokio::sync::watch;
use tracing::warn;

pub use self::{
    cleaner::{CleaningPolicy, CleaningRound},
    plan::{Candidate, CompactionPolicy, Plan},
};
use self::{merge::Merge, rewrite::Inputs};
use crate::{
    config::LiveLogConfig,
    object::{ExtentTarget, ObjectReader, ObjectStorage, Partitions},
    upload::ObjectsInUse,
    wal::WalFs,
};

/// What compaction works with.
pub struct CompactorDeps {
    /// Durable metadata.
    pub metadata: Arc<dyn MetadataStore>,
    /// This process' session.
    pub fence: Fence,
    /// The object store.
    pub storage: Arc<ObjectStorage>,
    /// Reads the inputs.
    pub reader: ObjectReader,
    /// Whose extents are merged.
    pub partitions: Arc<dyn Partitions>,
    /// Objects that GC must not take for orphans.
    pub in_use: ObjectsInUse,
    /// Stamps registrations.
    pub clock: SharedClock,
    /// Draws object ids.
    pub rng: Rng,
    /// The disk that a store of local files shares with the WAL.
    pub wal_fs: Arc<dyn WalFs>,
    /// The memory of a cleaning pass.
    pub live: watch::Receiver<LiveLogConfig>,
}

/// How compaction works.
#[derive(Debug, Clone)]
pub struct CompactorOptions {
    /// What precedes every key, as in the uploader's options.
    pub key_prefix: String,
    /// Time between two looks at the partitions.
    pub interval: Duration,
    /// When a partition is due, and what is merged.
    pub policy: CompactionPolicy,
    /// Bytes that a merge into local files must leave free: compaction stops long before the
    /// WAL does (design D13).
    pub disk_reserve_bytes: u64,
}

impl Default for CompactorOptions {
    fn default() -> Self {
        Self {
            key_prefix: String::new(),
            interval: Duration::from_secs(30),
            policy: CompactionPolicy::default(),
            disk_reserve_bytes: 1 << 30,
        }
    }
}

/// Merges L0 extents into L1 objects, one partition at a time.
pub struct Compactor {
    deps: CompactorDeps,
    options: CompactorOptions,
}

impl Compactor {
    /// A compactor; nothing happens before [`Compactor::run`].
    #[must_use]
    pub fn new(deps: CompactorDeps, options: CompactorOptions) -> Self {
        Self { deps, options }
    }

    /// Looks at every partition by the clock, for ever: drop the future to stop.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(self.options.interval).await;
            self.run_once().await;
        }
    }

    /// Merges what is due in every partition; returns the number of merges. A partition that fails
    /// is logged and looked at again next time.
    pub async fn run_once(&self) -> usize {
        let mut merges = 0;
        let targets = self.deps.partitions.all();
        let wasteful = self.wasteful(&targets);
        // The log of a compacted topic is for the cleaner alone.
        for target in targets.iter().filter(|target| target.cleaning().is_none()) {
            if !self.has_space().await {
                metrics::counter!("streamhouse_compaction_skipped_total", "reason" => "disk_space")
                    .increment(1);
                break;
            }
            match self.compact(target.as_ref(), &wasteful).await {
                Ok(true) => merges += 1,
                Ok(false) => {}
                Err(error) => {
                    metrics::counter!("streamhouse_compaction_failures_total").increment(1);
                    warn!(partition = %target.key(), %error, "compaction failed, will try again");
                }
            }
            tokio::task::yield_now().await;
        }
        merges
    }

    fn wasteful(&self, targets: &[Arc<dyn ExtentTarget>]) -> BTreeSet<ObjectId> {
        let extents: Vec<_> = targets.iter().flat_map(|target| target.extents()).collect();
        self.options.policy.wasteful(&extents)
    }

    /// Whether an output of full size fits; always where the objects are not on this disk.
    async fn has_space(&self) -> bool {
        if self.deps.storage.local_root().is_none() {
            return true;
        }
        let needed = self.options.disk_reserve_bytes.saturating_add(self.options.policy.bytes_max);
        match self.deps.wal_fs.free_bytes().await {
            Ok(free) => free >= needed,
            Err(error) => {
                warn!(%error, "free disk space is unknown, compaction waits");
                false
            }
        }
    }

    /// Merges what is due in one partition; `false` where nothing is.
    ///
    /// # Errors
    /// As the stores fail, or where an input is damaged; then the partition is as it was.
    pub async fn compact(
        &self,
        target: &dyn ExtentTarget,
        wasteful: &BTreeSet<ObjectId>,
    ) -> Result<bool, crate::Error> {
        let leader_epoch = target.leader_epoch();
        let candidate = Candidate {
            extents: &target.extents(),
            log_start_offset: target.log_start_offset(),
            last_stable_offset: target.last_stable_offset(),
            wasteful,
        };
        let Some(plan) = self.options.policy.plan(&candidate) else { return Ok(false) };
        let output = self.register(target, plan.base_offset()).await?;
        let reader = self.deps.reader.clone();
        let merge = Merge::begin(reader, target, &plan, output.id()).await;
        let inputs = Inputs { extents: &plan.inputs, leader_epoch };
        let (_, extent) = self.replace(target, inputs, output, merge).await?;
        metrics::counter!("streamhouse_compaction_merges_total").increment(1);
        metrics::counter!("streamhouse_compaction_bytes_total").increment(extent.bytes);
        Ok(true)
    }
}

impl std::fmt::Debug for Compactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compactor").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

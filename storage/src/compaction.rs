//! L0 → L1: a partition's extents in many interleaved objects become one object of its own.
//!
//! It runs when policy needs it (design D4): many small extents make cold reads and metadata dear,
//! and an interleaved object lives as long as its longest-kept partition. Invariants: inputs are
//! contiguous, below the last stable offset, and replaced by exactly their records in one
//! conditional commit; they are deleted (by GC) only after outputs and metadata are durable; a
//! failed attempt changes nothing but an object that GC will find dead.

mod merge;
mod plan;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{ObjectId, clock::SharedClock, rng::Rng};
use metadata::{Extent, Fence, L1Commit, L1Input, L1Output, MetadataStore, NewObject, ObjectLevel};
use tracing::{debug, warn};

use self::merge::Merge;
pub use self::plan::{Candidate, CompactionPolicy, Plan};
use crate::{
    object::{ExtentTarget, ObjectReader, ObjectRef, ObjectStorage, Partitions},
    upload::{InUse, ObjectsInUse},
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
    /// Stamps registrations and expires producers.
    pub clock: SharedClock,
    /// Draws object ids.
    pub rng: Rng,
    /// The disk that a store of local files shares with the WAL.
    pub wal_fs: Arc<dyn WalFs>,
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
    /// `producer.id.expiration.ms`: producers idle for longer are left out of snapshots.
    pub producer_expiration_ms: i64,
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
            producer_expiration_ms: 86_400_000,
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
        let extents: Vec<_> = targets.iter().flat_map(|target| target.extents()).collect();
        let wasteful = self.options.policy.wasteful(&extents);
        drop(extents);
        for target in targets {
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
        let (output, in_use) = self.register(target, &plan).await?;
        let merged = self.merge(target, &plan, &output).await;
        let (object, extent) = match merged {
            Ok(merged) => merged,
            Err(error) => {
                // The row is dead at once where metadata answers, after the grace time otherwise.
                if let Err(error) =
                    self.deps.metadata.mark_dead(&self.deps.fence, &[output.id]).await
                {
                    debug!(object = %output.id, %error, "left for GC");
                }
                return Err(error.into());
            }
        };
        self.commit(target, leader_epoch, &plan, &object, extent).await?;
        drop(in_use);
        let inputs: Vec<_> = plan.inputs.iter().map(|(object, _)| object.id).collect();
        target.replaced(&inputs, &[(object, extent)]);
        metrics::counter!("streamhouse_compaction_merges_total").increment(1);
        metrics::counter!("streamhouse_compaction_bytes_total").increment(extent.bytes);
        Ok(true)
    }

    async fn register(
        &self,
        target: &dyn ExtentTarget,
        plan: &Plan,
    ) -> Result<(ObjectRef, InUse), crate::Error> {
        let id = ObjectId(self.deps.rng.uuid());
        let key = l1_key(&self.options.key_prefix, target, plan.base_offset(), id);
        let in_use = self.deps.in_use.protect(id);
        let object = NewObject {
            id,
            key: key.clone(),
            level: ObjectLevel::L1,
            created_ms: self.deps.clock.now_ms(),
            origin: None,
        };
        self.deps.metadata.register_object(&self.deps.fence, object).await?;
        let object = ObjectRef {
            id,
            key,
            level: ObjectLevel::L1,
            size: 0,
            footer_position: 0,
            origin: None,
        };
        Ok((object, in_use))
    }

    /// Writes the output object.
    async fn merge(
        &self,
        target: &dyn ExtentTarget,
        plan: &Plan,
        output: &ObjectRef,
    ) -> crate::object::Result<(Arc<ObjectRef>, Extent)> {
        let expired_ms =
            self.deps.clock.now_ms().saturating_sub(self.options.producer_expiration_ms);
        let key = target.key();
        let mut merge =
            Merge::begin(self.deps.reader.clone(), key, plan, output.id, expired_ms).await?;
        let size = self.deps.storage.put_parts(&output.key, &mut merge).await?;
        let footer = merge.footer(&output.key)?;
        let object = ObjectRef { size, footer_position: footer.data_len, ..output.clone() };
        let extent =
            footer.partitions.first().map(|partition| partition.extent(target.leader_epoch()));
        let extent = extent.filter(|extent| {
            (extent.base_offset, extent.end_offset) == (plan.base_offset(), plan.end_offset())
        });
        let extent = extent.ok_or_else(|| merge.incomplete(plan, &output.key))?;
        Ok((Arc::new(object), extent))
    }

    async fn commit(
        &self,
        target: &dyn ExtentTarget,
        leader_epoch: i32,
        plan: &Plan,
        object: &Arc<ObjectRef>,
        extent: Extent,
    ) -> Result<(), crate::Error> {
        let input = |(object, extent): &(Arc<ObjectRef>, Extent)| L1Input {
            id: object.id,
            base_offset: extent.base_offset,
            end_offset: extent.end_offset,
        };
        let commit = L1Commit {
            key: target.key(),
            leader_epoch,
            inputs: plan.inputs.iter().map(input).collect(),
            outputs: vec![L1Output {
                id: object.id,
                size: object.size,
                footer_position: object.footer_position,
                extent,
            }],
        };
        let mut backoff = self.deps.storage.backoff();
        loop {
            match self.deps.metadata.commit_l1(&self.deps.fence, commit.clone()).await {
                // Repeating is safe, and giving up would leave the extents in doubt.
                Err(error) if error.is_retriable() || error.is_outcome_unknown() => {
                    warn!(partition = %target.key(), %error, "L1 commit failed, will try again");
                    tokio::time::sleep(backoff.pause()).await;
                }
                result => return Ok(result?),
            }
        }
    }
}

impl std::fmt::Debug for Compactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compactor").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The key of an L1 object: readable, and unique by its id.
fn l1_key(prefix: &str, target: &dyn ExtentTarget, base_offset: i64, id: ObjectId) -> String {
    let key = target.key();
    let path = format!("l1/{}/{}/{base_offset:020}-{id}", key.topic_id, key.partition);
    if prefix.is_empty() { path } else { format!("{prefix}/{path}") }
}

#[cfg(test)]
mod tests;

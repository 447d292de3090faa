//! What handlers call: from a group's id to the shard that has it.

use futures::future::BoxFuture;
use std::sync::Arc;

use protocol::ErrorCode;
use tracing::debug;

use super::{
    config::GroupConfig,
    consumer::GroupOverridesSource,
    offsets::DeletedTopic,
    shard::{GroupContext, GroupOutcome, GroupShard},
};
use crate::{
    log::TransactionEnd,
    runtime::{Runtime, RuntimeDeps, TransactionalWrite},
    topics::TopicSource,
};

/// The group coordinator of a broker. Clones share it.
#[derive(Debug, Clone)]
pub struct GroupCoordinator {
    runtime: Runtime<GroupShard>,
    config: Arc<GroupConfig>,
}

impl GroupCoordinator {
    /// A coordinator that hosts nothing yet. `overrides` is asked for a group's own settings at each
    /// of its requests.
    #[must_use]
    pub fn new(
        deps: RuntimeDeps,
        config: Arc<GroupConfig>,
        overrides: Arc<dyn GroupOverridesSource>,
        topics: TopicSource,
    ) -> Self {
        let shard_config = Arc::clone(&config);
        let runtime = Runtime::new(deps, move |_| {
            GroupShard::new(Arc::clone(&shard_config), topics.clone())
                .with_overrides(Arc::clone(&overrides))
        });
        Self { runtime, config }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<GroupConfig> {
        &self.config
    }

    /// The runtime, for its gauges.
    #[must_use]
    pub fn runtime(&self) -> &Runtime<GroupShard> {
        &self.runtime
    }

    /// Hosts all partitions of `__consumer_offsets`, which has `count`: those that are new are loaded
    /// in the background.
    pub fn host(&self, count: i32) {
        self.runtime.host(count);
    }

    /// Hosts nothing any more: the topic is gone, or the broker stops.
    pub fn release(&self) {
        self.runtime.release();
    }

    /// Stops for good. Who waits is answered.
    pub fn shutdown(&self) {
        self.runtime.shutdown();
    }

    /// The partition that a group belongs to.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` while there is no `__consumer_offsets`.
    pub fn partition_of(&self, group_id: &str) -> Result<i32, ErrorCode> {
        self.runtime.partition_of(group_id)
    }

    /// Runs an operation of a group that may change soft state.
    ///
    /// # Errors
    /// As [`Runtime::write`].
    pub async fn write<R: Send + 'static>(
        &self,
        group_id: &str,
        operation: impl FnOnce(&mut GroupShard, &mut GroupContext<'_>) -> GroupOutcome<R>,
    ) -> Result<R, ErrorCode> {
        self.runtime.write(self.partition_of(group_id)?, operation).await
    }

    /// Runs an operation of a group that changes it through its records alone.
    ///
    /// # Errors
    /// As [`Runtime::commit`].
    pub async fn commit<R: Send + 'static>(
        &self,
        group_id: &str,
        operation: impl FnOnce(&mut GroupShard, &mut GroupContext<'_>) -> GroupOutcome<R>,
    ) -> Result<R, ErrorCode> {
        self.runtime.commit(self.partition_of(group_id)?, operation).await
    }

    /// The same in two parts.
    ///
    /// # Errors
    /// As [`Runtime::begin_commit`].
    pub async fn begin_commit<R: Send + 'static>(
        &self,
        group_id: &str,
        operation: impl FnOnce(&mut GroupShard, &mut GroupContext<'_>) -> GroupOutcome<R>,
    ) -> Result<BoxFuture<'static, Result<R, ErrorCode>>, ErrorCode> {
        self.runtime.begin_commit(self.partition_of(group_id)?, operation).await
    }

    /// As [`GroupCoordinator::commit`], for records of a producer's transaction.
    ///
    /// # Errors
    /// As [`Runtime::commit_transactional`].
    pub async fn commit_transactional<R: Send + 'static>(
        &self,
        group_id: &str,
        transaction: TransactionalWrite,
        operation: impl FnOnce(&mut GroupShard, &mut GroupContext<'_>) -> GroupOutcome<R>,
    ) -> Result<R, ErrorCode> {
        let partition = self.partition_of(group_id)?;
        self.runtime.commit_transactional(partition, transaction, operation).await
    }

    /// Looks at the shard of a group.
    ///
    /// # Errors
    /// As [`Runtime::read`].
    pub async fn read<R: Send + 'static>(
        &self,
        group_id: &str,
        look: impl FnOnce(&GroupShard) -> R,
    ) -> Result<R, ErrorCode> {
        self.runtime.read(self.partition_of(group_id)?, look).await
    }

    /// Looks at every shard, in order of partitions.
    ///
    /// # Errors
    /// As [`Runtime::read`], of the first shard that does not answer.
    pub async fn read_all<R: Send + 'static>(
        &self,
        mut look: impl FnMut(&GroupShard) -> R,
    ) -> Result<Vec<R>, ErrorCode> {
        let mut found = Vec::new();
        for partition in self.runtime.partitions() {
            found.push(self.runtime.read(partition, &mut look).await?);
        }
        Ok(found)
    }

    /// Ends a producer's transaction in a partition of `__consumer_offsets`.
    ///
    /// # Errors
    /// As [`Runtime::complete_transaction`].
    pub async fn complete_transaction(
        &self,
        partition: i32,
        end: TransactionEnd,
    ) -> Result<(), ErrorCode> {
        self.runtime.complete_transaction(partition, end).await
    }

    /// The topics have changed, and these are gone: their offsets are deleted. Consumer groups see the
    /// new topics by themselves at their next heartbeat; a shard that is being loaded deletes such
    /// offsets with the next round of retention.
    pub async fn topics_changed(&self, deleted: &Arc<Vec<DeletedTopic>>) {
        for partition in self.runtime.partitions() {
            let deleted = Arc::clone(deleted);
            let changed = self.runtime.commit(partition, move |shard, _| {
                GroupOutcome::write_in_parts(shard.tombstones_of_topics(&deleted), ())
            });
            if let Err(error) = changed.await {
                debug!(partition, error = error.name(), "a shard learns of the topics later");
            }
        }
    }
}

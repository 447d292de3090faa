//! The metadata store over any back end: one transaction per call, fenced first.
//!
//! Every write here has the same three steps: begin, check the fence, run the operation and
//! commit. An operation that fails leaves its transaction to be dropped, so nothing of it stays.

use std::{collections::BTreeMap, fmt::Debug};

use async_trait::async_trait;
use common::{LeaderEpoch, NodeId, ObjectId, PartitionKey, TopicId};

use crate::{
    error::Result,
    model::{Fence, Image, ObjectRow, ObjectState, Session, Topic},
    operations::{
        compaction, configs, objects, partitions, pointers, producer_ids, sessions, snapshot,
        topics,
    },
    request::{
        ExtentOutcome, L0Commit, L1Commit, LogStart, NewEpochStart, NewObject, NewTopic,
        OpenSession, ReadableEnd,
    },
    rows::Rows,
    store::MetadataStore,
};

/// A place where rows live.
#[async_trait]
pub(crate) trait Backend: Send + Sync + Debug {
    /// Its transactions. Dropping one rolls it back.
    type Transaction: Transaction;

    /// Begins a transaction that excludes all other writers.
    async fn begin_write(&self) -> Result<Self::Transaction>;

    /// Begins a transaction that sees one moment and changes nothing.
    async fn begin_read(&self) -> Result<Self::Transaction>;
}

/// A transaction that can be committed.
#[async_trait]
pub(crate) trait Transaction: Rows + Sized + 'static {
    /// Makes the changes durable and visible.
    async fn commit(self) -> Result<()>;

    /// Takes the changes back, at once rather than when the next transaction begins.
    async fn roll_back(self);
}

macro_rules! write {
    ($store:ident, $fence:ident, |$rows:ident| $operation:expr) => {{
        let mut transaction = $store.begin_write().await?;
        let result = match sessions::check(&mut transaction, $fence).await {
            Ok(()) => {
                let $rows = &mut transaction;
                $operation.await
            }
            Err(fenced) => Err(fenced),
        };
        finish(transaction, result).await
    }};
}

macro_rules! read {
    ($store:ident, |$rows:ident| $operation:expr) => {{
        let mut transaction = $store.begin_read().await?;
        let result = {
            let $rows = &mut transaction;
            $operation.await
        };
        transaction.roll_back().await;
        result
    }};
}

async fn finish<T>(transaction: impl Transaction, result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => transaction.commit().await.map(|()| value),
        Err(error) => {
            transaction.roll_back().await;
            Err(error)
        }
    }
}

#[async_trait]
impl<B: Backend> MetadataStore for B {
    async fn open_session(&self, request: OpenSession) -> Result<Session> {
        let mut transaction = self.begin_write().await?;
        let session = sessions::open(&mut transaction, request).await;
        finish(transaction, session).await
    }

    async fn load(&self) -> Result<Image> {
        read!(self, |rows| topics::load(rows))
    }

    async fn ping(&self) -> Result<()> {
        read!(self, |rows| rows.cluster()).map(|_| ())
    }

    async fn export(&self) -> Result<Vec<u8>> {
        read!(self, |rows| snapshot::export(rows))
    }

    async fn import(&self, snapshot: &[u8]) -> Result<()> {
        let mut transaction = self.begin_write().await?;
        let imported = snapshot::import(&mut transaction, snapshot).await;
        finish(transaction, imported).await
    }

    async fn create_topic(&self, fence: &Fence, topic: NewTopic) -> Result<Topic> {
        write!(self, fence, |rows| topics::create(rows, fence.node_id, topic))
    }

    async fn delete_topic(&self, fence: &Fence, id: TopicId, note: Option<String>) -> Result<()> {
        write!(self, fence, |rows| topics::delete(rows, id, note))
    }

    async fn create_partitions(
        &self,
        fence: &Fence,
        id: TopicId,
        expected_count: i32,
        new: Vec<Vec<i32>>,
    ) -> Result<Topic> {
        write!(self, fence, |rows| topics::add_partitions(
            rows,
            fence.node_id,
            id,
            expected_count,
            new
        ))
    }

    async fn set_topic_configs(
        &self,
        fence: &Fence,
        id: TopicId,
        expected_version: i64,
        configs: BTreeMap<String, String>,
    ) -> Result<i64> {
        write!(self, fence, |rows| configs::set_topic(rows, id, expected_version, configs))
    }

    async fn set_broker_configs(
        &self,
        fence: &Fence,
        broker: Option<NodeId>,
        expected_version: i64,
        configs: BTreeMap<String, String>,
    ) -> Result<i64> {
        write!(self, fence, |rows| configs::set_broker(rows, broker, expected_version, configs))
    }

    async fn set_group_configs(
        &self,
        fence: &Fence,
        group_id: &str,
        expected_version: i64,
        configs: BTreeMap<String, String>,
    ) -> Result<i64> {
        write!(self, fence, |rows| configs::set_group(rows, group_id, expected_version, configs))
    }

    async fn acquire_partitions(&self, fence: &Fence) -> Result<Vec<(PartitionKey, LeaderEpoch)>> {
        write!(self, fence, |rows| partitions::acquire(rows, fence.node_id))
    }

    async fn record_epoch_starts(&self, fence: &Fence, starts: Vec<NewEpochStart>) -> Result<()> {
        write!(self, fence, |rows| partitions::record_epoch_starts(rows, &starts))
    }

    async fn advance_log_start(&self, fence: &Fence, log_starts: Vec<LogStart>) -> Result<()> {
        write!(self, fence, |rows| partitions::advance_log_start(rows, &log_starts))
    }

    async fn record_readable_ends(&self, fence: &Fence, ends: Vec<ReadableEnd>) -> Result<()> {
        write!(self, fence, |rows| partitions::record_readable_ends(rows, &ends))
    }

    async fn register_object(&self, fence: &Fence, object: NewObject) -> Result<()> {
        write!(self, fence, |rows| objects::register(rows, object))
    }

    async fn commit_l0(&self, fence: &Fence, commit: L0Commit) -> Result<Vec<ExtentOutcome>> {
        write!(self, fence, |rows| objects::commit_l0(rows, &commit))
    }

    async fn commit_l1(&self, fence: &Fence, commit: L1Commit) -> Result<()> {
        // The outer error rolls back; the inner one is a refusal that itself has an effect.
        let outcome: Result<Result<()>> =
            write!(self, fence, |rows| compaction::commit_l1(rows, &commit));
        outcome?
    }

    async fn trim_objects(&self, fence: &Fence, below: Vec<LogStart>) -> Result<()> {
        write!(self, fence, |rows| objects::trim(rows, &below))
    }

    async fn mark_dead(&self, fence: &Fence, ids: &[ObjectId]) -> Result<()> {
        write!(self, fence, |rows| objects::mark_dead(rows, ids))
    }

    async fn list_objects(&self, state: ObjectState, limit: usize) -> Result<Vec<ObjectRow>> {
        read!(self, |rows| rows.objects_in_state(state, limit))
    }

    async fn committed_objects(&self) -> Result<Vec<ObjectRow>> {
        let mut rows =
            read!(self, |rows| rows.objects_in_state(ObjectState::Committed, usize::MAX))?;
        rows.sort_by_key(|row| row.id);
        Ok(rows)
    }

    async fn forget_objects(&self, fence: &Fence, ids: &[ObjectId]) -> Result<()> {
        write!(self, fence, |rows| objects::forget(rows, ids))
    }

    async fn allocate_producer_ids(&self, fence: &Fence, count: i64) -> Result<i64> {
        write!(self, fence, |rows| producer_ids::allocate(rows, count))
    }

    async fn put_pointer(&self, fence: &Fence, name: &str, value: Vec<u8>) -> Result<()> {
        write!(self, fence, |rows| rows.put_pointer(name, &value))
    }

    async fn pointer(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read!(self, |rows| rows.pointer(name))
    }

    async fn pointer_names(&self, prefix: &str) -> Result<Vec<String>> {
        read!(self, |rows| rows.pointer_names(prefix))
    }

    async fn delete_pointers(&self, fence: &Fence, names: &[String]) -> Result<()> {
        write!(self, fence, |rows| pointers::delete(rows, names))
    }
}

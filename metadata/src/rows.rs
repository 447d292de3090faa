//! The row primitives of one transaction: all that a back end has to provide.
//!
//! No rule of the store lives behind this trait, only storage: what a row may become is decided
//! in [`crate::operations`], once for all back ends. Reads see the writes before them in the same
//! transaction. Results are sorted as stated, so that nothing depends on a back end's order.

use std::collections::BTreeMap;

use async_trait::async_trait;
use common::{NodeId, ObjectId, PartitionKey, TopicId};

use crate::{
    error::Result,
    model::{Configs, ObjectRow, ObjectState, Partition},
};

/// The store's one row about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterRow {
    pub(crate) cluster_id: String,
    /// The next producer id that was never handed out.
    pub(crate) next_producer_id: i64,
}

/// A topic without its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicRow {
    pub(crate) id: TopicId,
    pub(crate) name: String,
    pub(crate) internal: bool,
    pub(crate) configs: Configs,
    pub(crate) created_ms: i64,
    pub(crate) replication_factor: i16,
}

/// What an L0 commit is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) leader_epoch: i32,
    pub(crate) committed_end_offset: i64,
}

/// Partitions by key.
pub(crate) type Partitions = BTreeMap<PartitionKey, Partition>;

/// One transaction's view of the rows. Dropped without a commit it leaves nothing behind.
#[async_trait]
pub(crate) trait Rows: Send {
    async fn cluster(&mut self) -> Result<Option<ClusterRow>>;
    async fn put_cluster(&mut self, row: &ClusterRow) -> Result<()>;

    /// The session epoch of each node that ever opened a session.
    async fn sessions(&mut self) -> Result<BTreeMap<NodeId, i64>>;
    async fn session_epoch(&mut self, node_id: NodeId) -> Result<Option<i64>>;
    async fn put_session(&mut self, node_id: NodeId, epoch: i64) -> Result<()>;

    /// Ascending by id.
    async fn topics(&mut self) -> Result<Vec<TopicRow>>;
    async fn topic(&mut self, id: TopicId) -> Result<Option<TopicRow>>;
    async fn topic_named(&mut self, name: &str) -> Result<Option<TopicRow>>;
    async fn put_topic(&mut self, row: &TopicRow) -> Result<()>;
    /// Removes the topic and its partitions; leaves objects alone.
    async fn delete_topic(&mut self, id: TopicId) -> Result<()>;

    async fn partitions(&mut self) -> Result<Partitions>;
    async fn partitions_of(&mut self, topic_id: TopicId) -> Result<Partitions>;
    /// Those of `keys` that exist.
    async fn partitions_at(&mut self, keys: &[PartitionKey]) -> Result<Partitions>;
    /// The positions of those of `keys` that exist: a cheaper [`Rows::partitions_at`].
    async fn positions(
        &mut self,
        keys: &[PartitionKey],
    ) -> Result<BTreeMap<PartitionKey, Position>>;
    async fn put_partitions(&mut self, rows: &Partitions) -> Result<()>;
    async fn set_committed_ends(&mut self, ends: &BTreeMap<PartitionKey, i64>) -> Result<()>;
    /// Adds one to the leader epoch of each partition of an owner; returns them, by key.
    async fn bump_leader_epochs(&mut self, owner: NodeId) -> Result<BTreeMap<PartitionKey, i32>>;

    /// Those of `ids` that exist.
    async fn objects_at(&mut self, ids: &[ObjectId]) -> Result<BTreeMap<ObjectId, ObjectRow>>;
    async fn object_id_of_key(&mut self, key: &str) -> Result<Option<ObjectId>>;
    /// Up to `limit` objects in a state, ascending by creation time and id.
    async fn objects_in_state(
        &mut self,
        state: ObjectState,
        limit: usize,
    ) -> Result<Vec<ObjectRow>>;
    /// All objects, ascending by id.
    async fn objects(&mut self) -> Result<Vec<ObjectRow>>;
    /// Objects with an extent of one of the partitions that ends at or below its offset.
    async fn objects_below(
        &mut self,
        offsets: &BTreeMap<PartitionKey, i64>,
    ) -> Result<Vec<ObjectRow>>;
    /// Objects with an extent of the topic.
    async fn objects_of_topic(&mut self, topic_id: TopicId) -> Result<Vec<ObjectRow>>;
    /// Inserts or replaces a row, its extents included.
    async fn put_object(&mut self, row: &ObjectRow) -> Result<()>;
    async fn delete_objects(&mut self, ids: &[ObjectId]) -> Result<()>;

    async fn broker_configs(&mut self) -> Result<BTreeMap<Option<NodeId>, Configs>>;
    async fn put_broker_configs(&mut self, broker: Option<NodeId>, configs: &Configs)
    -> Result<()>;

    async fn group_configs(&mut self) -> Result<BTreeMap<String, Configs>>;
    async fn put_group_configs(&mut self, group_id: &str, configs: &Configs) -> Result<()>;

    async fn pointers(&mut self) -> Result<BTreeMap<String, Vec<u8>>>;
    async fn pointer(&mut self, name: &str) -> Result<Option<Vec<u8>>>;
    async fn put_pointer(&mut self, name: &str, value: &[u8]) -> Result<()>;
    /// Those with a prefix, ascending.
    async fn pointer_names(&mut self, prefix: &str) -> Result<Vec<String>>;
    async fn delete_pointer(&mut self, name: &str) -> Result<()>;
}

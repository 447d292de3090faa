//! The metadata store's trait: the only way to durable state outside the WAL and the objects.
//!
//! Every write is one transaction, conditional on the caller's [`Fence`] and, where it concerns a
//! partition, on the partition's leader epoch; it happens as a whole or not at all, and is durable
//! when it returns. Dropping a call's future leaves its outcome unknown, like
//! [`Error::UnknownOutcome`](crate::Error::UnknownOutcome), but never half done.

use std::{collections::BTreeMap, fmt::Debug};

use async_trait::async_trait;
use common::{LeaderEpoch, NodeId, ObjectId, PartitionKey, TopicId};

use crate::{
    error::Result,
    model::{Fence, Image, ObjectRow, ObjectState, Session, Topic},
    request::{
        ExtentOutcome, L0Commit, L1Commit, LogStart, NewEpochStart, NewObject, NewTopic,
        OpenSession, ReadableEnd,
    },
};

/// Durable metadata. All writes fail with [`Error::Fenced`](crate::Error::Fenced) once a later
/// session of the node was opened.
#[async_trait]
pub trait MetadataStore: Send + Sync + Debug {
    // Sessions and the whole.

    /// Opens the node's session; the sessions before it are fenced. In a new store it also
    /// stores the cluster id and the node id.
    ///
    /// # Errors
    /// [`NodeIdMismatch`](crate::Error::NodeIdMismatch) where the store belongs to another node.
    async fn open_session(&self, request: OpenSession) -> Result<Session>;

    /// Topics and broker configurations at one moment.
    ///
    /// # Errors
    /// [`NotInitialized`](crate::Error::NotInitialized) before the first session.
    async fn load(&self) -> Result<Image>;

    /// Whether the store answers.
    ///
    /// # Errors
    /// Those of the back end.
    async fn ping(&self) -> Result<()>;

    /// Everything in the store at one moment, as a snapshot for [`MetadataStore::import`].
    ///
    /// # Errors
    /// [`NotInitialized`](crate::Error::NotInitialized) before the first session.
    async fn export(&self) -> Result<Vec<u8>>;

    /// Restores a snapshot into an empty store. Sessions of the snapshot's time stay fenced by
    /// the session that is opened next.
    ///
    /// # Errors
    /// [`NotEmpty`](crate::Error::NotEmpty), [`NewerFormat`](crate::Error::NewerFormat), or
    /// [`Corrupt`](crate::Error::Corrupt) where the bytes are no snapshot.
    async fn import(&self, snapshot: &[u8]) -> Result<()>;

    // Topics and configurations.

    /// Creates a topic whose partitions the caller owns from the start, at epoch 0.
    ///
    /// # Errors
    /// [`TopicExists`](crate::Error::TopicExists),
    /// [`TopicIdExists`](crate::Error::TopicIdExists).
    async fn create_topic(&self, fence: &Fence, topic: NewTopic) -> Result<Topic>;

    /// Deletes a topic. Its partitions go; objects lose its extents, and die with their last one.
    /// `note` is the name of an empty value that is stored by the same write, for whoever has to
    /// follow.
    ///
    /// # Errors
    /// [`UnknownTopic`](crate::Error::UnknownTopic).
    async fn delete_topic(&self, fence: &Fence, id: TopicId, note: Option<String>) -> Result<()>;

    /// Adds partitions behind the `expected_count` existing ones; `new` holds their replicas.
    ///
    /// # Errors
    /// [`UnknownTopic`](crate::Error::UnknownTopic),
    /// [`PartitionCountMismatch`](crate::Error::PartitionCountMismatch).
    async fn create_partitions(
        &self,
        fence: &Fence,
        id: TopicId,
        expected_count: i32,
        new: Vec<Vec<i32>>,
    ) -> Result<Topic>;

    /// Replaces a topic's configuration and returns its new version.
    ///
    /// # Errors
    /// [`UnknownTopic`](crate::Error::UnknownTopic),
    /// [`ConfigVersionMismatch`](crate::Error::ConfigVersionMismatch).
    async fn set_topic_configs(
        &self,
        fence: &Fence,
        id: TopicId,
        expected_version: i64,
        configs: BTreeMap<String, String>,
    ) -> Result<i64>;

    /// Replaces the dynamic configuration of one broker, or of all (`None`), and returns its new
    /// version.
    ///
    /// # Errors
    /// [`ConfigVersionMismatch`](crate::Error::ConfigVersionMismatch).
    async fn set_broker_configs(
        &self,
        fence: &Fence,
        broker: Option<NodeId>,
        expected_version: i64,
        configs: BTreeMap<String, String>,
    ) -> Result<i64>;

    /// Replaces the dynamic configuration of one group, which need not exist, and returns its new
    /// version.
    ///
    /// # Errors
    /// [`ConfigVersionMismatch`](crate::Error::ConfigVersionMismatch).
    async fn set_group_configs(
        &self,
        fence: &Fence,
        group_id: &str,
        expected_version: i64,
        configs: BTreeMap<String, String>,
    ) -> Result<i64>;

    // Leases and bounds of partitions.

    /// Bumps the leader epoch of every partition that the caller's node owns, ascending by key.
    ///
    /// # Errors
    /// Those of the back end.
    async fn acquire_partitions(&self, fence: &Fence) -> Result<Vec<(PartitionKey, LeaderEpoch)>>;

    /// Records where current epochs began. As in Kafka's epoch cache, earlier entries that do not
    /// lie below the new one in epoch and offset are dropped.
    ///
    /// # Errors
    /// [`StaleEpoch`](crate::Error::StaleEpoch) where an epoch is not the current one,
    /// [`UnknownPartition`](crate::Error::UnknownPartition); then nothing was recorded.
    async fn record_epoch_starts(&self, fence: &Fence, starts: Vec<NewEpochStart>) -> Result<()>;

    /// Moves log start offsets forward; lower values than the stored ones are ignored.
    ///
    /// # Errors
    /// [`StaleEpoch`](crate::Error::StaleEpoch),
    /// [`UnknownPartition`](crate::Error::UnknownPartition); then none was moved.
    async fn advance_log_start(&self, fence: &Fence, log_starts: Vec<LogStart>) -> Result<()>;

    /// Records up to where partitions' records may be read before an object holds them.
    ///
    /// # Errors
    /// [`StaleEpoch`](crate::Error::StaleEpoch),
    /// [`UnknownPartition`](crate::Error::UnknownPartition),
    /// [`InvalidRequest`](crate::Error::InvalidRequest); then none was changed.
    async fn record_readable_ends(&self, fence: &Fence, ends: Vec<ReadableEnd>) -> Result<()>;

    // Objects.

    /// Makes an object known before it is put, so that none is ever lost track of.
    ///
    /// # Errors
    /// [`ObjectExists`](crate::Error::ObjectExists).
    async fn register_object(&self, fence: &Fence, object: NewObject) -> Result<()>;

    /// Commits a durable L0 object. Each extent is accepted if its leader epoch is the current
    /// one and it begins at the partition's committed end offset; the outcomes are in the order of
    /// the extents. Rejected extents are not stored; an object with none left is dead.
    ///
    /// Repeating a call whose outcome was unknown is safe: extents that the object holds are
    /// reported as committed.
    ///
    /// # Errors
    /// [`UnknownObject`](crate::Error::UnknownObject),
    /// [`ObjectState`](crate::Error::ObjectState) where it is dead.
    async fn commit_l0(&self, fence: &Fence, commit: L0Commit) -> Result<Vec<ExtentOutcome>>;

    /// Replaces a partition's extents with those of new, durable L1 objects. Repeating a call
    /// whose outcome was unknown is safe.
    ///
    /// # Errors
    /// [`Conflict`](crate::Error::Conflict) where an input is no longer there with that very
    /// range, [`StaleEpoch`](crate::Error::StaleEpoch) and
    /// [`UnknownPartition`](crate::Error::UnknownPartition): the outputs are dead then.
    /// [`UnknownObject`](crate::Error::UnknownObject),
    /// [`ObjectState`](crate::Error::ObjectState) and
    /// [`InvalidRequest`](crate::Error::InvalidRequest): nothing was changed.
    async fn commit_l1(&self, fence: &Fence, commit: L1Commit) -> Result<()>;

    /// Drops extents that lie wholly below the given offsets, none of which may lie above the
    /// stored log start offset. Objects die with their last extent. One call for many partitions
    /// costs about as much as for one.
    ///
    /// # Errors
    /// [`StaleEpoch`](crate::Error::StaleEpoch),
    /// [`UnknownPartition`](crate::Error::UnknownPartition),
    /// [`InvalidRequest`](crate::Error::InvalidRequest); then none was dropped.
    async fn trim_objects(&self, fence: &Fence, below: Vec<LogStart>) -> Result<()>;

    /// Declares registered objects dead. Dead and unknown ones are left as they are.
    ///
    /// # Errors
    /// [`ObjectState`](crate::Error::ObjectState) where one is committed; then none was changed.
    async fn mark_dead(&self, fence: &Fence, ids: &[ObjectId]) -> Result<()>;

    /// Up to `limit` objects in a state, the oldest first.
    ///
    /// # Errors
    /// Those of the back end.
    async fn list_objects(&self, state: ObjectState, limit: usize) -> Result<Vec<ObjectRow>>;

    /// All committed objects, ascending by id.
    ///
    /// # Errors
    /// Those of the back end.
    async fn committed_objects(&self) -> Result<Vec<ObjectRow>>;

    /// Forgets dead objects, which no longer exist in the object store. Unknown ones are ignored.
    ///
    /// # Errors
    /// [`ObjectState`](crate::Error::ObjectState) where one is not dead; then none is forgotten.
    async fn forget_objects(&self, fence: &Fence, ids: &[ObjectId]) -> Result<()>;

    // Producer ids and pointers.

    /// Reserves `count` producer ids that are never handed out again; returns the first.
    ///
    /// # Errors
    /// [`InvalidRequest`](crate::Error::InvalidRequest) unless `count` is positive,
    /// [`ProducerIdsExhausted`](crate::Error::ProducerIdsExhausted).
    async fn allocate_producer_ids(&self, fence: &Fence, count: i64) -> Result<i64>;

    /// Stores a small named value, such as where the latest snapshot lies.
    ///
    /// # Errors
    /// Those of the back end.
    async fn put_pointer(&self, fence: &Fence, name: &str, value: Vec<u8>) -> Result<()>;

    /// Reads a named value.
    ///
    /// # Errors
    /// Those of the back end.
    async fn pointer(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// The names of all values that begin with `prefix`, in their order.
    ///
    /// # Errors
    /// Those of the back end.
    async fn pointer_names(&self, prefix: &str) -> Result<Vec<String>>;

    /// Forgets named values. Unknown ones are ignored.
    ///
    /// # Errors
    /// Those of the back end.
    async fn delete_pointers(&self, fence: &Fence, names: &[String]) -> Result<()>;
}

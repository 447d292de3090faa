//! Why a metadata operation failed, with what a reader of the log needs to act on it.
//!
//! Three kinds are kept visibly apart: a *definite* refusal (nothing was changed), a *retriable*
//! one (nothing was changed, the very same call may succeed later) and an *unknown outcome* (the
//! change may or may not be durable; the caller reads before it decides).

use common::{NodeId, ObjectId, PartitionKey, TopicId};

use crate::model::ObjectState;

/// The result of a metadata operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a metadata operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The session was superseded: another process opened the store as this node.
    #[error("session {held} of node {node_id} is fenced, the current session is {current:?}")]
    Fenced {
        /// The node whose session it was.
        node_id: NodeId,
        /// The session epoch that the caller holds.
        held: i64,
        /// The session epoch in the store; `None` where the node never opened a session.
        current: Option<i64>,
    },
    /// The store belongs to another node.
    #[error(
        "node.id is {requested}, but this metadata store was created by node {stored}: \
         start with node.id={stored}, or use another data directory"
    )]
    NodeIdMismatch {
        /// The node id that the store was created with.
        stored: NodeId,
        /// The node id that was asked for.
        requested: NodeId,
    },
    /// A newer release wrote the store, in a format that this one cannot read.
    #[error(
        "metadata format {found} was written by a newer release, this one reads up to {supported}"
    )]
    NewerFormat {
        /// The format version, or the first unknown incompatible feature, that was found.
        found: String,
        /// What this release supports.
        supported: String,
    },
    /// A topic of that name exists.
    #[error("topic {name} already exists as {id}")]
    TopicExists {
        /// The name.
        name: String,
        /// The id of the topic that has it.
        id: TopicId,
    },
    /// A topic of that id exists.
    #[error("topic id {id} is already in use by topic {name}")]
    TopicIdExists {
        /// The id.
        id: TopicId,
        /// The name of the topic that has it.
        name: String,
    },
    /// There is no topic of that id.
    #[error("unknown topic id {id}")]
    UnknownTopic {
        /// The id.
        id: TopicId,
    },
    /// There is no such partition: its topic was deleted, or the index is out of range.
    #[error("unknown partition {key}")]
    UnknownPartition {
        /// The partition.
        key: PartitionKey,
    },
    /// The topic has another number of partitions than the caller believed.
    #[error("topic {topic_id} has {found} partitions, not {expected}")]
    PartitionCountMismatch {
        /// The topic.
        topic_id: TopicId,
        /// What the caller believed.
        expected: i32,
        /// What the store has.
        found: i32,
    },
    /// The configuration was changed since the caller read it.
    #[error("the configuration of {entity} is at version {found}, not {expected}")]
    ConfigVersionMismatch {
        /// `topic NAME`, `broker ID` or `brokers`.
        entity: String,
        /// What the caller believed.
        expected: i64,
        /// What the store has.
        found: i64,
    },
    /// The caller no longer owns the partition, or owns it under a newer epoch.
    #[error("leader epoch {requested} of partition {key} is stale, the current one is {current}")]
    StaleEpoch {
        /// The partition.
        key: PartitionKey,
        /// The leader epoch that the caller holds.
        requested: i32,
        /// The leader epoch in the store.
        current: i32,
    },
    /// An object of that id or key exists (in whatever state).
    #[error("object {id} or key {key} is already registered")]
    ObjectExists {
        /// The id.
        id: ObjectId,
        /// The key in the object store.
        key: String,
    },
    /// There is no object of that id.
    #[error("unknown object {id}")]
    UnknownObject {
        /// The id.
        id: ObjectId,
    },
    /// The object is not in the state that the operation starts from.
    #[error("object {id} is {found}, not {expected}")]
    ObjectState {
        /// The id.
        id: ObjectId,
        /// The state that the operation needs.
        expected: ObjectState,
        /// The state that was found.
        found: ObjectState,
    },
    /// A compaction's input is gone or has changed; its outputs are dead now.
    #[error(
        "object {object} no longer holds offsets {base_offset}..{end_offset} of partition {key}"
    )]
    Conflict {
        /// The partition.
        key: PartitionKey,
        /// The first input that did not match.
        object: ObjectId,
        /// Its expected first offset.
        base_offset: i64,
        /// Its expected end offset, exclusive.
        end_offset: i64,
    },
    /// The request contradicts itself or the store's invariants: a bug of the caller.
    #[error("invalid metadata request: {0}")]
    InvalidRequest(String),
    /// No producer ids are left.
    #[error("producer ids are exhausted: {requested} more were asked for at {next}")]
    ProducerIdsExhausted {
        /// The next id that is free.
        next: i64,
        /// How many were asked for.
        requested: i64,
    },
    /// A snapshot is restored only into an empty store.
    #[error("the metadata store is not empty, it belongs to cluster {cluster_id}")]
    NotEmpty {
        /// The cluster that it belongs to.
        cluster_id: String,
    },
    /// The store has no cluster yet: open a session first.
    #[error("the metadata store is not initialized")]
    NotInitialized,
    /// The disk below the store is full. Nothing was changed.
    #[error("no space is left for metadata: {0}")]
    StorageFull(String),
    /// Another process holds the store's lock. Nothing was changed.
    #[error("the metadata store is busy: {0}")]
    Busy(String),
    /// The store failed while it committed: the change may or may not be durable.
    #[error("the outcome of a metadata change is unknown: {0}")]
    UnknownOutcome(String),
    /// What is stored cannot be what was written.
    #[error("metadata is corrupt: {0}")]
    Corrupt(String),
    /// The store failed before it committed. Nothing was changed.
    #[error("metadata i/o failed: {0}")]
    Io(String),
}

impl Error {
    /// Whether the very same call may succeed later, nothing having been changed by this one.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::StorageFull(_))
    }

    /// Whether the change may have happened in spite of the error.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::UnknownOutcome(_))
    }

    /// Whether this process has lost the store to another one and must stop.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }
}

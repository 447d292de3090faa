//! What is asked of the metadata store: the arguments of its writes and the outcomes per extent.
//!
//! Units are those of [`crate::model`].

use std::collections::BTreeMap;

use common::{NodeId, ObjectId, PartitionKey, TopicId};

use crate::model::{Extent, ObjectLevel, WalRange};

/// Opens a session and fences the ones before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// The configured `node.id`; `None` takes the stored one, or 1 in a new store.
    pub node_id: Option<NodeId>,
    /// The cluster id that a new store gets (see [`crate::cluster_id`]).
    pub cluster_id_if_new: String,
}

/// A topic to create. Its partitions begin at offset 0, owned by the caller, at epoch 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its id, freshly drawn.
    pub id: TopicId,
    /// Its name; the caller has checked Kafka's rules.
    pub name: String,
    /// Whether it belongs to the broker.
    pub internal: bool,
    /// Its configuration.
    pub configs: BTreeMap<String, String>,
    /// The replication factor to remember.
    pub replication_factor: i16,
    /// When it was created.
    pub created_ms: i64,
    /// The replicas to remember, per partition; its length is the number of partitions.
    pub partitions: Vec<Vec<i32>>,
}

/// The first offset of a partition's current epoch, known once its log is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewEpochStart {
    /// The partition.
    pub key: PartitionKey,
    /// The current leader epoch.
    pub epoch: i32,
    /// The log end offset when it began.
    pub start_offset: i64,
}

/// A partition's log start offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStart {
    /// The partition.
    pub key: PartitionKey,
    /// The current leader epoch, as proof of ownership.
    pub leader_epoch: i32,
    /// The first offset to keep.
    pub log_start_offset: i64,
}

/// Up to where a partition's records may be read before an object holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadableEnd {
    /// The partition.
    pub key: PartitionKey,
    /// The current leader epoch, as proof of ownership.
    pub leader_epoch: i32,
    /// As [`crate::Partition::readable_end_offset`].
    pub readable_end_offset: Option<i64>,
}

/// An object that is about to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewObject {
    /// Its id, freshly drawn.
    pub id: ObjectId,
    /// Its key in the object store.
    pub key: String,
    /// Its kind.
    pub level: ObjectLevel,
    /// When it was registered.
    pub created_ms: i64,
    /// The WAL range that it is made of, for L0 objects.
    pub origin: Option<WalRange>,
}

/// An L0 object that was put and is durable, with its extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L0Commit {
    /// The registered object.
    pub id: ObjectId,
    /// Its size.
    pub size: u64,
    /// Where its footer begins.
    pub footer_position: u64,
    /// Its extents. A partition may appear more than once, in order of its offsets.
    pub extents: Vec<Extent>,
}

/// What became of one extent of an L0 commit; a partition that was lost fails alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentOutcome {
    /// It is part of the log now.
    Committed,
    /// The partition is owned under another epoch.
    StaleEpoch {
        /// The leader epoch in the store.
        current: i32,
    },
    /// It would leave a gap or an overlap.
    OffsetMismatch {
        /// The committed end offset in the store, where an extent would have to begin.
        expected: i64,
    },
    /// The partition does not exist (any more).
    UnknownPartition,
}

impl ExtentOutcome {
    /// Whether the extent is part of the log now.
    #[must_use]
    pub fn is_committed(self) -> bool {
        matches!(self, Self::Committed)
    }
}

/// A range of a partition in an object that a compaction read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct L1Input {
    /// The object, of either level.
    pub id: ObjectId,
    /// The extent's first offset.
    pub base_offset: i64,
    /// The extent's end offset, exclusive.
    pub end_offset: i64,
}

/// An L1 object that a compaction put and that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct L1Output {
    /// The registered object.
    pub id: ObjectId,
    /// Its size.
    pub size: u64,
    /// Where its footer begins.
    pub footer_position: u64,
    /// Its only extent.
    pub extent: Extent,
}

/// Replaces a partition's extents with new L1 objects.
///
/// Inputs and outputs are each contiguous and ascending, and the outputs cover what the inputs
/// covered, except for what lies below the log start offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L1Commit {
    /// The partition.
    pub key: PartitionKey,
    /// The current leader epoch, as proof of ownership.
    pub leader_epoch: i32,
    /// What was read.
    pub inputs: Vec<L1Input>,
    /// What was written.
    pub outputs: Vec<L1Output>,
}

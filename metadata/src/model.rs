//! The rows of the metadata store as types: what is read from it.
//!
//! Offsets are `i64` and an `end_offset` is exclusive; sizes and positions are bytes; times are
//! milliseconds since the Unix epoch. What is written to the store is in [`crate::request`].

use std::{collections::BTreeMap, fmt};

use common::{NodeId, ObjectId, PartitionKey, TopicId};

/// The node id of a store whose first session asked for none.
pub const NODE_ID_DEFAULT: NodeId = NodeId(1);

/// What proves that a writer is the one current session of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The node.
    pub node_id: NodeId,
    /// Its session: each `open_session` makes it larger and fences all before it.
    pub session_epoch: i64,
}

/// An opened session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The cluster that the store belongs to: 22 characters of URL-safe base64, as Kafka's.
    pub cluster_id: String,
    /// The node that the session belongs to.
    pub node_id: NodeId,
    /// What every write of this session carries.
    pub fence: Fence,
}

/// A topic with its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its identity, which a topic that is created again under the same name does not share.
    pub id: TopicId,
    /// Its name, unique among existing topics.
    pub name: String,
    /// Whether it belongs to the broker (`__consumer_offsets`, …).
    pub internal: bool,
    /// The configuration set on the topic itself; Kafka's keys.
    pub configs: BTreeMap<String, String>,
    /// Grows with each change of `configs`; 0 at creation.
    pub config_version: i64,
    /// When it was created.
    pub created_ms: i64,
    /// The replication factor that was asked for; stored, never acted on (design D14).
    pub replication_factor: i16,
    /// Its partitions, in order of their index, without a hole.
    pub partitions: Vec<Partition>,
}

/// A partition: its lease and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The index, from 0.
    pub partition: i32,
    /// The replicas that were asked for; stored, never acted on.
    pub replicas: Vec<i32>,
    /// The broker that holds the lease.
    pub owner: NodeId,
    /// The lease's epoch: grows at each start of the owner and at each take-over.
    pub leader_epoch: i32,
    /// Where each epoch began; ascending in epoch and in offset (KIP-101, KIP-279).
    pub epoch_starts: Vec<EpochStart>,
    /// The first offset that may be read; never moves back.
    pub log_start_offset: i64,
    /// The end of what L0 commits have taken over, exclusive; the next extent begins here.
    pub committed_end_offset: i64,
    /// Below it a record may be read as soon as the owner's WAL has synced it, from it on only
    /// once an object holds it; `None` where the former holds for all records.
    pub readable_end_offset: Option<i64>,
}

/// The first offset that was written under a leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader epoch.
    pub epoch: i32,
    /// The log end offset when it began.
    pub start_offset: i64,
}

/// A partition's run of records in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The partition.
    pub key: PartitionKey,
    /// The leader epoch *under which the extent was committed*. After a restart it is newer than
    /// the one in the batches that the owner found in its WAL.
    pub leader_epoch: i32,
    /// The first offset.
    pub base_offset: i64,
    /// The offset after the last, exclusive.
    pub end_offset: i64,
    /// How many bytes of record batches it holds.
    pub bytes: u64,
    /// Where in the object its first batch begins.
    pub first_position: u64,
    /// The smallest record timestamp, or -1 where none has one.
    pub min_timestamp: i64,
    /// The largest record timestamp, or -1 where none has one.
    pub max_timestamp: i64,
}

/// What kind of object a row describes (design D4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectLevel {
    /// A range of WAL blocks of many partitions.
    L0,
    /// Contiguous batches of one partition.
    L1,
}

/// An object's life: registered → committed → dead, or registered → dead; forgotten when dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectState {
    /// It may exist in the object store, partly or as a whole; nothing refers to it.
    Registered,
    /// It exists as a whole and its extents are read.
    Committed,
    /// Nothing refers to it any more; it may be deleted.
    Dead,
}

impl fmt::Display for ObjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registered => "registered",
            Self::Committed => "committed",
            Self::Dead => "dead",
        })
    }
}

/// The part of a WAL file that an L0 object was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalRange {
    /// The WAL file.
    pub file_id: u64,
    /// The first byte.
    pub from: u64,
    /// The byte after the last, exclusive.
    pub to: u64,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// Its identity; never used twice.
    pub id: ObjectId,
    /// Its key in the object store.
    pub key: String,
    /// Its kind.
    pub level: ObjectLevel,
    /// Where in its life it is.
    pub state: ObjectState,
    /// Its size; 0 until it is committed.
    pub size: u64,
    /// Where its footer begins; 0 until it is committed.
    pub footer_position: u64,
    /// When it was registered.
    pub created_ms: i64,
    /// The WAL range that it was made of, for L0 objects.
    pub origin: Option<WalRange>,
    /// The extents that are still referred to, ascending by partition and offset; none unless it
    /// is committed.
    pub extents: Vec<Extent>,
}

/// A versioned set of configuration values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configs {
    /// Grows with each change; 0 where nothing was ever set.
    pub version: i64,
    /// Kafka's keys and the values as text.
    pub values: BTreeMap<String, String>,
}

/// Topics and broker configurations at one moment. Objects are read separately.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The cluster that the store belongs to.
    pub cluster_id: String,
    /// Topics, ascending by name.
    pub topics: Vec<Topic>,
    /// Dynamic broker configurations: per broker, and for all brokers under `None`.
    pub broker_configs: BTreeMap<Option<NodeId>, Configs>,
    /// Dynamic configurations of groups, by group id.
    pub group_configs: BTreeMap<String, Configs>,
}

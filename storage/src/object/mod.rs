//! Objects: immutable runs of the log in an object store, and how they are built and read.
//!
//! ```text
//!  WAL file ─ sealed / flushed ─▶ L0: blocks of all partitions + footer ─┐
//!                                      │ compaction                      ├─▶ ObjectReader
//!                                      ▼                                 │
//!                                 L1: batches of one partition + footer ─┘
//! ```
//!
//! Invariants: an object's bytes never change; its id is never used twice; what a reader returns
//! was verified against a checksum that the writer computed (LOG-6); damage is an error that names
//! object, position and partition, never a gap. The format is `docs/rfcs/0005-objects.md`.

mod builder;
mod codec;
mod error;
mod fetch;
mod format;
mod index;
mod reader;
mod slices;
#[cfg(test)]
pub(crate) mod testing;
mod walk;

use std::{fmt, sync::Arc};

use common::{ObjectId, PartitionKey};
use metadata::{Extent, ObjectLevel, ObjectRow, WalRange};

pub use self::{
    builder::{BatchesBuilder, KnownTransactions, build_blocks_footer},
    error::{Error, FormatError, Result},
    format::{
        AbortedUpdate, Footer, IndexEntry, Layout, Origin, PartitionFooter, ProducerBatch,
        ProducerUpdate, TRAILER_BYTES, Trailer, VERSION,
    },
    index::ProducerTracker,
    reader::{ColdRead, ObjectReader, ReaderOptions},
};
pub(crate) use self::{
    slices::{Form, SLICE_BYTES_MIN},
    walk::Wanted,
};
use crate::compaction::CleaningPolicy;
pub use crate::object_store::{ObjectStorage, StorageOptions};
/// An aborted transaction.
pub use crate::txn_index::AbortedTransaction as AbortedRange;

/// A committed object, as its readers refer to it. Its footer is read on first use and cached by
/// the [`ObjectReader`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Its identity; never used twice.
    pub id: ObjectId,
    /// Its key in the object store.
    pub key: String,
    /// Its kind.
    pub level: ObjectLevel,
    /// Its size, bytes.
    pub size: u64,
    /// Where its footer begins.
    pub footer_position: u64,
    /// The WAL range that it was made of, for L0 objects.
    pub origin: Option<WalRange>,
}

impl ObjectRef {
    /// The reference for a committed row.
    #[must_use]
    pub fn from_row(row: &ObjectRow) -> Self {
        Self {
            id: row.id,
            key: row.key.clone(),
            level: row.level,
            size: row.size,
            footer_position: row.footer_position,
            origin: row.origin,
        }
    }
}

/// The partition, as uploader and compactor see it. Called with no lock of theirs held.
pub trait ExtentTarget: Send + Sync {
    /// The partition.
    fn key(&self) -> PartitionKey;

    /// The extent is durable in the object and in metadata: runs below its end may be forgotten,
    /// and the high watermark of the object class moves. Called in offset order.
    fn committed(&self, object: &Arc<ObjectRef>, extent: &Extent);

    /// Whether it takes nothing any more: its topic was deleted, or an extent was refused before.
    fn is_closed(&self) -> bool;

    /// The metadata store refused the extent: the partition has another owner.
    fn rejected(&self, extent: &Extent);

    /// Compaction replaced the partition's extents in `inputs` by `outputs`.
    fn replaced(&self, inputs: &[ObjectId], outputs: &[(Arc<ObjectRef>, Extent)]);

    /// Its committed extents, ascending by offset.
    fn extents(&self) -> Vec<(Arc<ObjectRef>, Extent)>;

    /// First offset that may be read.
    fn log_start_offset(&self) -> i64;

    /// The last stable offset: compaction stops there.
    fn last_stable_offset(&self) -> i64;

    /// The offset from which compaction by key leaves records alone, as a reader outside of the
    /// log still needs them.
    fn held_offset(&self, now_ms: i64) -> i64;

    /// The epoch of this broker's lease.
    fn leader_epoch(&self) -> i32;

    /// How its topic is compacted by key, if it is.
    fn cleaning(&self) -> Option<CleaningPolicy>;

    /// The aborted transactions that overlap `[from_offset, end_offset)`, in the order of their
    /// markers. Complete below the last stable offset.
    fn aborted_transactions(&self, from_offset: i64, end_offset: i64) -> Vec<AbortedRange>;

    /// Whether the producer's state is kept: it was not idle for `producer.id.expiration.ms`.
    fn knows_producer(&self, producer_id: i64) -> bool;

    /// Compaction by key has removed every batch of these aborted transactions.
    fn forget_aborted(&self, forgotten: &[AbortedRange]);
}

impl fmt::Debug for dyn ExtentTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtentTarget({})", self.key())
    }
}

/// The partitions of this broker.
pub trait Partitions: Send + Sync {
    /// The partition, unless it is not (or no longer) served here.
    fn target(&self, key: &PartitionKey) -> Option<Arc<dyn ExtentTarget>>;

    /// All partitions, ascending by key.
    fn all(&self) -> Vec<Arc<dyn ExtentTarget>>;

    /// A WAL file of which every batch was read and checked became this object, as it stands.
    fn adopted(&self, _id: ObjectId) {}
}

#[cfg(test)]
mod tests;

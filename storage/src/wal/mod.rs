//! The write-ahead log: one sequence of preallocated files per broker, shared by all partitions.
//!
//! ```text
//!  partition ── enqueue ──▶ queue ──▶ writer ── one write, one sync ──▶ wal-%016x.log
//!      ▲  (under its lock)             │ │                                  ▲
//!      └──── synced / rolled_back ─────┘ └── WalEvent ──▶ uploader     preparer (works ahead)
//! ```
//!
//! Invariants: nothing is reported as synced before its bytes are; what is acknowledged is a prefix
//! of what was enqueued, per partition and in all; blocks are numbered without a gap across files;
//! a file holds bytes only if the file before it was sealed and synced.
//! Locks: partition, then queue. The writer calls targets with no lock of its own held.
//!
//! The bytes on disk are described in `docs/rfcs/0003-wal.md`.

pub mod block;
mod completion;
mod current;
mod direct;
pub mod durable;
mod files;
pub mod fs;
mod handle;
pub mod head;
mod os_fs;
mod plan;
mod prepare;
mod queue;
mod recovery;
pub mod scan;
mod sequential;
pub mod sim_fs;
mod start;
mod writer;
mod zero;

use std::{fmt, io, os::fd::BorrowedFd, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use common::PartitionKey;
use protocol::{Source, records::BatchHeader};

use self::direct::AlignedBuffer;
pub use self::{
    completion::{Completion, CompletionWaiter},
    fs::{AtOnce, FileName, Pace, WalFile, WalFs, WalRead},
    handle::WalHandle,
    os_fs::OsWalFs,
    queue::AdmitPermit,
    recovery::{Recovered, RecoveredFile, recover},
    scan::{BlockScanner, BlockSource, ScanError, ScannedBlock},
    sequential::SequentialReader,
    sim_fs::SimWalFs,
    start::{WalDeps, start},
};

/// One whole, validated batch on its way into the log.
#[derive(Debug)]
pub struct WalAppend {
    /// Whom to tell when they are synced or taken back.
    pub target: Arc<dyn AppendTarget>,
    /// Leader epoch to stamp into the batch.
    pub leader_epoch: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// The batch; the base offset in it is the client's.
    pub records: Bytes,
    /// The header of `records`.
    pub header: BatchHeader,
    /// LogAppendTime to stamp into the batch, milliseconds; `None` keeps CreateTime.
    pub log_append_time: Option<i64>,
    /// Whether the topic's durability class is `object` (passed on to the uploader).
    pub object_class: bool,
    /// Resolved when the batch is written, then when it is synced, or with an error; `None` where
    /// nobody waits for the append alone.
    pub completion: Option<Completion>,
}

impl WalAppend {
    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.header.last_offset_delta))
    }
}

/// The partition, as the WAL sees it. Called by the writer with no WAL lock held.
pub trait AppendTarget: Send + Sync {
    /// The partition's identity in block directories.
    fn key(&self) -> PartitionKey;

    /// The topic's name, for messages only.
    fn topic_name(&self) -> String;

    /// These runs are on disk. Called in the order of the log, before the appends' completions
    /// say `synced`.
    fn synced(&self, runs: Vec<Run>);

    /// All that this target has enqueued and that was not reported as synced is gone: its tentative
    /// state goes back to the last synced one. Enqueues are refused until every target was told.
    fn rolled_back(&self);
}

impl fmt::Debug for dyn AppendTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendTarget({})", self.key())
    }
}

/// Contiguous whole batches of one partition in one block: at most 1 MiB, unless one batch is
/// larger.
#[derive(Debug, Clone)]
pub struct Run {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Largest timestamp, milliseconds.
    pub max_timestamp: i64,
    /// Leader epoch of every batch.
    pub leader_epoch: i32,
    /// The file that holds the bytes.
    pub file: Arc<WalFileRef>,
    /// Position of the first batch's first byte in the file.
    pub position: u64,
    /// Bytes of the batches.
    pub len: u32,
    /// The batches in memory, a slice of an arena, while somebody keeps it.
    pub data: Option<Bytes>,
}

/// A WAL file to read from. The descriptor stays open, so it is readable after a rename or unlink.
pub struct WalFileRef {
    /// The file's number: increasing, never used twice.
    pub id: u64,
    /// The random number that its header and each of its blocks carry.
    pub nonce: u64,
    reader: Arc<dyn WalRead>,
}

#[allow(clippy::len_without_is_empty, reason = "the length of a file is asked of the system")]
impl WalFileRef {
    /// A reference to the file `id` behind `reader`.
    #[must_use]
    pub fn new(id: u64, nonce: u64, reader: Arc<dyn WalRead>) -> Self {
        Self { id, nonce, reader }
    }

    pub(crate) fn reader(&self) -> Arc<dyn WalRead> {
        Arc::clone(&self.reader)
    }

    /// The file's name in the WAL directory (while it is there).
    #[must_use]
    pub fn name(&self) -> String {
        FileName::log(self.id)
    }

    /// Reads exactly `len` bytes at `position`. A blocking `pread`: go through
    /// [`common::spawn::Spawner::blocking`] for large reads.
    ///
    /// # Errors
    /// The system's, and `UnexpectedEof` past the end.
    pub fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.reader.read_at(position, len)
    }

    /// The same past the page cache, where that is possible: for bytes that nobody reads again soon.
    ///
    /// # Errors
    /// As [`WalFileRef::read_at`].
    pub fn read_once(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = AlignedBuffer::default();
        self.reader.read_once(position, buffer.get(len))?;
        Ok(buffer.into_bytes(len))
    }

    /// Reads the file up to `end` from front to back, for a reader that comes only once. Each read
    /// blocks.
    #[must_use]
    pub fn sequential(&self, end: u64) -> SequentialReader {
        SequentialReader::new(self.reader(), end)
    }

    /// Bytes of the file now.
    ///
    /// # Errors
    /// The system's.
    pub fn len(&self) -> io::Result<u64> {
        self.reader.len()
    }
}

/// Synced runs never change, and the file stays readable while somebody refers to it.
impl Source for WalFileRef {
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.reader.read_at(position, len)
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.reader.file()
    }
}

impl fmt::Debug for WalFileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalFileRef({})", self.name())
    }
}

/// What the uploader is told, in order. The channel is bounded by the WAL's own limit.
#[derive(Debug, Clone)]
pub enum WalEvent {
    /// The blocks in `[from, to)` are synced.
    Synced {
        /// The file.
        file: Arc<WalFileRef>,
        /// Position of the first block.
        from: u64,
        /// Position after the last block, a multiple of 4 KiB.
        to: u64,
        /// Whether any of their batches is of the `object` class.
        object_class: bool,
    },
    /// The file is complete, cut to `end` bytes, synced, and never written by the WAL again.
    Sealed {
        /// The file.
        file: Arc<WalFileRef>,
        /// Its length, and where a footer may go.
        end: u64,
    },
}

/// A position in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalPosition {
    /// The file's number.
    pub file_id: u64,
    /// Position after the last synced block.
    pub end: u64,
}

/// Why the WAL does not take or did not keep an append.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WalError {
    /// A write failed; what was not synced is being taken back. Retriable at once.
    #[error("the log is rolling back after a failed write")]
    RollingBack,
    /// The queue's bound is reached (call `admit` first). Retriable.
    #[error("the log's queue is full")]
    Full,
    /// No next file: the disk is full. Retriable; recovers by itself.
    #[error("no space left for the next log file")]
    NoSpace,
    /// The write failed and was taken back. Retriable.
    #[error("log write failed: {0}")]
    Io(Arc<io::Error>),
    /// The append is larger than a block can be.
    #[error("append of {bytes} bytes exceeds the block limit")]
    TooLarge {
        /// Bytes of the append.
        bytes: usize,
    },
    /// The bytes are no whole batch, or do not match their header.
    #[error("append is not one whole batch: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The log is shut down, or stopped by a failed sync. The outcome is unknown if the append was
    /// accepted before.
    #[error("the log is closed")]
    Closed,
}

/// The knobs of a WAL.
#[derive(Debug, Clone)]
pub struct WalOptions {
    /// Capacity of a file, bytes.
    pub file_bytes: u64,
    /// Capacity of the first file after a start, bytes: small, so that a start is quick.
    pub first_file_bytes: u64,
    /// Bound of all files not yet released, bytes.
    pub max_bytes: u64,
    /// Payload bytes gathered into one block, unless a single append is larger.
    pub block_bytes: usize,
    /// Bound of the queue, bytes.
    pub queue_bytes: usize,
    /// Idle time after which a synced commit marker is written.
    pub marker_idle: Duration,
    /// Least time between two such markers, so that a trickle does not pay two syncs a request.
    pub marker_interval: Duration,
    /// Pause before a failed preparation or seal is tried again.
    pub retry_interval: Duration,
    /// Free space that a new file must leave on the disk, bytes.
    pub reserve_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            first_file_bytes: 8 << 20,
            max_bytes: 4 << 30,
            block_bytes: 4 << 20,
            queue_bytes: 64 << 20,
            marker_idle: Duration::from_millis(5),
            marker_interval: Duration::from_millis(100),
            retry_interval: Duration::from_secs(1),
            reserve_bytes: 0,
        }
    }
}

/// What recovery hands over, and asks.
#[async_trait]
pub trait RecoverySink: Send {
    /// The next block of the log, whole and verified. `run.data` is set: keep it or drop it.
    ///
    /// # Errors
    /// Stops the recovery with that error.
    async fn block(
        &mut self,
        file: &Arc<WalFileRef>,
        block: RecoveredBlock,
    ) -> Result<(), RecoverError>;

    /// `[from, to)` of a file is damaged though it was synced. The same bytes from an uploaded
    /// object, if there is one; they are verified, written back and synced.
    async fn repair(&mut self, file_id: u64, from: u64, to: u64) -> Option<Bytes> {
        let _ = (file_id, from, to);
        None
    }

    /// Blocks are missing before the file `before`, and files with an id in `missing` are not in
    /// the directory. Whether those files were released (all of them is in committed objects).
    async fn released(&mut self, missing: std::ops::Range<u64>) -> bool {
        let _ = missing;
        false
    }
}

/// One block of the log, as recovery found it.
#[derive(Debug)]
pub struct RecoveredBlock {
    /// Its number.
    pub sequence: u64,
    /// Its position in the file.
    pub position: u64,
    /// Position after its padding.
    pub end: u64,
    /// Per run, its partition and the batches.
    pub runs: Vec<RecoveredRun>,
}

/// A run of a recovered block.
#[derive(Debug)]
pub struct RecoveredRun {
    /// The partition.
    pub key: PartitionKey,
    /// The run, with its bytes.
    pub run: Run,
    /// The headers of its batches, in order.
    pub batches: Vec<BatchHeader>,
}

/// Why a log cannot be recovered. Each is for a human: the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The file system failed.
    #[error("{action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file's name.
        file: String,
        /// The system's error.
        source: io::Error,
    },
    /// Bytes that were synced have changed or gone.
    #[error("{0}")]
    Damage(Box<Damage>),
    /// The file needs a newer version.
    #[error("{file} has version {version} with incompatible features {features:#x}")]
    Unsupported {
        /// The file's name.
        file: String,
        /// Its version.
        version: u16,
        /// Its incompatible feature bits.
        features: u32,
    },
    /// The sink refused a block.
    #[error("recovered block refused: {0}")]
    Refused(String),
}

/// Damage inside the synced part of the log.
#[derive(Debug, Clone)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// First damaged position.
    pub from: u64,
    /// Position of the next whole block, or the end of the file.
    pub to: u64,
    /// The number of the block that should be there.
    pub sequence: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Partitions and offset ranges in the damaged block, if its directory is readable.
    pub extents: Vec<DamagedExtent>,
}

/// A partition's share of a damaged block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedExtent {
    /// The partition.
    pub key: PartitionKey,
    /// First offset.
    pub base_offset: i64,
    /// Last offset.
    pub last_offset: i64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "damage in the synced part of {}, bytes {} to {} (block {}): {}",
            self.file, self.from, self.to, self.sequence, self.reason
        )?;
        for extent in &self.extents {
            let DamagedExtent { key, base_offset, last_offset } = extent;
            write!(f, "; partition {key} offsets {base_offset} to {last_offset}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! What can go wrong in the log, by who has to act: the client (refusals), the operator (storage
//! failures, damage), or nobody (retriable states).

use common::ProducerId;

use crate::{
    partition::Closed,
    producer_state::SequenceError,
    wal::{RecoverError, WalError},
};

/// Why an append was refused or taken back. Nothing of it is readable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The idempotent producer's sequence or epoch does not fit.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The batch does not fit the state of its producer's transaction (INVALID_TXN_STATE).
    #[error("producer {producer_id}: {reason}")]
    InvalidTxnState {
        /// The producer.
        producer_id: ProducerId,
        /// What does not fit.
        reason: &'static str,
    },
    /// A newer coordinator has written a marker here (TRANSACTION_COORDINATOR_FENCED).
    #[error(
        "coordinator epoch {epoch} for producer {producer_id}, the partition has seen {current}"
    )]
    CoordinatorFenced {
        /// The producer.
        producer_id: ProducerId,
        /// The marker's coordinator epoch.
        epoch: i32,
        /// The partition's.
        current: i32,
    },
    /// The log does not end where a coordinator believes: something was taken back meanwhile.
    #[error("the log ends at offset {actual}, not at {expected}")]
    Moved {
        /// Where it should end.
        expected: i64,
        /// Where it ends.
        actual: i64,
    },
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Deleted,
    /// Another broker owns the partition now.
    #[error("another broker owns the partition")]
    Fenced,
    /// A write failed and everything behind it was taken back (KAFKA_STORAGE_ERROR).
    #[error("the write failed and was taken back")]
    RolledBack,
    /// The WAL cannot take the append now (KAFKA_STORAGE_ERROR).
    #[error("the write-ahead log refused the append: {0}")]
    Wal(String),
    /// The broker is shutting down.
    #[error("the log is closed")]
    Closed,
}

impl From<Closed> for AppendError {
    fn from(reason: Closed) -> Self {
        match reason {
            Closed::Deleted => Self::Deleted,
            Closed::Fenced => Self::Fenced,
        }
    }
}

impl From<WalError> for AppendError {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Closed => Self::Closed,
            other => Self::Wal(other.to_string()),
        }
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log start or above the log end.
    #[error("offset {offset} is outside [{log_start}, {log_end}]")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The log start.
        log_start: i64,
        /// The log end.
        log_end: i64,
    },
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Deleted,
    /// Another broker owns the partition now.
    #[error("another broker owns the partition")]
    Fenced,
    /// The bytes could not be read (KAFKA_STORAGE_ERROR): an I/O or object-store failure.
    #[error("reading {topic}-{partition} at offset {offset} failed: {reason}")]
    Storage {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the read was.
        offset: i64,
        /// What failed.
        reason: String,
    },
    /// Stored bytes are not what was written (CORRUPT_MESSAGE). Never skipped.
    #[error("{topic}-{partition} is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the damage is.
        offset: i64,
        /// What does not fit.
        reason: String,
    },
}

impl From<Closed> for ReadError {
    fn from(reason: Closed) -> Self {
        match reason {
            Closed::Deleted => Self::Deleted,
            Closed::Fenced => Self::Fenced,
        }
    }
}

/// Why the log as a whole failed: at start, or in a change of its metadata.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata store refused or failed.
    #[error("metadata: {0}")]
    Metadata(#[from] metadata::Error),
    /// The WAL cannot be recovered: a human has to look.
    #[error("recovering the write-ahead log: {0}")]
    Recover(#[from] RecoverError),
    /// An object could not be read, written or understood.
    #[error("object store: {0}")]
    Object(#[from] crate::object::Error),
    /// DeleteRecords beyond the high watermark (OFFSET_OUT_OF_RANGE).
    #[error("offset {offset} is above the high watermark {high_watermark}")]
    AboveHighWatermark {
        /// The offset asked for.
        offset: i64,
        /// The high watermark.
        high_watermark: i64,
    },
    /// The topic was deleted or the partition fenced.
    #[error("the partition is not served here any more")]
    NotServed,
    /// Stored state contradicts itself.
    #[error("inconsistent state: {0}")]
    Inconsistent(String),
    /// The operating system refused.
    #[error("i/o: {0}")]
    Io(#[from] std::io::Error),
}

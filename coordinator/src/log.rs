//! The log as the runtime sees it: one ordered sequence of batches per partition of a coordinator's
//! topic. The broker implements it over its internal topics.

use std::{any::Any, fmt::Debug};

use bytes::Bytes;
use common::ProducerId;
use futures::future::BoxFuture;
use protocol::{ErrorCode, Records};

/// Why the log refuses, or took something back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The partition is not here: no such topic, another owner, or the log is closed.
    #[error("the partition is not hosted here")]
    NotHosted,
    /// What the appender built upon was taken back: the log ends elsewhere.
    #[error("the log ends at offset {actual}, not at {expected}")]
    Moved {
        /// Where the shard believes that the log ends.
        expected: i64,
        /// Where it ends.
        actual: i64,
    },
    /// The batch is too large; nothing was appended.
    #[error("a batch of {bytes} bytes is too large")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The transaction may not append here: a stale epoch, no transaction, an old coordinator.
    #[error("refused: {}", .0.name())]
    Refused(ErrorCode),
    /// Writing or reading failed.
    #[error("{0}")]
    Storage(String),
    /// Stored bytes are not what was written.
    #[error("damaged: {0}")]
    Damaged(String),
}

impl LogError {
    /// What a client is told.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotHosted | Self::Moved { .. } => ErrorCode::NotCoordinator,
            // Kafka's code for it: the client could do nothing about another one.
            Self::TooLarge { .. } => ErrorCode::UnknownServerError,
            Self::Refused(code) => *code,
            Self::Storage(_) | Self::Damaged(_) => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

/// Room in the log, held until the append is made.
pub type Permit = Box<dyn Any + Send>;

/// A verification of the producer's transaction (KIP-890), which the log hands out and takes back.
pub type VerificationGuard = Box<dyn Any + Send>;

/// The offsets of a partition at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read.
    pub log_start: i64,
    /// The end of what is durable.
    pub high_watermark: i64,
    /// The end of what was appended.
    pub log_end: i64,
}

/// A batch of records to append.
pub struct NewBatch {
    /// One batch at base offset 0, to be patched.
    pub bytes: Bytes,
    /// How many records it has.
    pub records: i32,
    /// Where the log must end, or [`LogError::Moved`].
    pub expected_offset: i64,
    /// Of a transactional batch: the verification, if one was needed.
    pub guard: Option<VerificationGuard>,
}

/// The end of a producer's transaction, as its coordinator decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionEnd {
    /// The producer.
    pub producer_id: ProducerId,
    /// The epoch of the marker.
    pub producer_epoch: i16,
    /// The epoch of the transaction coordinator.
    pub coordinator_epoch: i32,
    /// Commit or abort.
    pub committed: bool,
    /// `transaction.version` of the transaction.
    pub transaction_version: i16,
}

/// An accepted append.
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: i64,
    /// Completes when the batch is durable, or was taken back.
    pub durable: BoxFuture<'static, Result<(), LogError>>,
}

/// The partitions of one coordinator's topic.
pub trait CoordinatorLog: Send + Sync + Debug + 'static {
    /// Waits until the log has room.
    ///
    /// # Errors
    /// [`LogError::NotHosted`] while the log closes.
    fn admit(&self) -> BoxFuture<'_, Result<Permit, LogError>>;

    /// The most bytes that one batch may have.
    fn batch_bytes_max(&self, partition: i32) -> usize;

    /// Appends a batch: in order, and with its offsets assigned on return.
    ///
    /// # Errors
    /// [`LogError`]; nothing was appended then.
    fn append(&self, partition: i32, batch: NewBatch) -> Result<Appended, LogError>;

    /// Appends the marker that ends a transaction in this partition.
    ///
    /// # Errors
    /// [`LogError`]; nothing was appended then.
    fn append_marker(
        &self,
        partition: i32,
        expected_offset: i64,
        end: TransactionEnd,
    ) -> Result<Appended, LogError>;

    /// Where the partition begins and ends.
    ///
    /// # Errors
    /// [`LogError::NotHosted`].
    fn bounds(&self, partition: i32) -> Result<Bounds, LogError>;

    /// Reads whole batches, the first of which contains `offset` or follows it, below the high
    /// watermark.
    ///
    /// # Errors
    /// [`LogError`].
    fn read(&self, partition: i32, offset: i64) -> BoxFuture<'_, Result<Records, LogError>>;
}

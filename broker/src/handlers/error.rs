//! From the errors of the crates below to Kafka's codes, each in one `match` without `_`: a new
//! variant does not compile before somebody has decided what a client is told.
//!
//! A retriable code is only given where a retry may help or the outcome is unknown; a definite one
//! only where nothing was changed.

use protocol::{
    ErrorCode,
    records::{ValidationError, ValidationErrorKind},
};
use storage::{AppendError, ReadError, SequenceError};

/// Why a batch was not accepted.
pub(crate) fn validation(error: &ValidationError) -> ErrorCode {
    match error.kind {
        ValidationErrorKind::CorruptMessage => ErrorCode::CorruptMessage,
        ValidationErrorKind::MessageTooLarge => ErrorCode::MessageTooLarge,
        ValidationErrorKind::InvalidTimestamp => ErrorCode::InvalidTimestamp,
        ValidationErrorKind::UnsupportedCompressionType => ErrorCode::UnsupportedCompressionType,
        ValidationErrorKind::InvalidRecord => ErrorCode::InvalidRecord,
    }
}

/// Why an append was refused or taken back.
pub(crate) fn append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        AppendError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
        AppendError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
        AppendError::Moved { .. } | AppendError::Fenced | AppendError::Closed => {
            ErrorCode::NotLeaderOrFollower
        }
        AppendError::RolledBack | AppendError::Wal(_) => ErrorCode::KafkaStorageError,
    }
}

/// Why a read failed.
pub(crate) fn read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Deleted => ErrorCode::UnknownTopicOrPartition,
        ReadError::Fenced => ErrorCode::NotLeaderOrFollower,
        ReadError::Storage { .. } => ErrorCode::KafkaStorageError,
        ReadError::Damaged { .. } => ErrorCode::CorruptMessage,
    }
}

/// Why a change of metadata failed.
pub(crate) fn metadata(error: &::metadata::Error) -> ErrorCode {
    use ::metadata::Error;
    match error {
        Error::Fenced { .. } | Error::NodeIdMismatch { .. } | Error::NotInitialized => {
            ErrorCode::NotController
        }
        Error::TopicExists { .. } | Error::TopicIdExists { .. } => ErrorCode::TopicAlreadyExists,
        Error::UnknownTopic { .. } => ErrorCode::UnknownTopicId,
        Error::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
        Error::PartitionCountMismatch { .. } => ErrorCode::InvalidPartitions,
        Error::ConfigVersionMismatch { .. } => ErrorCode::InvalidUpdateVersion,
        Error::StaleEpoch { .. } => ErrorCode::NotLeaderOrFollower,
        Error::InvalidRequest(_) => ErrorCode::InvalidRequest,
        // Kafka's retriable answers to a controller that is not there for now.
        Error::Busy(_) | Error::UnknownOutcome(_) => ErrorCode::RequestTimedOut,
        Error::StorageFull(_) => ErrorCode::KafkaStorageError,
        Error::NewerFormat { .. }
        | Error::ObjectExists { .. }
        | Error::UnknownObject { .. }
        | Error::ObjectState { .. }
        | Error::Conflict { .. }
        | Error::ProducerIdsExhausted { .. }
        | Error::NotEmpty { .. }
        | Error::Corrupt(_)
        | Error::Io(_) => ErrorCode::UnknownServerError,
    }
}

/// Why there is no producer id: Kafka's answer while no block of ids can be had, unless trying again
/// cannot help.
pub(crate) fn producer_ids(error: &::metadata::Error) -> ErrorCode {
    if error.is_retriable() || error.is_outcome_unknown() {
        ErrorCode::CoordinatorLoadInProgress
    } else {
        metadata(error)
    }
}

/// A coordinator's code for a client that may be too old to know PRODUCER_FENCED.
pub(crate) fn before_producer_fenced(error: ErrorCode, known: bool) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced if !known => ErrorCode::InvalidProducerEpoch,
        other => other,
    }
}

/// Why the log failed as a whole.
pub(crate) fn storage(error: &::storage::Error) -> ErrorCode {
    use ::storage::Error;
    match error {
        Error::Metadata(error) => metadata(error),
        Error::AboveHighWatermark { .. } => ErrorCode::OffsetOutOfRange,
        Error::NotServed => ErrorCode::NotLeaderOrFollower,
        Error::Recover(_) | Error::Object(_) | Error::Io(_) => ErrorCode::KafkaStorageError,
        Error::Inconsistent(_) => ErrorCode::UnknownServerError,
    }
}

/// Why topics could not be changed.
pub(crate) fn catalog(error: &crate::catalog::Error) -> ErrorCode {
    use crate::catalog::Error;
    match error {
        Error::Metadata(error) => metadata(error),
        Error::Storage(error) => storage(error),
        Error::UnknownTopic(_) => ErrorCode::UnknownTopicId,
        Error::Interrupted => ErrorCode::RequestTimedOut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_busy_may_be_asked_again_for_producer_ids() {
        let busy = ::metadata::Error::Busy(String::new());
        assert_eq!(producer_ids(&busy), ErrorCode::CoordinatorLoadInProgress);
        let exhausted = ::metadata::Error::ProducerIdsExhausted { next: i64::MAX, requested: 1000 };
        assert_eq!(producer_ids(&exhausted), ErrorCode::UnknownServerError);
    }
}

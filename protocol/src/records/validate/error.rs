//! How a refused batch is answered: Kafka's error code, a message, and the records to blame.

use super::super::error::{CompressionError, RecordError};

/// Kafka's error for a batch that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValidationErrorKind {
    /// CORRUPT_MESSAGE: CRC or framing.
    CorruptMessage,
    /// MESSAGE_TOO_LARGE: over `max.message.bytes` or the decompression limit. Clients split the
    /// batch and try again.
    MessageTooLarge,
    /// INVALID_TIMESTAMP: out of the window, or LogAppendTime set by the client.
    InvalidTimestamp,
    /// UNSUPPORTED_COMPRESSION_TYPE: zstd before Produce 7, or an unknown codec id.
    UnsupportedCompressionType,
    /// INVALID_RECORD: everything else.
    InvalidRecord,
}

impl ValidationErrorKind {
    /// The code on the wire.
    pub fn code(self) -> i16 {
        match self {
            Self::CorruptMessage => 2,
            Self::MessageTooLarge => 10,
            Self::InvalidTimestamp => 32,
            Self::UnsupportedCompressionType => 76,
            Self::InvalidRecord => 87,
        }
    }
}

/// One record that is to blame (`BatchIndexAndErrorMessage` of Produce 8, KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordViolation {
    /// Position of the record in its batch.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: String,
}

/// Why a batch is refused as a whole; nothing of it may be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValidationError {
    /// Which error code answers it.
    pub kind: ValidationErrorKind,
    /// The partition's error message.
    pub message: String,
    /// The records to blame, at most the first 1,000; empty if the batch itself is wrong.
    pub record_errors: Vec<RecordViolation>,
}

impl ValidationError {
    pub(super) fn new(kind: ValidationErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), record_errors: Vec::new() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ValidationErrorKind::InvalidRecord, message)
    }
}

impl From<RecordError> for ValidationError {
    fn from(error: RecordError) -> Self {
        use ValidationErrorKind as Kind;
        let kind = match &error {
            RecordError::Truncated { .. }
            | RecordError::BadLength { .. }
            | RecordError::CrcMismatch { .. } => Kind::CorruptMessage,
            RecordError::UnsupportedMagic { .. }
            | RecordError::InvalidCount { .. }
            | RecordError::Malformed { .. }
            | RecordError::TrailingBytes { .. }
            | RecordError::Compression(
                CompressionError::Corrupt { .. } | CompressionError::Encode { .. },
            ) => Kind::InvalidRecord,
            RecordError::Compression(CompressionError::UnknownType { .. }) => {
                Kind::UnsupportedCompressionType
            }
            RecordError::Compression(CompressionError::LimitExceeded { .. })
            | RecordError::TooLargeToEncode { .. } => Kind::MessageTooLarge,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<CompressionError> for ValidationError {
    fn from(error: CompressionError) -> Self {
        RecordError::from(error).into()
    }
}

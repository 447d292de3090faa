//! What can be wrong with the bytes of a batch.
//!
//! Every variant names what was found, so that a log line alone tells damage from a bad client.

use super::batch::{BATCH_OVERHEAD, MAGIC_V2};

/// Why bytes are not a sound batch of magic 2, or not a sound record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the batch that its length field announces.
    #[error("batch is cut short: {needed} bytes announced, {available} present")]
    Truncated {
        /// Bytes the batch (or its header) needs.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The length field is too small for a batch header (or negative).
    #[error(
        "batch length {batch_length} is below the least possible for {BATCH_OVERHEAD} bytes of header"
    )]
    BadLength {
        /// The value of the length field.
        batch_length: i32,
    },
    /// A message set of magic 0 or 1 (which Kafka 4 no longer writes), or an unknown magic.
    #[error("unsupported magic {magic}, only {MAGIC_V2} is accepted")]
    UnsupportedMagic {
        /// The magic byte.
        magic: i8,
    },
    /// The stored CRC32C does not match the bytes it covers.
    #[error("record batch is corrupt (stored crc = {stored}, computed crc = {computed})")]
    CrcMismatch {
        /// CRC32C in the header.
        stored: u32,
        /// CRC32C of the bytes.
        computed: u32,
    },
    /// The header counts a negative number of records.
    #[error("invalid record count {count}")]
    InvalidCount {
        /// The value of the count field.
        count: i32,
    },
    /// A record does not follow the format.
    #[error("record {index} is malformed: {reason}")]
    Malformed {
        /// Position of the record in its batch, from 0.
        index: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// Bytes are left after the last record that the header counts.
    #[error("incorrect declared batch size, {remaining} bytes remain after the last record")]
    TrailingBytes {
        /// How many bytes are left; when streaming, at least this many.
        remaining: usize,
    },
    /// The compressed body cannot be read.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A batch being built grew past what its 32-bit fields can say.
    #[error("batch is too large to encode: {what} exceeds a 32-bit field")]
    TooLargeToEncode {
        /// The part that is too large.
        what: &'static str,
    },
}

/// Why a body cannot be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// The codec id in the attributes is none of Kafka's five.
    #[error("unknown compression type id {id}")]
    UnknownType {
        /// The three codec bits of the attributes.
        id: u8,
    },
    /// Decompressed data would exceed the caller's limit; nothing past it was kept.
    #[error("decompressed size exceeds the limit of {limit_bytes} bytes")]
    LimitExceeded {
        /// The limit that was given.
        limit_bytes: usize,
    },
    /// The codec cannot make sense of the bytes.
    #[error("corrupt {codec} data: {reason}")]
    Corrupt {
        /// Kafka's name of the codec.
        codec: &'static str,
        /// The codec's own words.
        reason: String,
    },
    /// The encoder failed (memory, or a level the library refuses).
    #[error("{codec} compression failed: {reason}")]
    Encode {
        /// Kafka's name of the codec.
        codec: &'static str,
        /// The codec's own words.
        reason: String,
    },
}

//! What can go wrong between bytes and messages.
//!
//! A `DecodeError` is always the peer's fault (Kafka answers it by closing the connection), an
//! `EncodeError` always ours: a handler filled in a field that the answered version cannot carry.

/// Why bytes are not the message that they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A length or a fixed-size field reaches past the end of the frame.
    #[error("needs {needed} bytes where {remaining} remain")]
    UnexpectedEnd {
        /// Bytes that the field needs (at least).
        needed: usize,
        /// Bytes that the frame still has.
        remaining: usize,
    },
    /// A varint goes on after its last possible byte (5 for 32 bits, 10 for 64).
    #[error("varint is longer than its type allows")]
    OverlongVarint,
    /// A field that this version does not allow to be null is null.
    #[error("field {field} is null")]
    NullField {
        /// The field's name, as in the Rust struct.
        field: &'static str,
    },
    /// Decoding would allocate more than the reader's budget.
    #[error("decoding needs more memory than the budget of {budget} bytes")]
    TooLarge {
        /// The whole budget in bytes.
        budget: usize,
    },
    /// A known tagged field does not have the size that its tag announces.
    #[error("tagged field {tag} announces {announced} bytes and has {actual}")]
    TaggedFieldSize {
        /// The tag.
        tag: u32,
        /// Bytes announced in front of the field.
        announced: usize,
        /// Bytes that the field took.
        actual: usize,
    },
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// The request header names an API that Kafka 4.3.1 does not serve to clients.
    #[error("unknown api key {0}")]
    UnknownApiKey(i16),
}

/// Why a message cannot be written in the version asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field that is not ignorable is set, and the version lacks it.
    #[error("{message}.{field} is set but does not exist in version {version}")]
    UnsupportedField {
        /// The struct's name.
        message: &'static str,
        /// The field's name, as in the Rust struct.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field that this version does not allow to be null is `None`.
    #[error("field {field} is null")]
    NullField {
        /// The field's name, as in the Rust struct.
        field: &'static str,
    },
    /// A string, array, byte field or the whole frame is longer than its length field can say.
    #[error("{field} is too long: {length}")]
    TooLong {
        /// The field's name, as in the Rust struct.
        field: &'static str,
        /// Its length in bytes or elements.
        length: usize,
    },
}

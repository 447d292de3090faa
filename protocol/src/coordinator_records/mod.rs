//! What coordinators write to `__consumer_offsets` and `__transaction_state`: keys and values as Rust
//! structs, one module per record type, and the data that classic consumers put into them.
//!
//! The modules are generated from Kafka's own definitions, like `messages`, and follow its rules. A
//! key begins with its record type, a value with its version: the functions here add and take those.

mod consumer_protocol;
mod generated;

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

use crate::{
    codec::{DecodeError, EncodeError, Reader, Writer},
    messages::Message,
};

pub use self::{
    consumer_protocol::{
        decode_assignment, decode_subscription, encode_assignment, encode_subscription,
    },
    generated::*,
};

/// The key of a coordinator's record. Keys have one version only.
pub trait RecordKey: Message {
    /// What the key begins with.
    const RECORD_TYPE: i16;
    /// What belongs to the key.
    type Value: Message;
}

/// A key with its type in front.
///
/// # Errors
/// [`EncodeError`] when a string is too long for its field.
pub fn encode_key<K: RecordKey>(key: &K) -> Result<Bytes, EncodeError> {
    prefixed(K::RECORD_TYPE, key, 0)
}

/// A value of `version` with that version in front.
///
/// # Errors
/// [`EncodeError`] when the version does not exist or cannot carry what is set.
pub fn encode_value<V: Message>(value: &V, version: i16) -> Result<Bytes, EncodeError> {
    prefixed(version, value, version)
}

/// The number that a key or a value begins with; `None` where there are not even two bytes.
#[must_use]
pub fn prefix(bytes: &Bytes) -> Option<i16> {
    Reader::new(bytes.clone()).i16().ok()
}

/// Reads a key whose type is known to be that of `K`.
///
/// # Errors
/// [`DecodeError`] when the bytes are not such a key.
pub fn decode_key<K: RecordKey>(bytes: &Bytes) -> Result<K, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    reader.i16()?;
    K::decode(&mut reader, 0)
}

/// Reads a value of the version that it begins with.
///
/// # Errors
/// [`DecodeError`] when the bytes are not such a value, or of a version that does not exist.
pub fn decode_value<V: Message>(bytes: &Bytes) -> Result<V, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?;
    V::decode(&mut reader, version)
}

fn prefixed<M: Message>(prefix: i16, message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(prefix);
    message.encode(&mut writer, version)?;
    let encoded = writer.finish();
    // Long byte fields are spliced: one copy makes the record one slice.
    let mut bytes = BytesMut::with_capacity(encoded.len());
    for chunk in encoded.chunks() {
        bytes.extend_from_slice(chunk);
    }
    Ok(bytes.freeze())
}

//! Tests of the generated messages: each one in each of its versions.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod differential;
mod golden;
mod hostile;
mod round_trip;
mod rules;

use bytes::Bytes;

use super::Message;
use crate::{
    codec::{Reader, Writer},
    testing::{Arbitrary, Values},
};

/// A random instance of `M` and its encoding.
fn instance<M: Arbitrary>(seed: u64, version: i16) -> (M, Bytes) {
    let message = M::arbitrary(&mut Values::new(seed), version);
    let bytes = encode(&message, version);
    (message, bytes)
}

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap_or_else(|error| {
        panic!("{} v{version} does not encode: {error}: {message:?}", M::NAME)
    });
    let length = writer.len();
    let bytes = writer.finish().to_bytes();
    assert_eq!(bytes.len(), length);
    bytes
}

fn decode_all<M: Message>(bytes: &Bytes, version: i16) -> M {
    let mut reader = Reader::new(bytes.clone());
    let message = M::decode(&mut reader, version)
        .unwrap_or_else(|error| panic!("{} v{version} does not decode: {error}", M::NAME));
    assert_eq!(reader.remaining(), 0, "{} v{version} leaves bytes behind", M::NAME);
    message
}

fn versions<M: Message>() -> std::ops::RangeInclusive<i16> {
    M::MIN_VERSION..=M::MAX_VERSION
}

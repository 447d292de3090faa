//! Bytes that are not messages: they are refused, nothing panics, no budget is exceeded.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{super::*, instance, versions};
use crate::{
    codec::{BUDGET_BASE_BYTES, BUDGET_FRAME_FACTOR, DecodeError, Reader},
    messages::{for_each_api, produce::ProduceRequest},
    testing::{Arbitrary, Values},
};

/// Lengths and counts as an attacker would claim them.
const CLAIMS: [&[u8]; 6] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

fn decode_within_budget<M: Message>(bytes: &Bytes, version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let result = M::decode(&mut reader, version);
    assert!(reader.spent() <= BUDGET_BASE_BYTES + BUDGET_FRAME_FACTOR * bytes.len());
    assert!(reader.remaining() <= bytes.len());
    result
}

fn mutations<M: Arbitrary>(seed: u64) {
    for version in versions::<M>() {
        let mut values = Values::new(seed);
        let (_, valid) = instance::<M>(seed, version);
        let noise: Bytes = (0..values.below(120)).map(|_| values.i8().cast_unsigned()).collect();
        decode_within_budget::<M>(&noise, version).ok();
        if valid.is_empty() {
            continue;
        }
        let mut flipped = BytesMut::from(valid.as_ref());
        let position = values.below(valid.len());
        flipped[position] ^= 1 << values.below(8);
        decode_within_budget::<M>(&flipped.freeze(), version).ok();
        let mut claimed = BytesMut::from(valid.as_ref());
        for (byte, claim) in claimed[position..].iter_mut().zip(CLAIMS[values.below(6)]) {
            *byte = *claim;
        }
        decode_within_budget::<M>(&claimed.freeze(), version).ok();
        let cut = valid.slice(..position);
        let error = decode_within_budget::<M>(&cut, version).expect_err(M::NAME);
        assert!(matches!(error, DecodeError::UnexpectedEnd { .. }), "{}: {error}", M::NAME);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn mutilated_messages_never_panic_nor_exceed_their_budget(seed: u64) {
        macro_rules! check {
            ($(($api:ident, $module:ident, $request:ident, $response:ident))*) => {
                $(
                    mutations::<$module::$request>(seed);
                    mutations::<$module::$response>(seed);
                )*
            };
        }
        for_each_api!(check);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let bytes = Bytes::from(bytes);
        macro_rules! check {
            ($(($api:ident, $module:ident, $request:ident, $response:ident))*) => {
                $(for version in versions::<$module::$request>() {
                    decode_within_budget::<$module::$request>(&bytes, version).ok();
                    decode_within_budget::<$module::$response>(&bytes, version).ok();
                })*
            };
        }
        for_each_api!(check);
    }
}

#[test]
fn a_12_byte_produce_body_cannot_claim_two_billion_topics() {
    // Null transactional id, acks, timeout, then an array of 2^31 - 1 topics in no bytes at all.
    let body = Bytes::from_static(&[0xff, 0xff, 0, 1, 0, 0, 0x75, 0x30, 0x7f, 0xff, 0xff, 0xff]);
    let mut reader = Reader::new(body);
    let error = ProduceRequest::decode(&mut reader, 3).expect_err("no topic is there");
    assert!(matches!(error, DecodeError::UnexpectedEnd { remaining: 0, .. }), "{error}");
    assert_eq!(reader.spent(), 0);
}

#[test]
fn elements_are_charged_before_they_are_reserved() {
    // One million empty-named topics fit the frame at six bytes each, but not the budget of it.
    let topics = 1_000_000_i32;
    let mut body = BytesMut::from(&[0xff_u8, 0xff, 0, 1, 0, 0, 0, 1][..]);
    body.extend_from_slice(&topics.to_be_bytes());
    body.resize(body.len() + 6_000_000, 0);
    let mut reader = Reader::with_budget(body.freeze(), 1_000_000);
    let error = ProduceRequest::decode(&mut reader, 3).expect_err("the budget is too small");
    assert_eq!(error, DecodeError::TooLarge { budget: 1_000_000 });
    assert_eq!(reader.spent(), 0);
}

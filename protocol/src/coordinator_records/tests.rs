//! Tests of the generated records: round trips and hostile bytes. Those that Apache Kafka wrote are the
//! coordinator crate's to test.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::testing::{Arbitrary, Values};

fn round_trip<K: RecordKey + Arbitrary>(seed: u64)
where
    K::Value: Arbitrary,
{
    let mut values = Values::new(seed);
    let key = K::arbitrary(&mut values, 0);
    let bytes = encode_key(&key).unwrap();
    assert_eq!(prefix(&bytes), Some(K::RECORD_TYPE));
    assert_eq!(decode_key::<K>(&bytes).unwrap(), key);
    for version in K::Value::MIN_VERSION..=K::Value::MAX_VERSION {
        let value = K::Value::arbitrary(&mut values, version);
        let bytes = encode_value(&value, version).unwrap();
        assert_eq!(prefix(&bytes), Some(version));
        assert_eq!(decode_value::<K::Value>(&bytes).unwrap(), value, "v{version}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_in_every_version_round_trips(seed: u64) {
        macro_rules! check {
            ($(($module:ident, $key:ident, $value:ident))*) => {
                $(round_trip::<$module::$key>(seed);)*
            };
        }
        generated::for_each_record!(check);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        let bytes = Bytes::from(bytes);
        macro_rules! check {
            ($(($module:ident, $key:ident, $value:ident))*) => {
                $(
                    decode_key::<$module::$key>(&bytes).ok();
                    decode_value::<$module::$value>(&bytes).ok();
                )*
            };
        }
        generated::for_each_record!(check);
        decode_subscription(&bytes).ok();
        decode_assignment(&bytes).ok();
    }
}

#[test]
fn a_value_of_a_version_that_does_not_exist_is_refused() {
    let value = encode_value(&offset_commit::OffsetCommitValue::default(), 4).unwrap();
    let mut newer = value.to_vec();
    newer[1] = 5;
    let error = decode_value::<offset_commit::OffsetCommitValue>(&newer.into()).unwrap_err();
    let message = "OffsetCommitValue";
    assert_eq!(error, DecodeError::UnsupportedVersion { message, version: 5 });
}

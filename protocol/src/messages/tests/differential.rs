//! Our bytes against those of the kafka-protocol crate, an independent generator over (slightly
//! older) definitions: it must read what we write, write the same bytes, and we must read those.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message as Oracle};
use proptest::prelude::*;

use super::{super::*, decode_all, instance, versions};
use crate::{messages::for_each_api, testing::Arbitrary};

fn compare<M: Arbitrary, O: Oracle + Encodable + Decodable>(seed: u64) -> usize {
    let shared = versions::<M>().filter(|v| (O::VERSIONS.min..=O::VERSIONS.max).contains(v));
    let mut compared = 0;
    for version in shared {
        let (message, ours) = instance::<M>(seed, version);
        let mut unread = ours.clone();
        let theirs = O::decode(&mut unread, version)
            .unwrap_or_else(|error| panic!("{} v{version}: {error}: {message:?}", M::NAME));
        assert!(unread.is_empty(), "{} v{version} leaves {} bytes", M::NAME, unread.len());
        let mut written = BytesMut::new();
        theirs.encode(&mut written, version).expect("what it decoded it can encode");
        let written: Bytes = written.freeze();
        assert_eq!(written, ours, "{} v{version}: {message:?}", M::NAME);
        assert_eq!(decode_all::<M>(&written, version), message);
        compared += 1;
    }
    compared
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bytes_equal_those_of_an_independent_implementation(seed: u64) {
        let mut compared = 0;
        macro_rules! check {
            () => {};
            // The oracle has no messages for streams groups.
            ((StreamsGroupHeartbeat, $($row:tt)*) $($rest:tt)*) => { check!($($rest)*) };
            ((StreamsGroupDescribe, $($row:tt)*) $($rest:tt)*) => { check!($($rest)*) };
            (($api:ident, $module:ident, $request:ident, $response:ident) $($rest:tt)*) => {
                compared += compare::<
                    $module::$request, kafka_protocol::messages::$request
                >(seed);
                compared += compare::<
                    $module::$response, kafka_protocol::messages::$response
                >(seed);
                check!($($rest)*);
            };
        }
        for_each_api!(check);
        assert!(compared > 400, "only {compared} message versions were compared");
    }
}

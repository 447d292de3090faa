//! `decode(encode(x)) == x`, and the tables agree with the definitions.

use proptest::prelude::*;

use super::{super::*, decode_all, instance, versions};
use crate::{messages::for_each_api, testing::Arbitrary};

fn round_trip<M: Arbitrary>(seed: u64) {
    for version in versions::<M>() {
        let (message, bytes) = instance::<M>(seed, version);
        assert_eq!(decode_all::<M>(&bytes, version), message, "{} v{version}", M::NAME);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_message_in_every_version_round_trips(seed: u64) {
        macro_rules! check {
            ($(($api:ident, $module:ident, $request:ident, $response:ident))*) => {
                $(
                    round_trip::<$module::$request>(seed);
                    round_trip::<$module::$response>(seed);
                )*
            };
        }
        for_each_api!(check);
    }
}

fn check_row<R: Request>(api_key: ApiKey) {
    assert_eq!(R::API_KEY, api_key);
    assert_eq!(R::NAME, format!("{api_key}Request"));
    assert_eq!(R::Response::NAME, format!("{api_key}Response"));
    assert_eq!(R::FLEXIBLE_VERSION_MIN, api_key.first_flexible_version(), "{api_key}");
    assert_eq!(R::Response::FLEXIBLE_VERSION_MIN, R::FLEXIBLE_VERSION_MIN, "{api_key}");
    assert_eq!(R::Response::MAX_VERSION, R::MAX_VERSION, "{api_key}");
    // Produce 0 to 2 are advertised for librdkafka and refused; InitProducerId 6 is unstable.
    match api_key {
        ApiKey::Produce => assert_eq!((R::MIN_VERSION, api_key.min_version()), (3, 0)),
        _ => assert_eq!(R::MIN_VERSION, api_key.min_version(), "{api_key}"),
    }
    match api_key {
        ApiKey::InitProducerId => assert_eq!((R::MAX_VERSION, api_key.max_version()), (6, 5)),
        _ => assert_eq!(R::MAX_VERSION, api_key.max_version(), "{api_key}"),
    }
}

#[test]
fn the_api_table_agrees_with_the_definitions() {
    let mut generated = Vec::new();
    macro_rules! check {
        ($(($api:ident, $module:ident, $request:ident, $response:ident))*) => {
            $(
                check_row::<$module::$request>(ApiKey::$api);
                generated.push(ApiKey::$api);
            )*
        };
    }
    for_each_api!(check);
    // Keys between brokers and of the Raft quorum have a row, so that they are recognised, but no
    // messages: they are never served.
    let without: Vec<i16> = ApiKey::ALL
        .iter()
        .filter(|api_key| !generated.contains(api_key))
        .map(|api_key| api_key.code())
        .collect();
    assert_eq!(without, [34, 64, 80, 81, 83, 84, 85, 86, 87]);
}

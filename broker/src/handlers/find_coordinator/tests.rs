//! FindCoordinator: every version, the internal topics it creates, keys it does not know.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::metadata::MetadataRequest;

use super::*;
use crate::handlers::test_support::start;

#[tokio::test(start_paused = true)]
async fn this_broker_coordinates_every_group_in_every_version() {
    let (broker, mut client) = start(&[("offsets.topic.num.partitions", "3")]).await;
    for version in 0..=6 {
        let (key, coordinator_keys) = if version < 4 {
            ("g".to_owned(), Vec::new())
        } else {
            (String::new(), vec!["g".to_owned(), String::new()])
        };
        let request = FindCoordinatorRequest { key, key_type: GROUP, coordinator_keys };
        let response = client.call(&request, version).await.unwrap();
        let (node_id, host) = if version < 4 {
            (response.node_id, response.host)
        } else {
            assert_eq!(response.coordinators.len(), 2);
            assert_eq!(response.coordinators[0].error_code, 0);
            (response.coordinators[0].node_id, response.coordinators[0].host.clone())
        };
        assert_eq!((response.error_code, host.as_str()), (0, "broker.test"), "v{version}");
        assert_eq!(node_id, broker.broker.node_id.0);
    }
    let metadata = client.call(&MetadataRequest { topics: None, ..Default::default() }, 12).await;
    let topics = metadata.unwrap().topics;
    assert_eq!(topics.len(), 1);
    assert_eq!(topics[0].name.as_deref(), Some("__consumer_offsets"));
    assert_eq!((topics[0].is_internal, topics[0].partitions.len()), (true, 3));
}

#[tokio::test(start_paused = true)]
async fn other_key_types_are_refused() {
    let (_broker, mut client) = start(&[]).await;
    for key_type in [2, 9] {
        let coordinator_keys = vec!["x".to_owned()];
        let request = FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
        let response = client.call(&request, 6).await.unwrap();
        let one = &response.coordinators[0];
        assert_eq!((one.error_code, one.node_id), (ErrorCode::InvalidRequest.code(), -1));
    }
}

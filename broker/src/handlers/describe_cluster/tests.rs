//! DescribeCluster: every version, operations, endpoint types.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::handlers::test_support::start;

#[tokio::test(start_paused = true)]
async fn describes_this_broker_in_every_version() {
    let (broker, mut client) = start(&[("broker.rack", "r1")]).await;
    for version in 0..=2 {
        let request = DescribeClusterRequest { endpoint_type: 1, ..Default::default() };
        let response = client.call(&request, version).await.unwrap();
        assert_eq!((response.error_code, response.error_message), (0, None));
        assert_eq!(response.cluster_id, broker.broker.cluster_id);
        assert_eq!(response.controller_id, broker.broker.node_id.0);
        let one = &response.brokers[0];
        assert_eq!((one.host.as_str(), one.port), ("broker.test", 9092));
        assert_eq!(one.rack.as_deref(), Some("r1"));
        assert_eq!(response.cluster_authorized_operations, AUTHORIZED_OPERATIONS_OMITTED);
    }
}

#[tokio::test(start_paused = true)]
async fn lists_operations_when_asked() {
    let (_broker, mut client) = start(&[]).await;
    let request = DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        endpoint_type: 1,
        ..Default::default()
    };
    let response = client.call(&request, 2).await.unwrap();
    assert_eq!(response.cluster_authorized_operations, 8096);
}

#[tokio::test(start_paused = true)]
async fn other_endpoints_are_refused() {
    let (_broker, mut client) = start(&[]).await;
    let cases = [(2, ErrorCode::MismatchedEndpointType), (3, ErrorCode::UnsupportedEndpointType)];
    for (endpoint_type, code) in cases {
        let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
        let response = client.call(&request, 2).await.unwrap();
        assert_eq!((response.error_code, response.controller_id), (code.code(), -1));
        assert!(response.brokers.is_empty());
    }
}

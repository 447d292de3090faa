//! AlterPartitionReassignments: only this broker can be the replica.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::handlers::test_support::{create, refusal, start};

#[tokio::test(start_paused = true)]
async fn only_this_broker_can_be_the_replica() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let own = broker.broker.node_id.0;
    let invalid = ErrorCode::InvalidReplicaAssignment;
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let cases = [
        ("a", 0, Some(vec![own]), (0, None)),
        ("a", 0, None, (ErrorCode::NoReassignmentInProgress.code(), None)),
        (
            "a",
            0,
            Some(vec![]),
            refusal(invalid, "The manual partition assignment includes an empty replica list."),
        ),
        (
            "a",
            0,
            Some(vec![own, 2]),
            refusal(
                invalid,
                "The manual partition assignment includes broker 2, but no such broker is \
                 registered.",
            ),
        ),
        ("a", 9, Some(vec![own]), refusal(unknown, "Unable to find partition a:9.")),
        ("nope", 0, Some(vec![own]), refusal(unknown, "Unable to find a topic named nope.")),
    ];
    for version in 0..=1 {
        for (topic, partition_index, replicas, expected) in &cases {
            let partition = ReassignablePartition {
                partition_index: *partition_index,
                replicas: replicas.clone(),
            };
            let topic =
                ReassignableTopic { name: (*topic).to_owned(), partitions: vec![partition] };
            let request = AlterPartitionReassignmentsRequest {
                topics: vec![topic],
                allow_replication_factor_change: true,
                ..Default::default()
            };
            let response = client.call(&request, version).await.unwrap();
            assert_eq!((response.error_code, response.error_message), (0, None));
            let result = &response.responses[0].partitions[0];
            assert_eq!(&(result.error_code, result.error_message.clone()), expected);
        }
    }
}

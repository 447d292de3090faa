//! DescribeQuorum: the only voter, in every version.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::describe_quorum::{PartitionData, TopicData};

use super::*;
use crate::{handlers::test_support::start, testing::EPOCH_MS};

fn request(topic: &str, partition_index: i32) -> DescribeQuorumRequest {
    let partitions = vec![PartitionData { partition_index }];
    DescribeQuorumRequest { topics: vec![TopicData { topic_name: topic.to_owned(), partitions }] }
}

#[tokio::test(start_paused = true)]
async fn this_broker_is_the_only_voter_in_every_version() {
    let (broker, mut client) = start(&[]).await;
    let own = broker.broker.node_id.0;
    for version in 0..=2 {
        let response = client.call(&request("__cluster_metadata", 0), version).await.unwrap();
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id), (0, own));
        assert_eq!(partition.current_voters.len(), 1);
        assert_eq!(partition.current_voters[0].replica_id, own);
        assert!(partition.observers.is_empty());
        if version >= 1 {
            assert!(partition.current_voters[0].last_fetch_timestamp >= EPOCH_MS);
        }
        assert_eq!(response.nodes.len(), usize::from(version >= 2));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_else_has_a_quorum() {
    let (_broker, mut client) = start(&[]).await;
    for (topic, partition) in [("a", 0), ("__cluster_metadata", 1)] {
        let response = client.call(&request(topic, partition), 2).await.unwrap();
        let code = response.topics[0].partitions[0].error_code;
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition.code());
        assert!(response.nodes.is_empty());
    }
}

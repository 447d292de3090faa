//! OffsetDelete through a whole broker.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::offset_delete::OffsetDeleteRequestPartition;

use super::*;
use crate::handlers::test_support::{
    commit_offset, create, fetched_offset, find_group_coordinator, start,
};

fn request(group_id: &str, topic: &str, indexes: &[i32]) -> OffsetDeleteRequest {
    let partitions = indexes
        .iter()
        .map(|index| OffsetDeleteRequestPartition { partition_index: *index })
        .collect();
    OffsetDeleteRequest {
        group_id: group_id.to_owned(),
        topics: vec![OffsetDeleteRequestTopic { name: topic.to_owned(), partitions }],
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_are_deleted_partition_by_partition() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 2).await;
    find_group_coordinator(&mut client, "g").await;
    for index in [0, 1] {
        commit_offset(&mut client, "g", "t", index, 5).await;
    }
    let response = client.call(&request("g", "t", &[0, 7]), 0).await.unwrap();
    assert_eq!(response.error_code, 0);
    let codes: Vec<_> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()]);
    assert_eq!(fetched_offset(&mut client, "g", "t", 0).await, -1);
    assert_eq!(fetched_offset(&mut client, "g", "t", 1).await, 5);
}

#[tokio::test(start_paused = true)]
async fn unknown_and_empty_groups_are_refused() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    let cases = [("none", ErrorCode::GroupIdNotFound), ("", ErrorCode::InvalidGroupId)];
    for (group_id, code) in cases {
        let response = client.call(&request(group_id, "t", &[0]), 0).await.unwrap();
        assert_eq!(response.error_code, code.code());
    }
}

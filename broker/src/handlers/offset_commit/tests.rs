//! OffsetCommit through a whole broker: every version, what is refused, what survives a restart.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::{
    delete_topics::DeleteTopicsRequest, offset_commit::OffsetCommitRequestPartition,
};
use tokio::time::{Duration, sleep};

use super::*;
use crate::{
    handlers::test_support::{create, fetched_offset, find_group_coordinator, start},
    testing::{Client, World},
};

fn request(topic: &str, topic_id: uuid::Uuid, index: i32, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.to_owned(),
            topic_id,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: index,
                committed_offset: offset,
                committed_metadata: Some("m".to_owned()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

async fn code(client: &mut Client, request: &OffsetCommitRequest, version: i16) -> i16 {
    let response = client.call(request, version).await.unwrap();
    response.topics[0].partitions[0].error_code
}

#[tokio::test(start_paused = true)]
async fn every_version_commits() {
    let (broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 2).await;
    find_group_coordinator(&mut client, "g").await;
    let id = broker.broker.catalog.image().by_name("t").unwrap().topic.id.0;
    for version in 2..=10_i16 {
        let (name, id) = if version < 10 { ("t", uuid::Uuid::nil()) } else { ("", id) };
        let request = request(name, id, 1, i64::from(version));
        assert_eq!(code(&mut client, &request, version).await, 0, "v{version}");
        assert_eq!(fetched_offset(&mut client, "g", "t", 1).await, i64::from(version));
    }
}

#[tokio::test(start_paused = true)]
async fn commits_sent_one_behind_the_other_count_and_are_answered_in_order() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 2).await;
    find_group_coordinator(&mut client, "g").await;
    let nil = uuid::Uuid::nil();
    // The third names a partition that is not there.
    let sent = [(0, 1), (0, 2), (7, 3), (1, 4), (0, 5)];
    for (index, offset) in sent {
        client.send(&request("t", nil, index, offset), 9).await.unwrap();
    }
    for (index, _) in sent {
        let response = client.receive::<OffsetCommitRequest>(9).await.unwrap();
        let answered = &response.topics[0].partitions[0];
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let expected = if index == 7 { unknown } else { 0 };
        assert_eq!((answered.partition_index, answered.error_code), (index, expected));
    }
    assert_eq!(fetched_offset(&mut client, "g", "t", 0).await, 5);
    assert_eq!(fetched_offset(&mut client, "g", "t", 1).await, 4);
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_partitions_and_members_are_refused() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 2).await;
    find_group_coordinator(&mut client, "g").await;
    let nil = uuid::Uuid::nil();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(code(&mut client, &request("t", nil, 2, 1), 9).await, unknown);
    assert_eq!(code(&mut client, &request("none", nil, 0, 1), 9).await, unknown);
    let by_id = request("", uuid::Uuid::from_u128(7), 0, 1);
    assert_eq!(code(&mut client, &by_id, 10).await, ErrorCode::UnknownTopicId.code());
    let mut member = request("t", nil, 0, 1);
    member.generation_id_or_member_epoch = 4;
    assert_eq!(code(&mut client, &member, 9).await, ErrorCode::GroupIdNotFound.code());
    assert_eq!(code(&mut client, &member, 8).await, ErrorCode::IllegalGeneration.code());
    let mut long = request("t", nil, 0, 1);
    long.topics[0].partitions[0].committed_metadata = Some("x".repeat(5_000));
    let too_large = ErrorCode::OffsetMetadataTooLarge.code();
    assert_eq!(code(&mut client, &long, 9).await, too_large);
}

#[tokio::test(start_paused = true)]
async fn without_an_offsets_topic_there_is_no_coordinator() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "t", 1).await;
    let refused = code(&mut client, &request("t", uuid::Uuid::nil(), 0, 1), 9).await;
    assert_eq!(refused, ErrorCode::NotCoordinator.code());
}

#[tokio::test(start_paused = true)]
async fn a_committed_offset_survives_a_crash_of_the_broker() {
    let mut world = World::new(1).await.unwrap();
    let broker = world.start(&[("offsets.topic.num.partitions", "2")]).await.unwrap();
    let mut client = broker.connect();
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    assert_eq!(code(&mut client, &request("t", uuid::Uuid::nil(), 0, 77), 9).await, 0);
    world.wal_fs = world.wal_fs.restart_machine();
    drop((broker, client));
    let broker = world.start(&[]).await.unwrap();
    let mut client = broker.connect();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fetched_offset(&mut client, "g", "t", 0).await, 77);
}

#[tokio::test(start_paused = true)]
async fn offsets_go_with_their_topic() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    assert_eq!(code(&mut client, &request("t", uuid::Uuid::nil(), 0, 5), 9).await, 0);
    let delete = DeleteTopicsRequest {
        topic_names: vec!["t".to_owned()],
        timeout_ms: 1_000,
        ..Default::default()
    };
    client.call(&delete, 5).await.unwrap();
    create(&mut client, "t", 1).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fetched_offset(&mut client, "g", "t", 0).await, -1);
}

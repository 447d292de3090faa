//! ListOffsets, and with it OffsetForLeaderEpoch and InitProducerId, through a whole broker.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::{
    init_producer_id::InitProducerIdRequest,
    list_offsets::ListOffsetsTopic,
    offset_for_leader_epoch::{
        OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
    },
    produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
};

use super::*;
use crate::testing::{Client, EPOCH_MS, TestBroker, World, batch};

async fn start(settings: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = World::new(1).await.unwrap().start(settings).await.unwrap();
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    (broker, client)
}

async fn produce(client: &mut Client, timestamp_ms: i64, values: &[&[u8]]) {
    let records = batch(timestamp_ms, None, values).unwrap();
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: "t".to_owned(),
            partition_data: vec![PartitionProduceData { index: 0, records: Some(records) }],
            ..Default::default()
        }],
    };
    let response = client.call(&request, 9).await.unwrap();
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

fn request(partition_index: i32, timestamp: i64) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "t".to_owned(),
            partitions: vec![ListOffsetsPartition {
                partition_index,
                timestamp,
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

async fn list(
    client: &mut Client,
    request: &ListOffsetsRequest,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let mut response = client.call(request, version).await.unwrap();
    response.topics[0].partitions.remove(0)
}

/// (error, timestamp, offset, leader epoch) of an answer.
async fn found(client: &mut Client, timestamp: i64, version: i16) -> (i16, i64, i64, i32) {
    let answer = list(client, &request(0, timestamp), version).await;
    (answer.error_code, answer.timestamp, answer.offset, answer.leader_epoch)
}

#[tokio::test(start_paused = true)]
async fn the_ends_are_found_in_every_version() {
    let (_broker, mut client) = start(&[]).await;
    assert_eq!(found(&mut client, -1, 11).await, (0, -1, 0, 0));
    produce(&mut client, EPOCH_MS, &[b"a", b"b"]).await;
    for version in 1..=11 {
        let epoch = if version >= 4 { 0 } else { -1 };
        assert_eq!(found(&mut client, -1, version).await, (0, -1, 2, epoch), "v{version}");
        assert_eq!(found(&mut client, -2, version).await, (0, -1, 0, epoch), "v{version}");
        let committed = ListOffsetsRequest { isolation_level: 1, ..request(0, -1) };
        if version >= 2 {
            assert_eq!(list(&mut client, &committed, version).await.offset, 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn special_timestamps_are_unsupported_before_their_version() {
    let (_broker, mut client) = start(&[]).await;
    let unsupported = ErrorCode::UnsupportedVersion.code();
    for (timestamp, since) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
        assert_eq!(found(&mut client, timestamp, since).await.0, 0);
        assert_eq!(found(&mut client, timestamp, since - 1).await, (unsupported, -1, -1, -1));
    }
    assert_eq!(found(&mut client, -7, 11).await.0, unsupported);
}

#[tokio::test(start_paused = true)]
async fn without_tiers_the_local_log_is_the_whole_log() {
    let (_broker, mut client) = start(&[]).await;
    produce(&mut client, EPOCH_MS, &[b"a"]).await;
    assert_eq!(found(&mut client, -4, 11).await, (0, -1, 0, 0));
    assert_eq!(found(&mut client, -5, 11).await, (0, -1, -1, -1));
    assert_eq!(found(&mut client, -6, 11).await, (0, -1, -1, -1));
}

#[tokio::test(start_paused = true)]
async fn offsets_are_found_by_time() {
    let (_broker, mut client) = start(&[]).await;
    for (offset, value) in [(0, b"a"), (10, b"b"), (5, b"c")] {
        produce(&mut client, EPOCH_MS + offset, &[value]).await;
    }
    let at = |offset: i64| EPOCH_MS + offset;
    assert_eq!(found(&mut client, at(-1), 5).await, (0, at(0), 0, 0));
    assert_eq!(found(&mut client, at(0), 5).await, (0, at(0), 0, 0));
    assert_eq!(found(&mut client, at(1), 5).await, (0, at(10), 1, 0));
    assert_eq!(found(&mut client, at(10), 5).await, (0, at(10), 1, 0));
    assert_eq!(found(&mut client, at(11), 5).await, (0, -1, -1, -1));
    assert_eq!(found(&mut client, -3, 7).await, (0, at(10), 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_empty_partition_has_no_largest_timestamp() {
    let (_broker, mut client) = start(&[]).await;
    assert_eq!(found(&mut client, -3, 7).await, (0, -1, -1, -1));
    assert_eq!(found(&mut client, 0, 7).await, (0, -1, -1, -1));
}

#[tokio::test(start_paused = true)]
async fn unknown_partitions_duplicates_and_epochs_are_refused() {
    let (_broker, mut client) = start(&[]).await;
    let unknown = list(&mut client, &request(1, -1), 5).await;
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition.code());
    let mut nowhere = request(0, -1);
    nowhere.topics[0].name = "nowhere".to_owned();
    let unknown = list(&mut client, &nowhere, 5).await;
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition.code());
    let mut twice = request(0, -1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    for answer in client.call(&twice, 5).await.unwrap().topics[0].partitions.clone() {
        assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
    }
    let mut fenced = request(0, -1);
    fenced.topics[0].partitions[0].current_leader_epoch = 1;
    let answer = list(&mut client, &fenced, 4).await;
    assert_eq!(answer.error_code, ErrorCode::UnknownLeaderEpoch.code());
}

#[tokio::test(start_paused = true)]
async fn epochs_end_where_the_next_began() {
    let world = World::new(1).await.unwrap();
    let broker = world.start(&[]).await.unwrap();
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    produce(&mut client, EPOCH_MS, &[b"a", b"b"]).await;
    broker.stop().await;
    let broker = world.start(&[]).await.unwrap();
    let mut client = broker.connect();
    produce(&mut client, EPOCH_MS, &[b"c"]).await;
    let current = found(&mut client, -1, 4).await.3;
    let mut end = async |leader_epoch: i32, current_leader_epoch: i32, partition: i32| {
        let request = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![OffsetForLeaderTopic {
                topic: "t".to_owned(),
                partitions: vec![OffsetForLeaderPartition {
                    partition,
                    current_leader_epoch,
                    leader_epoch,
                }],
            }],
        };
        let mut answers = Vec::new();
        for version in 2..=4 {
            let mut response = client.call(&request, version).await.unwrap();
            let answer = response.topics[0].partitions.remove(0);
            answers.push((answer.error_code, answer.leader_epoch, answer.end_offset));
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
        answers.remove(0)
    };
    assert_eq!(end(0, -1, 0).await, (0, 0, 2));
    assert_eq!(end(current, current, 0).await, (0, current, 3));
    assert_eq!(end(current + 1, -1, 0).await, (0, -1, -1));
    assert_eq!(end(0, 0, 0).await.0, ErrorCode::FencedLeaderEpoch.code());
    assert_eq!(end(0, current + 1, 0).await.0, ErrorCode::UnknownLeaderEpoch.code());
    assert_eq!(end(0, -1, 5).await.0, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test(start_paused = true)]
async fn producer_ids_are_never_handed_out_twice() {
    let world = World::new(1).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let broker = world.start(&[]).await.unwrap();
        let mut client = broker.connect();
        let init = InitProducerIdRequest {
            transactional_id: None,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        for version in 0..=5 {
            let response = client.call(&init, version).await.unwrap();
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            assert!(seen.insert(response.producer_id));
        }
        for _ in 0..1500 {
            assert!(seen.insert(client.call(&init, 4).await.unwrap().producer_id));
        }
        broker.stop().await;
    }
}

#[test]
fn each_special_timestamp_has_a_first_version() {
    for (timestamp, since) in [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
        assert!(target(timestamp, since).is_some(), "{timestamp} in v{since}");
        assert!(target(timestamp, since - 1).is_none(), "{timestamp} in v{}", since - 1);
    }
    assert_eq!(target(-7, 11), None);
    assert_eq!(target(0, 1), Some(Target::Time(0)));
}

#[test]
fn duplicates_are_found_across_mentions_of_a_topic() {
    let topic = |name: &str, indexes: &[i32]| ListOffsetsTopic {
        name: name.to_owned(),
        partitions: indexes
            .iter()
            .map(|index| ListOffsetsPartition { partition_index: *index, ..Default::default() })
            .collect(),
    };
    let request = ListOffsetsRequest {
        topics: vec![topic("a", &[0, 1]), topic("b", &[0]), topic("a", &[1])],
        ..Default::default()
    };
    assert_eq!(duplicates(&request), BTreeSet::from([("a", 1)]));
}

//! What the tests of topic administration share: a broker with one connection, and topics on it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::{
    ErrorCode,
    messages::{
        create_topics::{
            CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
        },
        find_coordinator::FindCoordinatorRequest,
        offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        },
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic},
        produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    },
};

use crate::testing::{Client, EPOCH_MS, TestBroker, World, batch};

/// A broker with these settings and a connection to it.
pub(crate) async fn start(settings: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = World::new(1).await.unwrap().start(settings).await.unwrap();
    let client = broker.connect();
    (broker, client)
}

/// A topic as CreateTopics asks for it.
pub(crate) fn topic(
    name: &str,
    num_partitions: i32,
    replication_factor: i16,
    configs: &[(&str, Option<&str>)],
) -> CreatableTopic {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
    });
    CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor,
        configs: configs.collect(),
        ..Default::default()
    }
}

/// Asks for one topic and returns what became of it.
pub(crate) async fn create_one(
    client: &mut Client,
    topic: CreatableTopic,
    version: i16,
) -> CreatableTopicResult {
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    client.call(&request, version).await.unwrap().topics.remove(0)
}

/// Creates a topic that must succeed.
pub(crate) async fn create(client: &mut Client, name: &str, num_partitions: i32) {
    let created = create_one(client, topic(name, num_partitions, 1, &[]), 7).await;
    assert_eq!(created.error_code, ErrorCode::None.code(), "{:?}", created.error_message);
}

/// Produces records with these values to a partition, with acks=all.
pub(crate) async fn produce(client: &mut Client, topic: &str, index: i32, values: &[&[u8]]) {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![PartitionProduceData {
                index,
                records: Some(batch(EPOCH_MS, None, values).unwrap()),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(&request, 9).await.unwrap();
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

/// A code and a message, as most answers carry them.
pub(crate) fn refusal(code: ErrorCode, message: &str) -> (i16, Option<String>) {
    (code.code(), Some(message.to_owned()))
}

/// Looks for a group's coordinator until there is one that answers.
pub(crate) async fn find_group_coordinator(client: &mut Client, group: &str) {
    let request = FindCoordinatorRequest { key: group.to_owned(), ..Default::default() };
    assert_eq!(client.call(&request, 3).await.unwrap().error_code, 0);
    // The new partitions are loaded in the background; the clock moves when all has been done.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

/// Commits an offset for a group without members.
pub(crate) async fn commit_offset(
    client: &mut Client,
    group: &str,
    topic: &str,
    index: i32,
    offset: i64,
) {
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: index,
                committed_offset: offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(&request, 8).await.unwrap();
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
}

/// A group's committed offset, -1 for none.
pub(crate) async fn fetched_offset(
    client: &mut Client,
    group: &str,
    topic: &str,
    index: i32,
) -> i64 {
    let request = OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: topic.to_owned(),
            partition_indexes: vec![index],
        }]),
        ..Default::default()
    };
    let response = client.call(&request, 7).await.unwrap();
    let partition = &response.topics[0].partitions[0];
    assert_eq!((response.error_code, partition.error_code), (0, 0));
    partition.committed_offset
}

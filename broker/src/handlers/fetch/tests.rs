//! Fetch through a whole broker: versions, errors, bounds, long polls, sessions.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::Bytes;
use protocol::{
    Records,
    messages::{
        fetch::{FetchPartition, FetchTopic, FetchableTopicResponse, ReplicaState},
        produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    },
    records::{RecordIter, batches},
};
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::testing::{Client, EPOCH_MS, TestBroker, World, batch};

const TOPIC: &str = "flights";

struct Setup {
    _world: World,
    broker: TestBroker,
    client: Client,
    id: Uuid,
}

async fn setup(settings: &[(&str, &str)]) -> Setup {
    let world = World::new(1).await.unwrap();
    let broker = world.start(settings).await.unwrap();
    let mut client = broker.connect();
    let created = client.create_topics(&[TOPIC]).await.unwrap();
    let id = created.topics[0].topic_id;
    Setup { _world: world, broker, client, id }
}

async fn produce(client: &mut Client, partition: i32, values: &[&[u8]]) {
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.to_owned(),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(batch(EPOCH_MS, None, values).unwrap()),
            }],
            ..Default::default()
        }],
    };
    let response = client.call(&request, 9).await.unwrap();
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

fn request(id: Uuid, partitions: &[(i32, i64)]) -> FetchRequest {
    let of = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: TOPIC.to_owned(),
            topic_id: id,
            partitions: partitions.iter().map(of).collect(),
        }],
        ..Default::default()
    }
}

fn only(response: &FetchResponse) -> &PartitionData {
    &response.responses[0].partitions[0]
}

fn values(data: &PartitionData) -> Vec<Bytes> {
    let bytes = data.records.as_ref().unwrap().to_bytes();
    let mut values = Vec::new();
    for batch in batches(&bytes) {
        let batch = batch.unwrap();
        for record in RecordIter::new(batch.borrowed().body(), batch.header().records_count) {
            values.push(Bytes::copy_from_slice(record.unwrap().value.unwrap()));
        }
    }
    values
}

#[tokio::test(start_paused = true)]
async fn every_version_reads_what_was_produced() {
    let Setup { mut client, id, .. } = setup(&[]).await;
    produce(&mut client, 0, &[b"a", b"b"]).await;
    for version in 4..=18 {
        let response = client.call(&request(id, &[(0, 0)]), version).await.unwrap();
        let FetchableTopicResponse { topic, topic_id, .. } = &response.responses[0];
        assert_eq!(topic, if version < 13 { TOPIC } else { "" });
        assert_eq!(*topic_id, if version < 13 { Uuid::nil() } else { id });
        let data = only(&response);
        assert_eq!((data.error_code, data.high_watermark, data.last_stable_offset), (0, 2, 2));
        assert_eq!(data.aborted_transactions, None);
        assert_eq!(values(data), [&b"a"[..], b"b"], "v{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn read_committed_gets_an_empty_list_of_aborted_transactions() {
    let Setup { mut client, id, .. } = setup(&[]).await;
    produce(&mut client, 0, &[b"a"]).await;
    let mut committed = request(id, &[(0, 0)]);
    committed.isolation_level = 1;
    let response = client.call(&committed, 12).await.unwrap();
    assert_eq!(only(&response).aborted_transactions, Some(Vec::new()));
    assert_eq!(values(only(&response)), [&b"a"[..]]);
    let at_end = FetchRequest { isolation_level: 1, ..request(id, &[(0, 1)]) };
    let response = client.call(&at_end, 12).await.unwrap();
    assert_eq!(only(&response).aborted_transactions, Some(Vec::new()));
}

/// A partition of the topic, past the handlers.
fn partition(broker: &TestBroker) -> Arc<storage::Partition> {
    let image = broker.broker.catalog.image();
    Arc::clone(image.by_name(TOPIC).unwrap().partition(0).unwrap())
}

/// A batch of a new transaction of producer 7.
async fn begin_transaction(partition: &storage::Partition, value: &[u8]) {
    let mut builder = protocol::records::BatchBuilder::new(protocol::records::Compression::None)
        .producer(7, 0, 0)
        .transactional(true);
    builder.append(0, EPOCH_MS, None, Some(value), &[]).unwrap();
    let bytes = builder.build().unwrap();
    let create_time = protocol::records::TimestampType::CreateTime;
    let records = protocol::records::ValidatedRecords::trusted(bytes, create_time, 0).unwrap();
    let guard = partition.begin_verification(common::ProducerId(7), 0, 0, true).unwrap();
    let (acks, origin) = (storage::Acks::All, storage::AppendOrigin::Client);
    partition.append_as(records, acks, origin, guard).unwrap().ticket.wait().await.unwrap();
}

async fn end_transaction(partition: &storage::Partition, commit: bool) {
    let end = storage::EndTransaction {
        producer_id: common::ProducerId(7),
        producer_epoch: 1,
        commit,
        coordinator_epoch: 0,
        transaction_version: 2,
    };
    let marker = partition.append_marker(end, storage::Acks::All).unwrap();
    marker.ticket.wait().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn read_committed_stops_at_the_last_stable_offset_and_is_told_what_was_aborted() {
    let Setup { mut client, broker, id, _world } = setup(&[]).await;
    let partition = partition(&broker);
    produce(&mut client, 0, &[b"a"]).await;
    begin_transaction(&partition, b"b").await;
    produce(&mut client, 0, &[b"c"]).await;
    let committed = FetchRequest { isolation_level: 1, ..request(id, &[(0, 0)]) };
    let response = client.call(&committed, 12).await.unwrap();
    let data = only(&response);
    assert_eq!((data.high_watermark, data.last_stable_offset), (3, 1));
    assert_eq!(values(data), [&b"a"[..]]);
    assert_eq!(data.aborted_transactions, Some(Vec::new()));
    let response = client.call(&request(id, &[(0, 0)]), 12).await.unwrap();
    assert_eq!((values(only(&response)).len(), only(&response).last_stable_offset), (3, 1));
    end_transaction(&partition, false).await;
    let response = client.call(&committed, 12).await.unwrap();
    let data = only(&response);
    assert_eq!(data.last_stable_offset, 4);
    let aborted = protocol::messages::fetch::AbortedTransaction { producer_id: 7, first_offset: 1 };
    assert_eq!(data.aborted_transactions, Some(vec![aborted]));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_in_read_committed_is_answered_when_the_transaction_ends() {
    let Setup { mut client, broker, id, _world } = setup(&[]).await;
    let partition = partition(&broker);
    begin_transaction(&partition, b"a").await;
    let mut poll = FetchRequest { isolation_level: 1, ..request(id, &[(0, 0)]) };
    poll.max_wait_ms = 60_000;
    let mut poll = Box::pin(client.call(&poll, 12));
    assert!(timeout(Duration::from_secs(1), poll.as_mut()).await.is_err());
    // What comes behind an open transaction wakes nobody for long.
    let mut other = broker.connect();
    produce(&mut other, 0, &[b"b"]).await;
    assert!(timeout(Duration::from_secs(1), poll.as_mut()).await.is_err());
    end_transaction(&partition, true).await;
    let response = timeout(Duration::from_secs(1), poll).await.unwrap().unwrap();
    assert_eq!(values(only(&response))[..2], [&b"a"[..], b"b"]);
}

#[tokio::test(start_paused = true)]
async fn offsets_outside_the_log_are_out_of_range() {
    let Setup { mut client, id, .. } = setup(&[]).await;
    produce(&mut client, 0, &[b"a"]).await;
    for offset in [-1, 2, i64::MAX] {
        let response = client.call(&request(id, &[(0, offset)]), 12).await.unwrap();
        let data = only(&response);
        assert_eq!(data.error_code, ErrorCode::OffsetOutOfRange.code(), "{offset}");
        assert_eq!((data.high_watermark, data.log_start_offset), (-1, -1));
        assert_eq!(data.records, Some(Records::new()));
    }
    let response = client.call(&request(id, &[(0, 1)]), 12).await.unwrap();
    assert_eq!((only(&response).error_code, only(&response).high_watermark), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_and_partitions_are_named() {
    let Setup { mut client, id, .. } = setup(&[]).await;
    let cases = [
        (13, Uuid::from_u128(7), 0, ErrorCode::UnknownTopicId),
        (13, Uuid::nil(), 0, ErrorCode::UnknownTopicId),
        (13, id, 1, ErrorCode::UnknownTopicOrPartition),
        (12, id, -1, ErrorCode::UnknownTopicOrPartition),
    ];
    for (version, id, partition, expected) in cases {
        let response = client.call(&request(id, &[(partition, 0)]), version).await.unwrap();
        assert_eq!(only(&response).error_code, expected.code());
        assert_eq!(only(&response).partition_index, partition);
    }
}

#[tokio::test(start_paused = true)]
async fn leader_epochs_fence_old_and_unknown_ones() {
    let Setup { broker, mut client, id, .. } = setup(&[]).await;
    let partition =
        Arc::clone(&broker.broker.catalog.image().by_name(TOPIC).unwrap().partitions[0]);
    let current = partition.leader_epoch().0;
    for (epoch, expected) in [
        (current, ErrorCode::None),
        (-1, ErrorCode::None),
        (current + 1, ErrorCode::UnknownLeaderEpoch),
    ] {
        let mut fenced = request(id, &[(0, 0)]);
        fenced.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = client.call(&fenced, 16).await.unwrap();
        assert_eq!(only(&response).error_code, expected.code(), "{epoch}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_leader_epoch_is_told_the_current_leader() {
    let world = World::new(1).await.unwrap();
    let first = world.start(&[]).await.unwrap();
    let id = first.connect().create_topics(&[TOPIC]).await.unwrap().topics[0].topic_id;
    first.stop().await;
    let second = world.start(&[]).await.unwrap();
    let mut client = second.connect();
    let mut fenced = request(id, &[(0, 0)]);
    fenced.topics[0].partitions[0].current_leader_epoch = 0;
    let response = client.call(&fenced, 16).await.unwrap();
    let data = only(&response);
    assert_eq!(data.error_code, ErrorCode::FencedLeaderEpoch.code());
    assert_eq!(data.current_leader.leader_id, second.broker.node_id.0);
    assert!(data.current_leader.leader_epoch > 0);
    assert_eq!(response.node_endpoints[0].host, "broker.test");
    assert!(client.call(&fenced, 15).await.unwrap().node_endpoints.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_diverges_is_told_where() {
    let world = World::new(1).await.unwrap();
    let first = world.start(&[]).await.unwrap();
    let mut client = first.connect();
    let id = client.create_topics(&[TOPIC]).await.unwrap().topics[0].topic_id;
    produce(&mut client, 0, &[b"a", b"b"]).await;
    first.stop().await;
    let second = world.start(&[]).await.unwrap();
    let mut client = second.connect();
    produce(&mut client, 0, &[b"c"]).await;
    let mut diverged = request(id, &[(0, 3)]);
    diverged.topics[0].partitions[0].last_fetched_epoch = 0;
    let response = client.call(&diverged, 12).await.unwrap();
    let data = only(&response);
    assert_eq!((data.error_code, data.diverging_epoch.epoch), (0, 0));
    assert_eq!(data.diverging_epoch.end_offset, 2);
    assert_eq!(data.records, Some(Records::new()));
    // A prefix of the log does not diverge.
    diverged.topics[0].partitions[0].fetch_offset = 2;
    let response = client.call(&diverged, 12).await.unwrap();
    assert_eq!(only(&response).diverging_epoch.epoch, -1);
    assert_eq!(values(only(&response)), [&b"c"[..]]);
}

#[tokio::test(start_paused = true)]
async fn followers_are_not_served() {
    let Setup { mut client, id, .. } = setup(&[]).await;
    let mut follower = request(id, &[(0, 0)]);
    follower.replica_id = 2;
    let response = client.call(&follower, 12).await.unwrap();
    assert_eq!(only(&response).error_code, ErrorCode::NotLeaderOrFollower.code());
    follower.replica_id = -1;
    follower.replica_state = ReplicaState { replica_id: 2, replica_epoch: 1 };
    let response = client.call(&follower, 15).await.unwrap();
    assert_eq!(only(&response).error_code, ErrorCode::NotLeaderOrFollower.code());
}

#[tokio::test(start_paused = true)]
async fn zstd_topics_are_served_in_every_version() {
    // Until Kafka 4.0, which dropped the conversion for old clients, versions below 10 were refused.
    let Setup { mut client, id, .. } = setup(&[("compression.type", "zstd")]).await;
    for version in [4, 9, 10] {
        let response = client.call(&request(id, &[(0, 0)]), version).await.unwrap();
        assert_eq!(only(&response).error_code, 0, "version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_batch_comes_whole_and_the_bound_holds_for_the_rest() {
    let Setup { mut client, id, .. } = setup(&[("num.partitions", "3")]).await;
    let value = vec![7; 10_000];
    for partition in 0..3 {
        produce(&mut client, partition, &[&value]).await;
    }
    let mut small = request(id, &[(0, 0), (1, 0), (2, 0)]);
    small.max_bytes = 100;
    let response = client.call(&small, 12).await.unwrap();
    let sizes: Vec<_> = response.responses[0]
        .partitions
        .iter()
        .map(|data| !data.records.as_ref().unwrap().is_empty())
        .collect();
    assert_eq!(sizes, [true, false, false]);
    small.max_bytes = 25_000;
    let response = client.call(&small, 12).await.unwrap();
    let sizes: Vec<_> = response.responses[0]
        .partitions
        .iter()
        .map(|data| !data.records.as_ref().unwrap().is_empty())
        .collect();
    assert_eq!(sizes, [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn partition_max_bytes_bounds_each_partition() {
    let Setup { mut client, id, .. } = setup(&[]).await;
    let value = vec![7; 10_000];
    for _ in 0..3 {
        produce(&mut client, 0, &[&value]).await;
    }
    let mut bounded = request(id, &[(0, 0)]);
    bounded.topics[0].partitions[0].partition_max_bytes = 21_000;
    let response = client.call(&bounded, 12).await.unwrap();
    assert_eq!(values(only(&response)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_is_answered_at_once_when_a_record_comes() {
    let Setup { broker, mut client, id, .. } = setup(&[]).await;
    let mut consumer = broker.connect();
    let waiting = FetchRequest { max_wait_ms: 60_000, ..request(id, &[(0, 0)]) };
    consumer.send(&waiting, 12).await.unwrap();
    assert!(timeout(Duration::from_secs(30), consumer.receive_raw()).await.is_err());
    let before = broker.broker.clock.monotonic();
    produce(&mut client, 0, &[b"news"]).await;
    // The pipe still holds nothing of the answer, so no byte of it was lost to the time-out.
    let response = consumer.receive::<FetchRequest>(12).await.unwrap();
    assert_eq!(values(only(&response)), [&b"news"[..]]);
    assert!((broker.broker.clock.monotonic() - before) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_after_max_wait() {
    let Setup { broker, mut client, id, .. } = setup(&[]).await;
    let waiting = FetchRequest { max_wait_ms: 500, ..request(id, &[(0, 0)]) };
    let before = broker.broker.clock.monotonic();
    let response = client.call(&waiting, 12).await.unwrap();
    let waited = broker.broker.clock.monotonic() - before;
    assert!(waited >= Duration::from_millis(500) && waited < Duration::from_millis(600));
    assert_eq!(only(&response).records, Some(Records::new()));
}

#[tokio::test(start_paused = true)]
async fn min_bytes_are_gathered() {
    let Setup { broker, mut client, id, .. } = setup(&[("num.partitions", "2")]).await;
    let mut consumer = broker.connect();
    let value = vec![7; 600];
    let mut waiting = request(id, &[(0, 0), (1, 0)]);
    (waiting.min_bytes, waiting.max_wait_ms) = (1000, 60_000);
    consumer.send(&waiting, 12).await.unwrap();
    produce(&mut client, 0, &[&value]).await;
    assert!(timeout(Duration::from_secs(1), consumer.receive_raw()).await.is_err());
    produce(&mut client, 1, &[&value]).await;
    let response = consumer.receive::<FetchRequest>(12).await.unwrap();
    let read: usize = response.responses[0].partitions.iter().map(|data| values(data).len()).sum();
    assert_eq!(read, 2);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_its_topic_goes() {
    let Setup { broker, id, .. } = setup(&[]).await;
    let mut consumer = broker.connect();
    let waiting = FetchRequest { max_wait_ms: 60_000, ..request(id, &[(0, 0)]) };
    consumer.send(&waiting, 12).await.unwrap();
    assert!(timeout(Duration::from_secs(1), consumer.receive_raw()).await.is_err());
    broker.broker.catalog.delete_topic(id.into()).await.unwrap();
    let response = timeout(Duration::from_secs(1), consumer.receive::<FetchRequest>(12)).await;
    let response = response.expect("the poll ends at once").unwrap();
    assert_eq!(only(&response).error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_its_client() {
    let Setup { broker, id, .. } = setup(&[("streamhouse.max.delayed.fetches", "1")]).await;
    let mut consumer = broker.connect();
    let waiting = FetchRequest { max_wait_ms: 60_000, ..request(id, &[(0, 0)]) };
    consumer.send(&waiting, 12).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(broker.broker.purgatory.enter().is_none());
    drop(consumer);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(broker.broker.purgatory.enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_purgatory_answers_at_once() {
    let Setup { broker, mut client, id, .. } =
        setup(&[("streamhouse.max.delayed.fetches", "1")]).await;
    let _taken = broker.broker.purgatory.enter();
    let before = broker.broker.clock.monotonic();
    let waiting = FetchRequest { max_wait_ms: 60_000, ..request(id, &[(0, 0)]) };
    assert_eq!(only(&client.call(&waiting, 12).await.unwrap()).error_code, 0);
    assert!((broker.broker.clock.monotonic() - before) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_session_answers_only_what_is_new() {
    let Setup { mut client, id, .. } = setup(&[("num.partitions", "2")]).await;
    let full = FetchRequest { session_epoch: 0, ..request(id, &[(0, 0), (1, 0)]) };
    let response = client.call(&full, 13).await.unwrap();
    let session_id = response.session_id;
    assert_ne!(session_id, 0);
    assert_eq!(response.responses[0].partitions.len(), 2);
    let next = |session_epoch| FetchRequest {
        session_id,
        session_epoch,
        min_bytes: 1,
        max_bytes: 1 << 20,
        ..Default::default()
    };
    let response = client.call(&next(1), 13).await.unwrap();
    assert_eq!((response.error_code, response.responses.len()), (0, 0));
    produce(&mut client, 1, &[b"x"]).await;
    let response = client.call(&next(2), 13).await.unwrap();
    assert_eq!(only(&response).partition_index, 1);
    assert_eq!(response.responses[0].partitions.len(), 1);
    let response = client.call(&next(2), 13).await.unwrap();
    assert_eq!(response.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
    let unknown = FetchRequest { session_id: session_id ^ 1, ..next(1) };
    let response = client.call(&unknown, 13).await.unwrap();
    assert_eq!(response.error_code, ErrorCode::FetchSessionIdNotFound.code());
}

#[tokio::test(start_paused = true)]
async fn fetched_memory_is_given_back() {
    let Setup { broker, mut client, id, .. } = setup(&[]).await;
    produce(&mut client, 0, &[&[7; 100_000]]).await;
    for _ in 0..10 {
        assert_eq!(values(only(&client.call(&request(id, &[(0, 0)]), 12).await.unwrap())).len(), 1);
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(broker.broker.fetch_memory.used(), 0);
    assert_eq!(broker.broker.request_memory.used(), 0);
}

//! Produce through a whole broker: versions, acknowledgements, refusals, idempotence, faults.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::{
    Records,
    messages::{
        fetch::FetchRequest,
        init_producer_id::InitProducerIdRequest,
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::{BatchBuilder, Compression},
};
use storage::wal::sim_fs::Faults;
use uuid::Uuid;

use super::*;
use crate::testing::{Client, ClientError, EPOCH_MS, TestBroker, World, batch};

const TOPIC: &str = "flights";

async fn broker(settings: &[(&str, &str)]) -> (World, TestBroker, Client, Uuid) {
    let world = World::new(1).await.unwrap();
    let broker = world.start(settings).await.unwrap();
    let mut client = broker.connect();
    let created = client.create_topics(&[TOPIC]).await.unwrap();
    let id = created.topics[0].topic_id;
    (world, broker, client, id)
}

fn request(topic_id: Uuid, acks: i16, partitions: Vec<(i32, Option<Records>)>) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.to_owned(),
            topic_id,
            partition_data: partitions
                .into_iter()
                .map(|(index, records)| PartitionProduceData { index, records })
                .collect(),
        }],
    }
}

fn one(topic_id: Uuid, acks: i16, records: Records) -> ProduceRequest {
    request(topic_id, acks, vec![(0, Some(records))])
}

fn plain(values: &[&[u8]]) -> Records {
    batch(EPOCH_MS, None, values).unwrap()
}

async fn produce(
    client: &mut Client,
    request: &ProduceRequest,
    version: i16,
) -> PartitionProduceResponse {
    let mut response = client.call(request, version).await.unwrap();
    response.responses[0].partition_responses.remove(0)
}

#[tokio::test(start_paused = true)]
async fn every_version_appends_and_answers_with_the_offset() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    for (offset, version) in (0..).step_by(2).zip(3..=13) {
        let answer = produce(&mut client, &one(id, -1, plain(&[b"a", b"b"])), version).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, offset), "v{version}");
        assert_eq!(answer.log_append_time_ms, -1);
        assert_eq!(answer.error_message, None);
        assert_eq!(answer.log_start_offset, if version >= 5 { 0 } else { -1 });
    }
}

#[tokio::test(start_paused = true)]
async fn versions_0_to_2_close_the_connection_as_kafka_4_does() {
    let (_world, broker, _client, _) = broker(&[]).await;
    for version in 0..=2_i16 {
        let mut client = broker.connect();
        let mut frame = vec![0, 0, 0, 18, 0, 0];
        frame.extend(version.to_be_bytes());
        frame.extend([0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0]);
        client.send_raw(&frame).await.unwrap();
        assert!(matches!(client.receive_raw().await, Err(ClientError::Closed)), "v{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn acks_1_and_all_answer_and_acks_0_does_not() {
    let (_world, broker, mut client, id) = broker(&[]).await;
    client.send(&one(id, 0, plain(&[b"silent"])), 9).await.unwrap();
    // The answer to the second request is the first that comes: none was owed to the first.
    client.send(&one(id, 1, plain(&[b"leader"])), 9).await.unwrap();
    let frame = client.receive_raw().await.unwrap();
    assert_eq!(&frame[..4], 2_i32.to_be_bytes());
    let partition = broker.broker.catalog.image().by_name(TOPIC).unwrap().partitions[0].clone();
    assert_eq!(partition.offsets().log_end, 2);
}

#[tokio::test(start_paused = true)]
async fn acks_0_closes_the_connection_on_an_error() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    let wrong_partition = request(id, 0, vec![(7, Some(plain(&[b"x"])))]);
    client.send(&wrong_partition, 9).await.unwrap();
    assert!(matches!(client.receive_raw().await, Err(ClientError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn other_acks_are_invalid() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    for acks in [-2, 2, i16::MAX] {
        let answer = produce(&mut client, &one(id, acks, plain(&[b"x"])), 9).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidRequiredAcks.code());
        assert_eq!(answer.base_offset, -1);
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_and_partitions_fail_alone() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    let both = request(id, -1, vec![(1, Some(plain(&[b"x"]))), (0, Some(plain(&[b"y"])))]);
    let response = client.call(&both, 12).await.unwrap();
    let answers = &response.responses[0].partition_responses;
    assert_eq!(answers[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!((answers[1].error_code, answers[1].base_offset), (0, 0));

    let answer = produce(&mut client, &one(Uuid::from_u128(7), -1, plain(&[b"x"])), 13).await;
    assert_eq!(answer.error_code, ErrorCode::UnknownTopicId.code());
    let mut unnamed = one(Uuid::nil(), -1, plain(&[b"x"]));
    unnamed.topic_data[0].name = "nowhere".to_owned();
    let answer = produce(&mut client, &unnamed, 12).await;
    assert_eq!(answer.error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test(start_paused = true)]
async fn what_validation_refuses_is_named() {
    let (_world, _broker, mut client, id) = broker(&[("message.max.bytes", "1000")]).await;
    let mut corrupt = plain(&[b"x"]).to_bytes().to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    let too_large = plain(&[&[0; 1000]]);
    let mut control = BatchBuilder::new(Compression::None).control(true).producer(1, 0, 0);
    control.append(0, EPOCH_MS, Some(b"\0\0\0\0"), None, &[]).unwrap();
    let cases = [
        (Some(Records::from(bytes::Bytes::from(corrupt))), ErrorCode::CorruptMessage),
        (Some(too_large), ErrorCode::MessageTooLarge),
        (Some(control.build().unwrap().into()), ErrorCode::InvalidRecord),
        (Some(Records::new()), ErrorCode::InvalidRecord),
        (None, ErrorCode::InvalidRecord),
    ];
    for (records, expected) in cases {
        let answer = produce(&mut client, &request(id, -1, vec![(0, records)]), 9).await;
        assert_eq!(answer.error_code, expected.code(), "{expected:?}");
        assert!(answer.error_message.is_some());
        assert_eq!((answer.base_offset, answer.log_start_offset), (-1, -1));
    }
}

#[tokio::test(start_paused = true)]
async fn zstd_needs_version_7() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    let mut builder = BatchBuilder::new(Compression::Zstd(0));
    builder.append(0, EPOCH_MS, None, Some(b"x"), &[]).unwrap();
    let records: Records = builder.build().unwrap().into();
    let answer = produce(&mut client, &one(id, -1, records.clone()), 6).await;
    assert_eq!(answer.error_code, ErrorCode::UnsupportedCompressionType.code());
    assert_eq!(produce(&mut client, &one(id, -1, records), 7).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn bad_records_are_listed_from_version_8() {
    let (_world, _broker, mut client, id) =
        broker(&[("log.message.timestamp.after.max.ms", "1000")]).await;
    let records = batch(EPOCH_MS + 3_600_000, None, &[b"late"]).unwrap();
    let answer = produce(&mut client, &one(id, -1, records.clone()), 8).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidTimestamp.code());
    assert_eq!(answer.record_errors[0].batch_index, 0);
    assert_eq!(answer.log_start_offset, 0);
    let answer = produce(&mut client, &one(id, -1, records), 7).await;
    assert!(answer.record_errors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_answered_with_its_original() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    let init = InitProducerIdRequest {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let producer = client.call(&init, 4).await.unwrap();
    let at = |sequence, value: &[u8]| {
        batch(EPOCH_MS, Some((producer.producer_id, 0, sequence)), &[value]).unwrap()
    };
    for (sequence, value) in [(0, b"a"), (1, b"b")] {
        let answer = produce(&mut client, &one(id, -1, at(sequence, value)), 9).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(sequence)));
    }
    let again = produce(&mut client, &one(id, -1, at(0, b"a")), 9).await;
    assert_eq!((again.error_code, again.base_offset), (0, 0));
    let gap = produce(&mut client, &one(id, -1, at(5, b"f")), 9).await;
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
}

#[tokio::test(start_paused = true)]
async fn transactions_are_refused_without_a_coordinator_and_without_an_id() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    let mut builder = BatchBuilder::new(Compression::None).transactional(true).producer(1, 0, 0);
    builder.append(0, EPOCH_MS, None, Some(b"x"), &[]).unwrap();
    let records: Records = builder.build().unwrap().into();
    let mut transactional = one(id, -1, records.clone());
    transactional.transactional_id = Some("t".to_owned());
    // There is no `__transaction_state` yet: every client tries again.
    for version in [9, 11, 12] {
        let answer = produce(&mut client, &transactional, version).await;
        assert_eq!(answer.error_code, ErrorCode::NotEnoughReplicas.code());
    }
    let answer = produce(&mut client, &one(id, -1, records), 9).await;
    assert_eq!(answer.error_code, ErrorCode::TransactionalIdAuthorizationFailed.code());
}

#[tokio::test(start_paused = true)]
async fn log_append_time_is_answered() {
    let (_world, _broker, mut client, id) =
        broker(&[("log.message.timestamp.type", "LogAppendTime")]).await;
    let answer = produce(&mut client, &one(id, -1, plain(&[b"x"])), 9).await;
    assert_eq!(answer.error_code, 0);
    assert!(answer.log_append_time_ms >= EPOCH_MS);
}

#[tokio::test(start_paused = true)]
async fn pipelined_produces_are_appended_and_answered_in_order() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    for index in 0..200_u32 {
        client.send(&one(id, -1, plain(&[&index.to_be_bytes()])), 9).await.unwrap();
    }
    for offset in 0..200 {
        let response = client.receive::<ProduceRequest>(9).await.unwrap();
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_a_produce_sees_it() {
    let (_world, _broker, mut client, id) = broker(&[]).await;
    client.send(&one(id, -1, plain(&[b"x"])), 9).await.unwrap();
    let fetch = FetchRequest {
        max_bytes: 1000,
        session_epoch: -1,
        topics: vec![protocol::messages::fetch::FetchTopic {
            topic: TOPIC.to_owned(),
            topic_id: id,
            partitions: vec![protocol::messages::fetch::FetchPartition {
                partition_max_bytes: 1000,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    client.send(&fetch, 12).await.unwrap();
    assert_eq!(
        client.receive::<ProduceRequest>(9).await.unwrap().responses[0].partition_responses[0]
            .base_offset,
        0
    );
    let fetched = client.receive::<FetchRequest>(12).await.unwrap();
    assert_eq!(fetched.responses[0].partitions[0].high_watermark, 1);
    assert!(!fetched.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_a_storage_error_and_takes_nothing_in() {
    let (world, _broker, mut client, id) = broker(&[]).await;
    world.wal_fs.set_faults(Faults { fail_write_after: Some(0), ..Faults::default() });
    let answer = produce(&mut client, &one(id, -1, plain(&[b"lost"])), 9).await;
    assert_eq!(answer.error_code, ErrorCode::KafkaStorageError.code());
    assert_eq!(answer.base_offset, -1);
    world.wal_fs.set_faults(Faults::default());
    let mut answer = produce(&mut client, &one(id, -1, plain(&[b"kept"])), 9).await;
    for _ in 0..100 {
        if answer.error_code == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = produce(&mut client, &one(id, -1, plain(&[b"kept"])), 9).await;
    }
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_does_not_come_times_out_with_its_offset() {
    let (world, broker, mut client, id) = broker(&[]).await;
    world.wal_fs.set_faults(Faults { latency_ms_max: 3_600_000, ..Faults::default() });
    let mut timed_out = 0;
    for offset in 0..5 {
        let answer = produce(&mut client, &one(id, -1, plain(&[b"x"])), 9).await;
        if answer.error_code == ErrorCode::RequestTimedOut.code() {
            assert_eq!(answer.base_offset, offset, "the outcome is unknown, the offset is not");
            timed_out += 1;
        } else {
            assert_eq!(answer.error_code, 0);
        }
    }
    assert!(timed_out > 0);
    // What timed out may still happen, and here it does.
    world.wal_fs.set_faults(Faults::default());
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    let mut client = broker.connect();
    let answer = produce(&mut client, &one(id, -1, plain(&[b"y"])), 9).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_slows_producers_and_then_times_out() {
    let settings = [("streamhouse.memory.wal.bytes", "1048576"), ("num.partitions", "1")];
    let (world, broker, _client, id) = broker(&settings).await;
    world.wal_fs.set_faults(Faults { latency_ms_max: 3_600_000, ..Faults::default() });
    let value = vec![7; 300_000];
    let mut clients: Vec<_> = (0..10).map(|_| broker.connect()).collect();
    for client in &mut clients {
        client.send(&one(id, -1, plain(&[&value])), 9).await.unwrap();
    }
    let mut appended = 0;
    for client in &mut clients {
        let response = client.receive::<ProduceRequest>(9).await.unwrap();
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, ErrorCode::RequestTimedOut.code());
        appended += i32::from(answer.base_offset >= 0);
    }
    assert!(appended > 0 && appended < 10, "{appended} of 10 were taken on");
}

#[tokio::test(start_paused = true)]
async fn internal_topics_are_written_by_the_admin_client_only() {
    let (_world, broker, mut client, _) = broker(&[]).await;
    let id = broker.broker.rng.uuid();
    let topic = metadata::NewTopic {
        id: id.into(),
        name: "__consumer_offsets".to_owned(),
        internal: true,
        configs: Default::default(),
        replication_factor: 1,
        created_ms: 0,
        partitions: vec![vec![1]],
    };
    broker.broker.catalog.create_topic(topic).await.unwrap();
    let answer = produce(&mut client, &one(id, -1, plain(&[b"x"])), 13).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidTopicException.code());
    client.client_id = ADMIN_CLIENT_ID.to_owned();
    assert_eq!(produce(&mut client, &one(id, -1, plain(&[b"x"])), 13).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_null_transactional_id_is_what_most_producers_send() {
    let resources = Produce::resources(&one(Uuid::nil(), 1, Records::new()));
    assert_eq!(resources, [Access::new(Operation::Write, Resource::Topic(TOPIC.to_owned()))]);
}

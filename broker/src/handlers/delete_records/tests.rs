//! DeleteRecords: where the log start may move, and where not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};

use super::*;
use crate::{
    handlers::test_support::{create, create_one, produce, start, topic},
    testing::Client,
};

async fn delete(
    client: &mut Client,
    name: &str,
    partitions: &[(i32, i64)],
    version: i16,
) -> Vec<(i64, i16)> {
    let partitions = partitions.iter().map(|(partition_index, offset)| DeleteRecordsPartition {
        partition_index: *partition_index,
        offset: *offset,
    });
    let topic = DeleteRecordsTopic { name: name.to_owned(), partitions: partitions.collect() };
    let request = DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
    let mut response = client.call(&request, version).await.unwrap();
    let partitions = response.topics.remove(0).partitions;
    partitions.into_iter().map(|result| (result.low_watermark, result.error_code)).collect()
}

#[tokio::test(start_paused = true)]
async fn moves_the_log_start_in_every_version_and_never_back() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    produce(&mut client, "a", 0, &[b"0", b"1", b"2", b"3"]).await;
    for version in 0..=2 {
        let to = i64::from(version) + 1;
        assert_eq!(delete(&mut client, "a", &[(0, to)], version).await, [(to, 0)]);
    }
    assert_eq!(delete(&mut client, "a", &[(0, 1)], 2).await, [(3, 0)]);
    let image = broker.broker.catalog.image();
    assert_eq!(image.by_name("a").unwrap().partition(0).unwrap().offsets().log_start, 3);
}

#[tokio::test(start_paused = true)]
async fn minus_one_is_the_high_watermark() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    assert_eq!(delete(&mut client, "a", &[(0, -1)], 2).await, [(0, 0)]);
    produce(&mut client, "a", 0, &[b"0", b"1"]).await;
    assert_eq!(delete(&mut client, "a", &[(0, -1)], 2).await, [(2, 0)]);
}

#[tokio::test(start_paused = true)]
async fn offsets_beyond_the_high_watermark_are_out_of_range() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 2).await;
    let out_of_range = (-1, ErrorCode::OffsetOutOfRange.code());
    assert_eq!(delete(&mut client, "a", &[(0, 1), (1, -2)], 2).await, [out_of_range, out_of_range]);
}

#[tokio::test(start_paused = true)]
async fn unknown_partitions_are_reported() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let unknown = (-1, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(delete(&mut client, "a", &[(7, 0)], 2).await, [unknown]);
    assert_eq!(delete(&mut client, "nope", &[(0, 0)], 2).await, [unknown]);
}

#[tokio::test(start_paused = true)]
async fn compacted_and_internal_topics_keep_their_records() {
    let (_broker, mut client) = start(&[]).await;
    create_one(&mut client, topic("c", 1, 1, &[("cleanup.policy", Some("compact"))]), 7).await;
    assert_eq!(
        delete(&mut client, "c", &[(0, -1)], 2).await,
        [(-1, ErrorCode::PolicyViolation.code())]
    );
    create(&mut client, "__consumer_offsets", 1).await;
    assert_eq!(
        delete(&mut client, "__consumer_offsets", &[(0, -1)], 2).await,
        [(-1, ErrorCode::InvalidTopicException.code())]
    );
}

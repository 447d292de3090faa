//! CreatePartitions: counts, assignments, limits, and every refusal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::create_partitions::CreatePartitionsAssignment;

use super::*;
use crate::{
    handlers::test_support::{create, produce, refusal, start},
    testing::Client,
};

fn more(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignments = assignments.map(|assignments| {
        assignments
            .iter()
            .map(|brokers| CreatePartitionsAssignment { broker_ids: brokers.to_vec() })
            .collect()
    });
    CreatePartitionsTopic { name: name.to_owned(), count, assignments }
}

async fn ask(
    client: &mut Client,
    topics: Vec<CreatePartitionsTopic>,
    version: i16,
) -> Vec<(i16, Option<String>)> {
    let request = CreatePartitionsRequest { topics, ..Default::default() };
    let response = client.call(&request, version).await.unwrap();
    response.results.into_iter().map(|result| (result.error_code, result.error_message)).collect()
}

#[tokio::test(start_paused = true)]
async fn adds_partitions_that_take_records_in_every_version() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    for version in 0..=3 {
        let count = i32::from(version) + 2;
        assert_eq!(ask(&mut client, vec![more("a", count, None)], version).await, [(0, None)]);
        produce(&mut client, "a", count - 1, &[b"x"]).await;
    }
    let image = broker.broker.catalog.image();
    assert_eq!(image.by_name("a").unwrap().partitions.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn validate_only_changes_nothing() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let topics = vec![more("a", 3, None)];
    let request = CreatePartitionsRequest { topics, validate_only: true, ..Default::default() };
    assert_eq!(client.call(&request, 3).await.unwrap().results[0].error_code, 0);
    assert_eq!(broker.broker.catalog.image().by_name("a").unwrap().partitions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_kafka() {
    let (_broker, mut client) = start(&[("streamhouse.max.partitions", "10")]).await;
    create(&mut client, "a", 3).await;
    let invalid = ErrorCode::InvalidReplicaAssignment;
    let cases = [
        (
            more("a", 3, None),
            refusal(ErrorCode::InvalidPartitions, "Topic already has 3 partition(s)."),
        ),
        (
            more("a", 2, None),
            refusal(
                ErrorCode::InvalidPartitions,
                "The topic a currently has 3 partition(s); 2 would not be an increase.",
            ),
        ),
        (
            more("a", 5, Some(&[&[1]])),
            refusal(
                invalid,
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were \
                 specified.",
            ),
        ),
        (
            more("a", 4, Some(&[&[2]])),
            refusal(
                invalid,
                "The manual partition assignment includes broker 2, but no such broker is \
                 registered.",
            ),
        ),
        (
            more("a", 4, Some(&[&[]])),
            refusal(invalid, "The manual partition assignment includes an empty replica list."),
        ),
        (more("nope", 4, None), (ErrorCode::UnknownTopicOrPartition.code(), None)),
    ];
    for (asked, expected) in cases {
        assert_eq!(ask(&mut client, vec![asked], 3).await, [expected]);
    }
    let too_many = ask(&mut client, vec![more("a", 11, None)], 3).await;
    assert_eq!(too_many[0].0, ErrorCode::PolicyViolation.code());
}

#[tokio::test(start_paused = true)]
async fn a_topic_twice_in_a_request_is_refused_once() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    assert_eq!(
        ask(&mut client, vec![more("a", 2, None), more("a", 3, None)], 3).await,
        [refusal(ErrorCode::InvalidRequest, "Duplicate topic name.")]
    );
}

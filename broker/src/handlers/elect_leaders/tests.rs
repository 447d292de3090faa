//! ElectLeaders: never needed, and every refusal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::handlers::test_support::{create, refusal, start};

fn asked(topic: &str, partitions: &[i32]) -> TopicPartitions {
    TopicPartitions { topic: topic.to_owned(), partitions: partitions.to_vec() }
}

#[tokio::test(start_paused = true)]
async fn no_election_is_needed_in_any_version() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    for version in 0..=2 {
        let request = ElectLeadersRequest {
            topic_partitions: Some(vec![asked("a", &[0])]),
            ..Default::default()
        };
        let response = client.call(&request, version).await.unwrap();
        let result = &response.replica_election_results[0].partition_result[0];
        assert_eq!(
            (result.error_code, result.error_message.clone()),
            refusal(
                ErrorCode::ElectionNotNeeded,
                "Leader election not needed for topic partition."
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_and_partitions_are_reported() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let request = ElectLeadersRequest {
        election_type: UNCLEAN,
        topic_partitions: Some(vec![asked("a", &[9]), asked("nope", &[0])]),
        ..Default::default()
    };
    let response = client.call(&request, 2).await.unwrap();
    let results: Vec<_> = response
        .replica_election_results
        .iter()
        .map(|topic| &topic.partition_result[0])
        .map(|result| (result.error_code, result.error_message.clone()))
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(
        results,
        [refusal(unknown, "No such partition as a-9"), refusal(unknown, "No such topic as nope")]
    );
}

#[tokio::test(start_paused = true)]
async fn asked_for_all_names_topics_only() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 2).await;
    let request = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    let response = client.call(&request, 2).await.unwrap();
    let topics: Vec<_> = response
        .replica_election_results
        .iter()
        .map(|topic| (topic.topic.as_str(), topic.partition_result.len()))
        .collect();
    assert_eq!(topics, [("a", 0)]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_election_is_refused() {
    let (_broker, mut client) = start(&[]).await;
    let request = ElectLeadersRequest { election_type: 7, ..Default::default() };
    let response = client.call(&request, 2).await.unwrap();
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());
}

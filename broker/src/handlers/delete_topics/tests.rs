//! DeleteTopics: by name and by id, and every refusal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::handlers::test_support::{create, refusal, start};

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState { name: Some(name.to_owned()), topic_id: Uuid::nil() }
}

fn by_id(topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState { name: None, topic_id }
}

fn request(topics: Vec<DeleteTopicState>) -> DeleteTopicsRequest {
    DeleteTopicsRequest { topics, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn deletes_by_name_in_every_version() {
    let (broker, mut client) = start(&[]).await;
    for version in 1..=6 {
        create(&mut client, "a", 2).await;
        let asked = if version < 6 {
            DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() }
        } else {
            request(vec![by_name("a")])
        };
        let response = client.call(&asked, version).await.unwrap();
        assert_eq!(response.responses[0].error_code, 0);
        assert_eq!(response.responses[0].name.as_deref(), Some("a"));
        assert_eq!(response.responses[0].topic_id.is_nil(), version < 6);
        assert!(broker.broker.catalog.image().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn deletes_by_id_and_names_the_topic() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let id = broker.broker.catalog.image().by_name("a").unwrap().topic.id.0;
    let response = client.call(&request(vec![by_id(id)]), 6).await.unwrap();
    let result = &response.responses[0];
    assert_eq!((result.error_code, result.name.as_deref()), (0, Some("a")));
    let response = client.call(&request(vec![by_id(id)]), 6).await.unwrap();
    assert_eq!(response.responses[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_name_can_be_used_again_under_another_id() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let first = broker.broker.catalog.image().by_name("a").unwrap().topic.id;
    client.call(&request(vec![by_name("a")]), 6).await.unwrap();
    create(&mut client, "a", 1).await;
    assert_ne!(broker.broker.catalog.image().by_name("a").unwrap().topic.id, first);
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_kafka() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let both = DeleteTopicState { name: Some("a".to_owned()), topic_id: Uuid::from_u128(5) };
    let asked = vec![
        by_name("nope"),
        by_id(Uuid::from_u128(7)),
        by_id(Uuid::nil()),
        both,
        by_name("a"),
        by_name("a"),
    ];
    let response = client.call(&request(asked), 6).await.unwrap();
    let results: Vec<_> = response
        .responses
        .into_iter()
        .map(|result| (result.error_code, result.error_message))
        .collect();
    assert_eq!(
        results,
        [
            refusal(
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic-partition."
            ),
            refusal(ErrorCode::UnknownTopicId, "This server does not host this topic ID."),
            refusal(ErrorCode::InvalidRequest, "Neither topic name nor id were specified."),
            refusal(ErrorCode::InvalidRequest, "You may not specify both topic name and topic id."),
            refusal(ErrorCode::InvalidRequest, "Duplicate topic name."),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn deletion_can_be_disabled() {
    let (broker, mut client) = start(&[("delete.topic.enable", "false")]).await;
    create(&mut client, "a", 1).await;
    let response = client.call(&request(vec![by_name("a")]), 6).await.unwrap();
    assert_eq!(response.responses[0].error_code, ErrorCode::TopicDeletionDisabled.code());
    let old = DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() };
    let response = client.call(&old, 2).await.unwrap();
    assert_eq!(response.responses[0].error_code, ErrorCode::InvalidRequest.code());
    assert_eq!(broker.broker.catalog.image().len(), 1);
}

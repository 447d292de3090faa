//! DescribeTopicPartitions: pages, cursors and limits.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::describe_topic_partitions::TopicRequest;

use super::*;
use crate::{
    handlers::test_support::{create, start},
    testing::Client,
};

/// Topic names with an error code and partition indexes, and the cursor.
type Described = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

async fn ask(
    client: &mut Client,
    topics: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> Described {
    let request = DescribeTopicPartitionsRequest {
        topics: topics.iter().map(|name| TopicRequest { name: (*name).to_owned() }).collect(),
        response_partition_limit: limit,
        cursor: cursor
            .map(|(name, partition_index)| Cursor { topic_name: name.to_owned(), partition_index }),
    };
    let response = client.call(&request, 0).await.unwrap();
    let topics = response.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition.partition_index);
        (topic.name.unwrap(), topic.error_code, partitions.collect())
    });
    let cursor = response.next_cursor.map(|cursor| (cursor.topic_name, cursor.partition_index));
    (topics.collect(), cursor)
}

fn one(name: &str, partitions: &[i32]) -> (String, i16, Vec<i32>) {
    (name.to_owned(), 0, partitions.to_vec())
}

fn next(name: &str, partition: i32) -> Option<(String, i32)> {
    Some((name.to_owned(), partition))
}

async fn two_topics() -> (crate::testing::TestBroker, Client) {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "b", 2).await;
    create(&mut client, "a", 3).await;
    (broker, client)
}

#[tokio::test(start_paused = true)]
async fn topics_come_once_and_in_order_of_names() {
    let (_broker, mut client) = two_topics().await;
    let all = (vec![one("a", &[0, 1, 2]), one("b", &[0, 1])], None);
    assert_eq!(ask(&mut client, &[], 2000, None).await, all);
    assert_eq!(ask(&mut client, &["b", "a", "b"], 2000, None).await, all);
}

#[tokio::test(start_paused = true)]
async fn a_page_ends_with_the_cursor_of_the_next_partition() {
    let (_broker, mut client) = two_topics().await;
    let first = ask(&mut client, &[], 2, None).await;
    assert_eq!(first, (vec![one("a", &[0, 1])], next("a", 2)));
    let second = ask(&mut client, &[], 2, Some(("a", 2))).await;
    assert_eq!(second, (vec![one("a", &[2]), one("b", &[0])], next("b", 1)));
    let third = ask(&mut client, &[], 2, Some(("b", 1))).await;
    assert_eq!(third, (vec![one("b", &[1])], None));
}

#[tokio::test(start_paused = true)]
async fn a_full_page_points_to_the_next_topic() {
    let (_broker, mut client) = two_topics().await;
    let page = ask(&mut client, &[], 3, None).await;
    assert_eq!(page, (vec![one("a", &[0, 1, 2])], next("b", 0)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_below_one_is_one_and_the_brokers_own_limit_holds() {
    let (_broker, mut client) = two_topics().await;
    for limit in [0, -1] {
        let page = ask(&mut client, &["a"], limit, None).await;
        assert_eq!(page, (vec![one("a", &[0])], next("a", 1)));
    }
    let (_broker, mut client) = start(&[("max.request.partition.size.limit", "2")]).await;
    create(&mut client, "a", 3).await;
    let page = ask(&mut client, &["a"], 2000, None).await;
    assert_eq!(page, (vec![one("a", &[0, 1])], next("a", 2)));
}

#[tokio::test(start_paused = true)]
async fn unknown_and_invalid_names_are_reported() {
    let (_broker, mut client) = two_topics().await;
    let (topics, cursor) = ask(&mut client, &["nope", "bad name"], 10, None).await;
    let codes: Vec<_> = topics.iter().map(|topic| (topic.0.as_str(), topic.1)).collect();
    let invalid = ErrorCode::InvalidTopicException.code();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes, [("bad name", invalid), ("nope", unknown)]);
    assert_eq!(cursor, None);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_must_fit_the_request() {
    let (_broker, mut client) = two_topics().await;
    for cursor in [("a", -1), ("zz", 0)] {
        let (topics, _) = ask(&mut client, &["a"], 10, Some(cursor)).await;
        assert_eq!(topics[0].1, ErrorCode::InvalidRequest.code());
    }
    let beyond = ask(&mut client, &["a"], 10, Some(("a", 9))).await;
    assert_eq!(beyond, (vec![one("a", &[])], None));
}

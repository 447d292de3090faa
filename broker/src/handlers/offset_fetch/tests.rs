//! OffsetFetch through a whole broker: every version, several groups, all topics, unknown ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::offset_fetch::OffsetFetchRequestTopic;

use super::*;
use crate::handlers::test_support::{commit_offset, create, find_group_coordinator, start};

#[tokio::test(start_paused = true)]
async fn every_version_reads_what_was_committed() {
    let (broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 2).await;
    find_group_coordinator(&mut client, "g").await;
    commit_offset(&mut client, "g", "t", 1, 42).await;
    let id = broker.broker.catalog.image().by_name("t").unwrap().topic.id.0;
    for version in 1..=10_i16 {
        let old = OffsetFetchRequestTopic { name: "t".to_owned(), partition_indexes: vec![0, 1] };
        let (name, topic_id) = if version < 10 { ("t", uuid::Uuid::nil()) } else { ("", id) };
        let new = OffsetFetchRequestTopics {
            name: name.to_owned(),
            topic_id,
            partition_indexes: vec![0, 1],
        };
        let request = if version < BATCHED_SINCE {
            OffsetFetchRequest {
                group_id: "g".to_owned(),
                topics: Some(vec![old]),
                ..Default::default()
            }
        } else {
            let group = |group_id: &str| OffsetFetchRequestGroup {
                group_id: group_id.to_owned(),
                topics: Some(vec![new.clone()]),
                member_epoch: -1,
                member_id: None,
            };
            OffsetFetchRequest { groups: vec![group("g"), group("none")], ..Default::default() }
        };
        let response = client.call(&request, version).await.unwrap();
        let offsets: Vec<_> = if version < BATCHED_SINCE {
            response.topics[0].partitions.iter().map(|p| p.committed_offset).collect()
        } else {
            assert_eq!(response.groups.len(), 2);
            assert_eq!(response.groups[1].topics[0].partitions[1].committed_offset, -1);
            response.groups[0].topics[0].partitions.iter().map(|p| p.committed_offset).collect()
        };
        assert_eq!(offsets, [-1, 42], "v{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_topics_of_a_group_are_listed_by_name_or_id() {
    let (broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    for topic in ["a", "b"] {
        create(&mut client, topic, 1).await;
    }
    find_group_coordinator(&mut client, "g").await;
    for topic in ["b", "a"] {
        commit_offset(&mut client, "g", topic, 0, 3).await;
    }
    let request = |version| OffsetFetchRequest {
        group_id: if version < BATCHED_SINCE { "g".to_owned() } else { String::new() },
        topics: if version < BATCHED_SINCE { None } else { Some(Vec::new()) },
        groups: if version < BATCHED_SINCE {
            Vec::new()
        } else {
            vec![OffsetFetchRequestGroup {
                group_id: "g".to_owned(),
                topics: None,
                member_epoch: -1,
                member_id: None,
            }]
        },
        ..Default::default()
    };
    let old = client.call(&request(7), 7).await.unwrap();
    assert_eq!(old.topics.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let new = client.call(&request(10), 10).await.unwrap();
    let image = broker.broker.catalog.image();
    let ids: Vec<_> = ["a", "b"].map(|name| image.by_name(name).unwrap().topic.id.0).into();
    assert_eq!(new.groups[0].topics.iter().map(|t| t.topic_id).collect::<Vec<_>>(), ids);
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_and_a_missing_coordinator_are_errors() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            topics: Some(vec![OffsetFetchRequestTopics {
                topic_id: uuid::Uuid::from_u128(9),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            member_epoch: -1,
            member_id: None,
        }],
        ..Default::default()
    };
    let response = client.call(&request, 10).await.unwrap();
    assert_eq!(response.groups[0].error_code, ErrorCode::NotCoordinator.code());
    find_group_coordinator(&mut client, "g").await;
    let response = client.call(&request, 10).await.unwrap();
    let partition = &response.groups[0].topics[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::UnknownTopicId.code());
}

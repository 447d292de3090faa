//! The coordinators in a whole broker: durability, loading, stopping.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use protocol::{ErrorCode, messages::list_groups::ListGroupsRequest};
use storage::Durability;
use tokio::time::sleep;

use crate::{
    handlers::test_support::{
        commit_offset, create, create_one, fetched_offset, find_group_coordinator, start, topic,
    },
    testing::World,
    topic_name,
};

#[tokio::test(start_paused = true)]
async fn internal_topics_take_the_strongest_durability_class_in_use() {
    let (broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    find_group_coordinator(&mut client, "g").await;
    let class = || {
        let image = broker.broker.catalog.image();
        image.by_name(topic_name::CONSUMER_OFFSETS).unwrap().log_config.durability
    };
    assert_eq!(class(), Durability::Local);
    let object = topic("t", 1, 1, &[("streamhouse.durability", Some("object"))]);
    assert_eq!(create_one(&mut client, object, 7).await.error_code, 0);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(class(), Durability::Object);
    commit_offset(&mut client, "g", "t", 0, 3).await;
    assert_eq!(fetched_offset(&mut client, "g", "t", 0).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_broker_answers_that_it_coordinates_nothing() {
    let (broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    broker.broker.coordination.stop();
    let listed = broker.broker.coordination.groups.list_groups(&ListGroupsRequest::default()).await;
    assert_eq!(listed, Ok(Vec::new()));
    let deleted = broker.broker.coordination.groups.delete_group("g").await;
    assert_eq!(deleted, Err(ErrorCode::NotCoordinator));
}

#[tokio::test(start_paused = true)]
async fn groups_of_every_partition_are_loaded_at_the_start() {
    let world = World::new(1).await.unwrap();
    let broker = world.start(&[("offsets.topic.num.partitions", "5")]).await.unwrap();
    let mut client = broker.connect();
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    for number in 0..20 {
        commit_offset(&mut client, &format!("g{number}"), "t", 0, number).await;
    }
    broker.stop().await;
    let broker = world.start(&[]).await.unwrap();
    let mut client = broker.connect();
    sleep(Duration::from_secs(1)).await;
    for number in 0..20 {
        assert_eq!(fetched_offset(&mut client, &format!("g{number}"), "t", 0).await, number);
    }
    assert_eq!(broker.broker.coordination.groups.runtime().stats().active, 5);
}

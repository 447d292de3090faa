//! ConsumerGroupHeartbeat through a whole broker: both versions, two members, a restart.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::{
    handlers::test_support::{create, find_group_coordinator, start},
    testing::{Client, World},
};

const SETTINGS: &[(&str, &str)] =
    &[("offsets.topic.num.partitions", "2"), ("group.consumer.assignment.interval.ms", "0")];

fn join(member_id: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn beat(member_id: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        member_epoch,
        rebalance_timeout_ms: -1,
        ..Default::default()
    }
}

fn partitions(response: &ConsumerGroupHeartbeatResponse) -> Vec<i32> {
    let assignment = response.assignment.as_ref().unwrap();
    assignment.topic_partitions.iter().flat_map(|of| of.partitions.clone()).collect()
}

async fn call(
    client: &mut Client,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    client.call(request, 1).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn members_share_a_topic_and_a_restart_keeps_their_epochs() {
    let world = World::new(1).await.unwrap();
    let broker = world.start(SETTINGS).await.unwrap();
    let mut client = broker.connect();
    create(&mut client, "t", 2).await;
    find_group_coordinator(&mut client, "g").await;

    let a = call(&mut client, &join("a")).await;
    assert_eq!((a.error_code, partitions(&a)), (0, vec![0, 1]), "{a:?}");
    let b = call(&mut client, &join("b")).await;
    assert_eq!((b.error_code, partitions(&b)), (0, vec![]));
    let a = call(&mut client, &beat("a", a.member_epoch)).await;
    assert_eq!(partitions(&a), [0]);

    drop(client);
    broker.stop().await;
    let broker = world.start(SETTINGS).await.unwrap();
    let mut client = broker.connect();
    find_group_coordinator(&mut client, "g").await;
    let topic_id = broker.broker.catalog.image().by_name("t").unwrap().topic.id.0;
    let mut gave_up = beat("a", a.member_epoch);
    gave_up.topic_partitions =
        Some(vec![protocol::messages::consumer_group_heartbeat::TopicPartitions {
            topic_id,
            partitions: vec![0],
        }]);
    let a = call(&mut client, &gave_up).await;
    assert_eq!((a.error_code, a.member_epoch), (0, b.member_epoch), "{a:?}");
    let b = call(&mut client, &beat("b", b.member_epoch)).await;
    assert_eq!((b.error_code, partitions(&b)), (0, vec![1]));
    assert_eq!(b.heartbeat_interval_ms, 5_000);
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn version_0_gives_member_ids_and_version_1_wants_them() {
    let (_broker, mut client) = start(SETTINGS).await;
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    let refused = call(&mut client, &join("")).await;
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
    let mut request = join("");
    request.subscribed_topic_regex = None;
    let joined = client.call(&request, 0).await.unwrap();
    assert_eq!(joined.error_code, 0);
    assert!(joined.member_id.is_some_and(|id| !id.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn refusals_say_why() {
    let (_broker, mut client) = start(SETTINGS).await;
    create(&mut client, "t", 1).await;
    let nobody = call(&mut client, &beat("a", 1)).await;
    assert_eq!(nobody.error_code, ErrorCode::NotCoordinator.code(), "there is no topic yet");
    find_group_coordinator(&mut client, "g").await;
    let cases = [
        (beat("a", 1), ErrorCode::GroupIdNotFound),
        (
            ConsumerGroupHeartbeatRequest { server_assignor: Some("x".to_owned()), ..join("a") },
            ErrorCode::UnsupportedAssignor,
        ),
        (
            ConsumerGroupHeartbeatRequest {
                subscribed_topic_regex: Some("(".to_owned()),
                ..join("a")
            },
            ErrorCode::InvalidRegularExpression,
        ),
    ];
    for (request, expected) in cases {
        let refused = call(&mut client, &request).await;
        assert_eq!(refused.error_code, expected.code());
        assert!(refused.error_message.is_some_and(|why| !why.is_empty()));
    }
}

#[test]
fn needs_read_on_the_group_and_describe_on_named_topics() {
    let accesses = ConsumerGroupHeartbeat::resources(&join("a"));
    assert_eq!(
        accesses,
        [
            Access::new(Operation::Read, Resource::Group("g".to_owned())),
            Access::new(Operation::Describe, Resource::Topic("t".to_owned())),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_protocol_can_be_left_out_of_the_configuration() {
    let world = World::new(1).await.unwrap();
    let settings = [SETTINGS, &[("group.coordinator.rebalance.protocols", "classic")]].concat();
    let broker = world.start(&settings).await.unwrap();
    let mut client = broker.connect();
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    let refused = call(&mut client, &join("a")).await;
    assert_eq!(refused.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(refused.error_message, None);
    let without_classic = [("group.coordinator.rebalance.protocols", "consumer")];
    assert!(World::new(2).await.unwrap().start(&without_classic).await.is_err());
}

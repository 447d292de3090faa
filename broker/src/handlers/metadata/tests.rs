//! Metadata through a whole broker: versions, names, ids, creation on demand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::metadata::MetadataRequestTopic;

use super::*;
use crate::testing::{Client, TestBroker, World};

async fn start(settings: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = World::new(1).await.unwrap().start(settings).await.unwrap();
    let client = broker.connect();
    (broker, client)
}

fn named(names: &[&str], create: bool) -> MetadataRequest {
    let topic =
        |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: create,
        ..Default::default()
    }
}

fn by_id(id: Uuid) -> MetadataRequest {
    let topic = MetadataRequestTopic { topic_id: id, name: None };
    MetadataRequest { topics: Some(vec![topic]), ..Default::default() }
}

fn all() -> MetadataRequest {
    MetadataRequest { topics: None, allow_auto_topic_creation: true, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn every_version_describes_broker_and_topic() {
    let (broker, mut client) = start(&[("num.partitions", "3"), ("broker.rack", "r1")]).await;
    client.create_topics(&["flights"]).await.unwrap();
    for version in 0..=13 {
        let response = client.call(&named(&["flights"], version < 4), version).await.unwrap();
        let node = &response.brokers[0];
        assert_eq!((node.host.as_str(), node.port), ("broker.test", 9092), "v{version}");
        assert_eq!(node.rack.as_deref(), (version >= 1).then_some("r1"));
        if version >= 1 {
            assert_eq!(response.controller_id, broker.broker.node_id.0);
        }
        if version >= 2 {
            assert_eq!(response.cluster_id.as_deref(), Some(broker.broker.cluster_id.as_str()));
        }
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.name.as_deref()), (0, Some("flights")));
        assert_eq!(topic.topic_id.is_nil(), version < 10);
        assert_eq!(topic.topic_authorized_operations, AUTHORIZED_OPERATIONS_OMITTED);
        assert_eq!(topic.partitions.len(), 3);
        for (index, partition) in (0..).zip(&topic.partitions) {
            assert_eq!(partition.partition_index, index);
            assert_eq!(partition.leader_id, node.node_id);
            assert_eq!(partition.replica_nodes, [node.node_id]);
            assert_eq!(partition.isr_nodes, [node.node_id]);
            assert!(partition.offline_replicas.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn null_asks_for_all_topics_and_empty_for_none_but_in_version_0() {
    let (_broker, mut client) = start(&[]).await;
    client.create_topics(&["b", "a"]).await.unwrap();
    let names = |response: MetadataResponse| {
        response.topics.into_iter().map(|topic| topic.name.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(client.call(&all(), 1).await.unwrap()), ["a", "b"]);
    assert_eq!(names(client.call(&all(), 13).await.unwrap()), ["a", "b"]);
    assert_eq!(names(client.call(&named(&[], true), 0).await.unwrap()), ["a", "b"]);
    assert!(client.call(&named(&[], true), 1).await.unwrap().topics.is_empty());
}

#[tokio::test(start_paused = true)]
async fn topics_are_created_only_where_both_sides_allow_it() {
    let (_broker, mut client) = start(&[("auto.create.topics.enable", "false")]).await;
    let response = client.call(&named(&["t"], true), 9).await.unwrap();
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());

    let (_broker, mut client) = start(&[("num.partitions", "2")]).await;
    let response = client.call(&named(&["t"], false), 9).await.unwrap();
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let response = client.call(&named(&["t", "t"], true), 9).await.unwrap();
    assert_eq!((response.topics.len(), response.topics[0].partitions.len()), (1, 2));
    assert_eq!(response.topics[0].error_code, 0);
    // Before version 4 a request cannot forbid it.
    let response = client.call(&named(&["old"], true), 3).await.unwrap();
    assert_eq!(response.topics[0].error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn names_that_kafka_refuses_are_invalid() {
    let (_broker, mut client) = start(&[]).await;
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "ä", long.as_str()] {
        for create in [true, false] {
            let response = client.call(&named(&[name], create), 9).await.unwrap();
            assert_eq!(response.topics[0].error_code, ErrorCode::InvalidTopicException.code());
        }
    }
    client.create_topics(&["a.b"]).await.unwrap();
    let response = client.call(&named(&["a_b"], true), 9).await.unwrap();
    assert_eq!(response.topics[0].error_code, ErrorCode::InvalidTopicException.code());
    let response = client.call(&named(&["__share_group_state"], true), 9).await.unwrap();
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert!(response.topics[0].is_internal);
}

#[tokio::test(start_paused = true)]
async fn an_internal_topic_is_created_as_its_coordinator_wants_it() {
    let (broker, mut client) = start(&[("offsets.topic.num.partitions", "7")]).await;
    let response = client.call(&named(&["__consumer_offsets"], true), 9).await.unwrap();
    let topic = &response.topics[0];
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 7));
    let image = broker.broker.catalog.image();
    let config = &image.by_name("__consumer_offsets").unwrap().log_config;
    assert!(config.cleanup_policy.compact && !config.cleanup_policy.delete);
}

#[tokio::test(start_paused = true)]
async fn no_topic_is_created_beyond_the_broker_s_limit() {
    let settings = [("streamhouse.max.partitions", "3"), ("num.partitions", "2")];
    let (_broker, mut client) = start(&settings).await;
    let response = client.call(&named(&["a", "b"], true), 9).await.unwrap();
    assert_eq!(response.topics[0].error_code, 0);
    assert_eq!(response.topics[1].error_code, ErrorCode::PolicyViolation.code());
}

#[tokio::test(start_paused = true)]
async fn topics_are_found_by_id_from_version_12() {
    let (_broker, mut client) = start(&[]).await;
    let id = client.create_topics(&["t"]).await.unwrap().topics[0].topic_id;
    for version in [12, 13] {
        let response = client.call(&by_id(id), version).await.unwrap();
        assert_eq!(response.topics[0].name.as_deref(), Some("t"));
        let unknown = client.call(&by_id(Uuid::from_u128(7)), version).await.unwrap();
        let topic = &unknown.topics[0];
        assert_eq!(topic.error_code, ErrorCode::UnknownTopicId.code());
        assert_eq!((topic.name.as_deref(), topic.topic_id), (None, Uuid::from_u128(7)));
    }
    let mut early = named(&["t"], false);
    early.topics.as_mut().unwrap()[0].topic_id = id;
    for version in [10, 11] {
        let response = client.call(&early, version).await.unwrap();
        assert_eq!(response.topics[0].error_code, ErrorCode::InvalidRequest.code());
    }
}

#[tokio::test(start_paused = true)]
async fn a_recreated_topic_has_another_id() {
    let (broker, mut client) = start(&[]).await;
    let first = client.create_topics(&["t"]).await.unwrap().topics[0].topic_id;
    broker.broker.catalog.delete_topic(first.into()).await.unwrap();
    let second = client.create_topics(&["t"]).await.unwrap().topics[0].topic_id;
    assert_ne!(first, second);
    let response = client.call(&by_id(first), 12).await.unwrap();
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test(start_paused = true)]
async fn authorized_operations_are_given_when_asked_for() {
    let (_broker, mut client) = start(&[]).await;
    client.create_topics(&["t"]).await.unwrap();
    let mut asking = named(&["t"], false);
    asking.include_topic_authorized_operations = true;
    for version in 8..=10 {
        asking.include_cluster_authorized_operations = true;
        let response = client.call(&asking, version).await.unwrap();
        assert_eq!(response.cluster_authorized_operations, cluster_authorized_operations());
        assert_eq!(response.topics[0].topic_authorized_operations, topic_authorized_operations());
    }
    asking.include_cluster_authorized_operations = false;
    let response = client.call(&asking, 13).await.unwrap();
    assert_eq!(response.topics[0].topic_authorized_operations, topic_authorized_operations());
}

#[tokio::test(start_paused = true)]
async fn many_clients_that_ask_at_once_get_one_topic() {
    let (broker, _client) = start(&[]).await;
    let mut clients: Vec<_> = (0..20).map(|_| broker.connect()).collect();
    for client in &mut clients {
        client.send(&named(&["t"], true), 12).await.unwrap();
    }
    let mut ids = BTreeSet::new();
    for client in &mut clients {
        let response = client.receive::<MetadataRequest>(12).await.unwrap();
        assert_eq!(response.topics[0].error_code, 0);
        ids.insert(response.topics[0].topic_id);
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn topics_survive_a_restart() {
    let world = World::new(1).await.unwrap();
    let broker = world.start(&[("num.partitions", "2")]).await.unwrap();
    let created = broker.connect().create_topics(&["t"]).await.unwrap();
    broker.stop().await;
    let broker = world.start(&[]).await.unwrap();
    let found = broker.connect().call(&named(&["t"], false), 12).await.unwrap();
    assert_eq!(found.topics[0].topic_id, created.topics[0].topic_id);
    assert_eq!(found.cluster_id, created.cluster_id);
    let epochs = |response: &MetadataResponse| {
        response.topics[0].partitions.iter().map(|p| p.leader_epoch).collect::<Vec<_>>()
    };
    assert!(epochs(&found) > epochs(&created), "a start is a new epoch");
}

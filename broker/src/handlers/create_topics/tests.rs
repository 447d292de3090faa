//! CreateTopics: defaults, limits and refusals as a real 4.3.1 broker gives them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::create_topics::CreatableReplicaAssignment;

use super::*;
use crate::handlers::test_support::{create_one, refusal, start, topic};

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments =
        assignments.iter().map(|(partition_index, brokers)| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: brokers.to_vec(),
        });
    CreatableTopic { assignments: assignments.collect(), ..topic(name, -1, -1, &[]) }
}

async fn refused_with(settings: &[(&str, &str)], asked: CreatableTopic) -> (i16, Option<String>) {
    let (_broker, mut client) = start(settings).await;
    let result = create_one(&mut client, asked, 7).await;
    assert_eq!((result.num_partitions, result.replication_factor), (-1, -1));
    assert!(result.topic_id.is_nil());
    (result.error_code, result.error_message)
}

#[tokio::test(start_paused = true)]
async fn creates_a_topic_and_answers_with_its_configuration() {
    let (broker, mut client) = start(&[]).await;
    let asked = topic("a", 3, 1, &[("retention.ms", Some("5"))]);
    let result = create_one(&mut client, asked, 7).await;
    assert_eq!((result.error_code, result.error_message), (0, None));
    assert_eq!((result.num_partitions, result.replication_factor), (3, 1));
    let image = broker.broker.catalog.image();
    let entry = image.by_name("a").unwrap();
    assert_eq!((entry.topic.id.0, entry.partitions.len()), (result.topic_id, 3));
    assert_eq!(entry.log_config.retention_ms, Some(5));
    let configs = result.configs.unwrap();
    assert_eq!(configs.len(), names::topic_keys().count());
    let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5"), 1));
    let segment = configs.iter().find(|config| config.name == "segment.bytes").unwrap();
    assert_eq!((segment.value.as_deref(), segment.config_source), (Some("1073741824"), 5));
}

#[tokio::test(start_paused = true)]
async fn every_version_is_answered() {
    let (_broker, mut client) = start(&[]).await;
    for version in 2..=7 {
        let result =
            create_one(&mut client, topic(&format!("v{version}"), 1, 1, &[]), version).await;
        assert_eq!(result.error_code, 0);
        let has_configs = result.configs.is_some_and(|configs| !configs.is_empty());
        assert_eq!(has_configs, version >= 5);
        assert_eq!(result.topic_id.is_nil(), version < 7);
    }
}

#[tokio::test(start_paused = true)]
async fn counts_of_minus_one_take_the_brokers_defaults() {
    let settings = [("num.partitions", "4"), ("default.replication.factor", "3")];
    let (_broker, mut client) = start(&settings).await;
    let result = create_one(&mut client, topic("a", -1, -1, &[]), 7).await;
    assert_eq!((result.num_partitions, result.replication_factor), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn validate_only_changes_nothing() {
    let (broker, mut client) = start(&[]).await;
    let topics = vec![topic("a", 2, 1, &[])];
    let request = CreateTopicsRequest { topics, validate_only: true, ..Default::default() };
    let response = client.call(&request, 7).await.unwrap();
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 2));
    assert!(broker.broker.catalog.image().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_existing_topic_is_not_created_again() {
    let (_broker, mut client) = start(&[]).await;
    assert_eq!(create_one(&mut client, topic("a", 1, 1, &[]), 7).await.error_code, 0);
    let result = create_one(&mut client, topic("a", 1, 1, &[]), 7).await;
    assert_eq!(
        (result.error_code, result.error_message),
        refusal(ErrorCode::TopicAlreadyExists, "Topic 'a' already exists.")
    );
}

#[tokio::test(start_paused = true)]
async fn names_follow_kafkas_rules() {
    for name in ["", "..", "bad name"] {
        let (code, message) = refused_with(&[], topic(name, 1, 1, &[])).await;
        assert_eq!(code, ErrorCode::InvalidTopicException.code());
        assert!(message.unwrap().starts_with("Topic name is invalid: "));
    }
    assert_eq!(
        refused_with(&[], topic("__cluster_metadata", 1, 1, &[])).await,
        refusal(
            ErrorCode::InvalidRequest,
            "Creation of internal topic __cluster_metadata is prohibited."
        )
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_differ_in_dots_and_underscores_collide() {
    let (_broker, mut client) = start(&[]).await;
    assert_eq!(create_one(&mut client, topic("a.b", 1, 1, &[]), 7).await.error_code, 0);
    let result = create_one(&mut client, topic("a_b", 1, 1, &[]), 7).await;
    assert_eq!(
        (result.error_code, result.error_message),
        refusal(ErrorCode::InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b")
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_twice_in_a_request_is_refused_once_and_the_others_are_created() {
    let (broker, mut client) = start(&[]).await;
    let topics = vec![topic("a", 1, 1, &[]), topic("b", 1, 1, &[]), topic("a", 1, 1, &[])];
    let request = CreateTopicsRequest { topics, ..Default::default() };
    let response = client.call(&request, 7).await.unwrap();
    let codes: Vec<_> =
        response.topics.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
    assert_eq!(codes, [("a", ErrorCode::InvalidRequest.code()), ("b", 0)]);
    assert_eq!(broker.broker.catalog.image().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn counts_must_be_positive() {
    for count in [0, -2] {
        assert_eq!(
            refused_with(&[], topic("a", count, 1, &[])).await,
            refusal(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value."
            )
        );
    }
    for factor in [0, -2] {
        assert_eq!(
            refused_with(&[], topic("a", 1, factor, &[])).await,
            refusal(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value."
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn any_replication_factor_is_stored_unless_replication_is_strict() {
    let (_broker, mut client) = start(&[]).await;
    let result = create_one(&mut client, topic("a", 1, 3, &[]), 7).await;
    assert_eq!((result.error_code, result.replication_factor), (0, 3));
    let strict = [("streamhouse.strict.replication", "true")];
    let (code, _) = refused_with(&strict, topic("a", 1, 3, &[])).await;
    assert_eq!(code, ErrorCode::InvalidReplicationFactor.code());
}

#[tokio::test(start_paused = true)]
async fn configurations_are_validated() {
    let cases = [
        (("retention.ms", None), "Null value not supported for topic configs: retention.ms"),
        (
            ("retention.ms", Some("abc")),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (("foo", Some("1")), "Unknown topic config name: foo"),
    ];
    for (config, message) in cases {
        assert_eq!(
            refused_with(&[], topic("a", 1, 1, &[config])).await,
            refusal(ErrorCode::InvalidConfig, message)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn manual_assignments_decide_the_counts() {
    let (broker, mut client) = start(&[]).await;
    let own = [broker.broker.node_id.0];
    let result = create_one(&mut client, assigned("a", &[(1, &own), (0, &own)]), 7).await;
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn manual_assignments_are_checked() {
    let with_count = CreatableTopic { num_partitions: 1, ..assigned("a", &[(0, &[1])]) };
    let with_factor = CreatableTopic { replication_factor: 1, ..assigned("a", &[(0, &[1])]) };
    let invalid = ErrorCode::InvalidReplicaAssignment;
    let cases = [
        (
            with_count,
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            with_factor,
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ),
        (
            assigned("a", &[(0, &[1]), (2, &[1])]),
            invalid,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            assigned("a", &[(0, &[1]), (0, &[1])]),
            invalid,
            "Found multiple manual partition assignments for partition 0",
        ),
        (
            assigned("a", &[(0, &[])]),
            invalid,
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            assigned("a", &[(0, &[1, 2])]),
            invalid,
            "The manual partition assignment includes broker 2, but no such broker is registered.",
        ),
    ];
    for (asked, code, message) in cases {
        assert_eq!(refused_with(&[], asked).await, refusal(code, message));
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_are_limited_per_topic_and_in_total() {
    let (code, _) = refused_with(&[], topic("a", TOPIC_PARTITIONS_MAX + 1, 1, &[])).await;
    assert_eq!(code, ErrorCode::PolicyViolation.code());
    let few = [("streamhouse.max.partitions", "3")];
    let (code, message) = refused_with(&few, topic("a", 4, 1, &[])).await;
    assert_eq!(code, ErrorCode::PolicyViolation.code());
    assert!(message.unwrap().contains("streamhouse.max.partitions"));
}

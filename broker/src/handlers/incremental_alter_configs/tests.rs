//! IncrementalAlterConfigs: every operation, what it reaches, and every refusal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use coordinator::group::consumer::GroupOverridesSource as _;
use protocol::messages::{
    describe_configs::{DescribeConfigsRequest, DescribeConfigsResource},
    incremental_alter_configs::AlterableConfig,
};

use super::*;
use crate::{
    config::{effective::ConfigSource, group::GroupSettings, names},
    handlers::test_support::{create, refusal, start},
    testing::{Client, TestBroker, World},
};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn resource(
    resource_type: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> AlterConfigsResource {
    let configs = changes.iter().map(|(name, config_operation, value)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    });
    AlterConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configs: configs.collect(),
    }
}

async fn alter(
    client: &mut Client,
    resources: Vec<AlterConfigsResource>,
    validate_only: bool,
) -> Vec<(i16, Option<String>)> {
    let request = IncrementalAlterConfigsRequest { resources, validate_only };
    let response = client.call(&request, 1).await.unwrap();
    response.responses.into_iter().map(|one| (one.error_code, one.error_message)).collect()
}

async fn alter_one(client: &mut Client, resource: AlterConfigsResource) -> (i16, Option<String>) {
    alter(client, vec![resource], false).await.remove(0)
}

fn overrides(broker: &TestBroker, topic: &str) -> Vec<(String, String)> {
    let image = broker.broker.catalog.image();
    image.by_name(topic).unwrap().topic.configs.clone().into_iter().collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_topics_settings_are_set_and_deleted_and_reach_the_log() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let set = resource(2, "a", &[("max.message.bytes", SET, Some("1000"))]);
    assert_eq!(alter_one(&mut client, set).await, (0, None));
    assert_eq!(overrides(&broker, "a"), [pair("max.message.bytes", "1000")]);
    let log = |broker: &TestBroker| {
        let image = broker.broker.catalog.image();
        image.by_name("a").unwrap().partition(0).unwrap().config().max_message_bytes
    };
    assert_eq!(log(&broker), 1000);
    let delete = resource(2, "a", &[("max.message.bytes", DELETE, None)]);
    assert_eq!(alter_one(&mut client, delete).await, (0, None));
    assert_eq!((overrides(&broker, "a"), log(&broker)), (vec![], 1_048_588));
}

#[tokio::test(start_paused = true)]
async fn lists_are_appended_to_and_subtracted_from() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let append = resource(2, "a", &[("cleanup.policy", APPEND, Some("compact"))]);
    assert_eq!(alter_one(&mut client, append).await, (0, None));
    assert_eq!(overrides(&broker, "a"), [pair("cleanup.policy", "delete,compact")]);
    let subtract = resource(2, "a", &[("cleanup.policy", SUBTRACT, Some("delete"))]);
    assert_eq!(alter_one(&mut client, subtract).await, (0, None));
    assert_eq!(overrides(&broker, "a"), [pair("cleanup.policy", "compact")]);
}

#[tokio::test(start_paused = true)]
async fn validate_only_changes_nothing() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let valid = resource(2, "a", &[("retention.ms", SET, Some("1"))]);
    assert_eq!(alter(&mut client, vec![valid], true).await, [(0, None)]);
    let invalid = resource(2, "a", &[("retention.ms", SET, Some("x"))]);
    assert_eq!(alter(&mut client, vec![invalid], true).await[0].0, ErrorCode::InvalidConfig.code());
    assert!(overrides(&broker, "a").is_empty());
    let all_brokers = resource(4, "", &[("message.max.bytes", SET, Some("1"))]);
    assert_eq!(alter(&mut client, vec![all_brokers], true).await, [(0, None)]);
    assert!(broker.broker.configs.layers().cluster.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_resource_fails_alone() {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let resources = vec![
        resource(2, "nope", &[("retention.ms", SET, Some("1"))]),
        resource(2, "a", &[("retention.ms", SET, Some("1"))]),
    ];
    assert_eq!(
        alter(&mut client, resources, false).await,
        [
            refusal(ErrorCode::UnknownTopicOrPartition, "The topic 'nope' does not exist."),
            (0, None)
        ]
    );
    assert_eq!(overrides(&broker, "a"), [pair("retention.ms", "1")]);
}

#[tokio::test(start_paused = true)]
async fn topic_errors_are_those_of_kafka() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let cases = [
        (
            resource(2, "a", &[("retention.mss", SET, Some("1"))]),
            refusal(ErrorCode::InvalidConfig, "Unknown topic config name: retention.mss"),
        ),
        (
            resource(2, "a", &[("retention.ms", SET, None)]),
            refusal(ErrorCode::InvalidRequest, "Null value not supported for : retention.ms"),
        ),
        (
            resource(2, "a", &[("retention.ms", APPEND, Some("1"))]),
            refusal(
                ErrorCode::InvalidConfig,
                "Can't APPEND to key retention.ms because its type is not LIST.",
            ),
        ),
        (
            resource(2, "a", &[("flush.ms", SET, Some("1")), ("flush.ms", SET, Some("2"))]),
            refusal(ErrorCode::InvalidRequest, "Error due to duplicate config keys"),
        ),
        (
            resource(2, "a", &[("flush.ms", 9, Some("1"))]),
            refusal(ErrorCode::InvalidRequest, "Unknown config operation 9"),
        ),
        (
            resource(2, "", &[("flush.ms", SET, Some("1"))]),
            refusal(ErrorCode::InvalidRequest, "Default topic resources are not allowed."),
        ),
        (
            resource(8, "1", &[("root", SET, Some("INFO"))]),
            refusal(ErrorCode::InvalidRequest, "Unknown resource type 8"),
        ),
    ];
    for (asked, expected) in cases {
        assert_eq!(alter_one(&mut client, asked).await, expected);
    }
    let twice = vec![resource(2, "a", &[]), resource(2, "a", &[])];
    let each = refusal(ErrorCode::InvalidRequest, "Each resource must appear at most once.");
    assert_eq!(alter(&mut client, twice, false).await, [each.clone(), each]);
}

#[tokio::test(start_paused = true)]
async fn broker_settings_become_defaults_of_topics_and_survive_a_restart() {
    let world = World::new(1).await.unwrap();
    let broker = world.start(&[]).await.unwrap();
    let mut client = broker.connect();
    create(&mut client, "a", 1).await;
    let max = |broker: &TestBroker| {
        broker.broker.catalog.image().by_name("a").unwrap().log_config.max_message_bytes
    };
    let for_all = resource(4, "", &[("message.max.bytes", SET, Some("5000"))]);
    assert_eq!(alter_one(&mut client, for_all).await, (0, None));
    assert_eq!(max(&broker), 5000);
    let for_one = resource(4, "1", &[("message.max.bytes", SET, Some("6000"))]);
    assert_eq!(alter_one(&mut client, for_one).await, (0, None));
    assert_eq!(max(&broker), 6000);
    let connections = resource(4, "1", &[("max.connections", SET, Some("9"))]);
    assert_eq!(alter_one(&mut client, connections).await, (0, None));
    assert_eq!(broker.broker.options().connections_max, 9);
    drop(client);
    broker.stop().await;

    let broker = world.start(&[]).await.unwrap();
    assert_eq!((max(&broker), broker.broker.options().connections_max), (6000, 9));
    let mut client = broker.connect();
    let delete = resource(4, "1", &[("message.max.bytes", DELETE, None)]);
    assert_eq!(alter_one(&mut client, delete).await, (0, None));
    assert_eq!(max(&broker), 5000);
}

#[tokio::test(start_paused = true)]
async fn broker_errors_are_those_of_kafka() {
    let (_broker, mut client) = start(&[]).await;
    let set = |name, key, value| resource(4, name, &[(key, SET, Some(value))]);
    let cases = [
        (
            set("1", "num.partitions", "2"),
            "Cannot update these configs dynamically: [num.partitions]",
        ),
        (
            set("1", "ssl.keystore.location", "/key"),
            "Cannot update these configs dynamically: [ssl.keystore.location]",
        ),
        (
            set("1", "group.consumer.assignment.interval.ms", "50000"),
            "group.consumer.assignment.interval.ms must be less than or equal to \
             group.consumer.max.assignment.interval.ms",
        ),
        (
            set("1", "log.cleaner.dedupe.buffer.size", "1000"),
            "requirement failed: log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner \
             thread.",
        ),
        (
            set("1", "message.max.bytes", "abc"),
            "Invalid value abc for configuration message.max.bytes: Not a number of type INT",
        ),
        (
            set("", "log.retention.ms", "0"),
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or \
             equal to 1",
        ),
        (set("2", "message.max.bytes", "1"), "Unexpected broker id, expected 1, but received 2"),
        (set("abc", "message.max.bytes", "1"), "Node id must be an integer, but it is: abc"),
    ];
    for (asked, message) in cases {
        let expected = refusal(ErrorCode::InvalidRequest, message);
        assert_eq!(alter_one(&mut client, asked).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_nobody_knows_are_kept_and_named_but_not_shown() {
    let (broker, mut client) = start(&[]).await;
    for name in ["", "1"] {
        let set = resource(4, name, &[("my.plugin.key", SET, Some("secret"))]);
        assert_eq!(alter_one(&mut client, set).await, (0, None));
    }
    let layers = broker.broker.configs.layers();
    let (node, cluster) = (ConfigSource::DynamicBroker, ConfigSource::DynamicDefaultBroker);
    assert_eq!(layers.unknown(false), [("my.plugin.key", vec![node, cluster])].into());
    assert_eq!(layers.unknown(true), [("my.plugin.key", vec![cluster])].into());
    let described = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 4,
            resource_name: "1".to_owned(),
            configuration_keys: Some(vec!["my.plugin.key".to_owned()]),
        }],
        include_synonyms: true,
        include_documentation: false,
    };
    let described = client.call(&described, 4).await.unwrap().results.remove(0).configs;
    let [only] = described.as_slice() else { panic!("{described:?}") };
    assert_eq!((only.value.as_deref(), only.is_sensitive, only.config_type), (None, true, 0));
    assert_eq!((only.config_source, only.synonyms.len()), (node as i8, 2));
    for name in ["", "1"] {
        let delete = resource(4, name, &[("my.plugin.key", DELETE, None)]);
        assert_eq!(alter_one(&mut client, delete).await, (0, None));
    }
    assert!(broker.broker.configs.layers().unknown(false).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_assignment_interval_of_groups_changes_while_the_broker_runs() {
    let (broker, mut client) = start(&[]).await;
    let settings = GroupSettings {
        groups: Arc::clone(&broker.broker.group_configs),
        broker: Arc::clone(&broker.broker.configs),
    };
    let interval_ms = |group: &str| settings.overrides(group).consumer_assignment_interval_ms;
    assert_eq!(interval_ms("g"), Some(1_000));
    let set = resource(4, "", &[("group.consumer.assignment.interval.ms", SET, Some("0"))]);
    assert_eq!(alter_one(&mut client, set).await, (0, None));
    let own = resource(32, "g", &[("consumer.assignment.interval.ms", SET, Some("7"))]);
    assert_eq!(alter_one(&mut client, own).await, (0, None));
    assert_eq!((interval_ms("g"), interval_ms("h")), (Some(7), Some(0)));
}

#[tokio::test(start_paused = true)]
async fn every_dynamic_topic_key_can_be_set_to_its_default() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    for key in names::topic_keys() {
        let set = resource(2, "a", &[(key.name, SET, key.default)]);
        assert_eq!(alter_one(&mut client, set).await, (0, None), "{}", key.name);
    }
}

#[tokio::test(start_paused = true)]
async fn version_0_is_answered() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let resources = vec![resource(2, "a", &[("retention.ms", SET, Some("1"))])];
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    assert_eq!(client.call(&request, 0).await.unwrap().responses[0].error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_configured_within_the_brokers_bounds_and_survives_a_restart() {
    let world = World::new(1).await.unwrap();
    let broker = world.start(&[]).await.unwrap();
    let mut client = broker.connect();
    let set = |value| resource(32, "g", &[("consumer.session.timeout.ms", SET, Some(value))]);
    assert_eq!(alter_one(&mut client, set("50000")).await, (0, None));
    let low = refusal(
        ErrorCode::InvalidConfig,
        "consumer.session.timeout.ms must be greater than or equal to \
         group.consumer.min.session.timeout.ms",
    );
    assert_eq!(alter_one(&mut client, set("1")).await, low);
    let unknown = resource(32, "g", &[("nonsense", SET, Some("1"))]);
    let refused = refusal(ErrorCode::InvalidConfig, "Unknown group config name: nonsense");
    assert_eq!(alter_one(&mut client, unknown).await, refused);
    let unnamed = resource(32, "", &[("consumer.session.timeout.ms", SET, Some("50000"))]);
    let refused = refusal(ErrorCode::InvalidRequest, "Default group resources are not allowed.");
    assert_eq!(alter_one(&mut client, unnamed).await, refused);
    drop(client);
    broker.stop().await;
    let broker = world.start(&[]).await.unwrap();
    let settings = broker.broker.group_configs.settings("g");
    assert_eq!(settings.get("consumer.session.timeout.ms").map(String::as_str), Some("50000"));
    assert_eq!(broker.broker.group_configs.group_ids(), ["g"]);
    let mut client = broker.connect();
    let deleted = resource(32, "g", &[("consumer.session.timeout.ms", DELETE, None)]);
    assert_eq!(alter_one(&mut client, deleted).await, (0, None));
    assert!(broker.broker.group_configs.group_ids().is_empty());
    broker.stop().await;
}

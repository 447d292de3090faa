//! AlterConfigs: replacing settings, and every refusal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::alter_configs::AlterableConfig;

use super::*;
use crate::{
    handlers::test_support::{create_one, refusal, start, topic},
    testing::Client,
};

fn resource(
    resource_type: i8,
    name: &str,
    configs: &[(&str, Option<&str>)],
) -> AlterConfigsResource {
    let configs = configs.iter().map(|(name, value)| AlterableConfig {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
    });
    AlterConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configs: configs.collect(),
    }
}

async fn alter_one(
    client: &mut Client,
    resource: AlterConfigsResource,
    version: i16,
) -> (i16, Option<String>) {
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = client.call(&request, version).await.unwrap().responses.remove(0);
    (response.error_code, response.error_message)
}

#[tokio::test(start_paused = true)]
async fn replaces_all_settings_of_a_topic_in_every_version() {
    let (broker, mut client) = start(&[]).await;
    create_one(&mut client, topic("a", 1, 1, &[("flush.ms", Some("1"))]), 7).await;
    for version in 0..=2 {
        let value = (version + 1).to_string();
        let set = resource(2, "a", &[("retention.ms", Some(value.as_str()))]);
        assert_eq!(alter_one(&mut client, set, version).await, (0, None));
        let image = broker.broker.catalog.image();
        let configs = image.by_name("a").unwrap().topic.configs.clone();
        assert_eq!(configs.into_iter().collect::<Vec<_>>(), [("retention.ms".to_owned(), value)]);
    }
    assert_eq!(alter_one(&mut client, resource(2, "a", &[]), 2).await, (0, None));
    assert!(broker.broker.catalog.image().by_name("a").unwrap().topic.configs.is_empty());
}

/// They are shown as read-only: who writes back what it saw leaves them out.
#[tokio::test(start_paused = true)]
async fn keys_of_other_products_stay_where_others_are_replaced() {
    let (broker, mut client) = start(&[]).await;
    let alias = "redpanda.iceberg.mode";
    let set = [("flush.ms", Some("1")), (alias, Some("key_value"))];
    create_one(&mut client, topic("a", 1, 1, &set), 7).await;
    let configs = || -> Vec<_> {
        let image = broker.broker.catalog.image();
        image.by_name("a").unwrap().topic.configs.clone().into_iter().collect()
    };
    let entry = |value: &str| (alias.to_owned(), value.to_owned());
    assert_eq!(alter_one(&mut client, resource(2, "a", &[]), 2).await, (0, None));
    assert_eq!(configs(), [entry("key_value")]);
    let set = resource(2, "a", &[(alias, Some("disabled"))]);
    assert_eq!(alter_one(&mut client, set, 2).await, (0, None));
    assert_eq!(configs(), [entry("disabled")]);
}

#[tokio::test(start_paused = true)]
async fn replaces_all_settings_of_a_broker() {
    let (broker, mut client) = start(&[]).await;
    for value in ["5", "6"] {
        let set = resource(4, "1", &[("message.max.bytes", Some(value))]);
        assert_eq!(alter_one(&mut client, set, 2).await, (0, None));
        assert_eq!(broker.broker.configs.layers().node["message.max.bytes"], value);
    }
    assert_eq!(alter_one(&mut client, resource(4, "1", &[]), 2).await, (0, None));
    assert!(broker.broker.configs.layers().node.is_empty());
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_kafka() {
    let (_broker, mut client) = start(&[]).await;
    create_one(&mut client, topic("a", 1, 1, &[]), 7).await;
    let invalid = ErrorCode::InvalidRequest;
    let cases = [
        (
            resource(2, "a", &[("retention.ms", None)]),
            refusal(invalid, "Null value not supported for : retention.ms"),
        ),
        (
            resource(2, "a", &[("flush.ms", Some("1")), ("flush.ms", Some("2"))]),
            refusal(invalid, "Error due to duplicate config keys"),
        ),
        (
            resource(2, "nope", &[("flush.ms", Some("1"))]),
            refusal(ErrorCode::UnknownTopicOrPartition, "The topic 'nope' does not exist."),
        ),
        (
            resource(2, "a", &[("foo", Some("1"))]),
            refusal(ErrorCode::InvalidConfig, "Unknown topic config name: foo"),
        ),
        (
            resource(4, "9", &[("message.max.bytes", Some("1"))]),
            refusal(invalid, "Unexpected broker id, expected 1, but received 9"),
        ),
        (resource(99, "x", &[("a", Some("b"))]), refusal(invalid, "Unknown resource type 99")),
    ];
    for (asked, expected) in cases {
        assert_eq!(alter_one(&mut client, asked, 2).await, expected);
    }
}

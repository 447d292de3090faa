//! DescribeConfigs: values, sources, synonyms, secrets, and every refusal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::{
    handlers::test_support::{create_one, refusal, start, topic},
    testing::Client,
};

fn resource(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
    }
}

async fn describe_one(
    client: &mut Client,
    resource: DescribeConfigsResource,
    version: i16,
) -> DescribeConfigsResult {
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: version >= 3,
    };
    client.call(&request, version).await.unwrap().results.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_topic_shows_values_sources_types_and_documentation() {
    let (_broker, mut client) = start(&[("log.segment.bytes", "2000000")]).await;
    create_one(&mut client, topic("a", 1, 1, &[("retention.ms", Some("5"))]), 7).await;
    for version in 1..=4 {
        let asked = resource(2, "a", Some(&["retention.ms", "segment.bytes", "nonsense"]));
        let result = describe_one(&mut client, asked, version).await;
        assert_eq!((result.error_code, result.error_message.as_deref()), (0, Some("")));
        let [retention, segment] = result.configs.as_slice() else {
            panic!("{:?}", result.configs)
        };
        assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5"), 1));
        assert_eq!((segment.value.as_deref(), segment.config_source), (Some("2000000"), 4));
        let synonyms: Vec<_> =
            segment.synonyms.iter().map(|s| (s.name.as_str(), s.source)).collect();
        assert_eq!(synonyms, [("log.segment.bytes", 4), ("log.segment.bytes", 5)]);
        if version >= 3 {
            assert_eq!((retention.config_type, segment.config_type), (5, 3));
            assert!(retention.documentation.as_deref().unwrap().contains("Age"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_list_and_an_empty_one_ask_for_all_keys() {
    let (_broker, mut client) = start(&[]).await;
    create_one(&mut client, topic("a", 1, 1, &[]), 7).await;
    for keys in [None, Some(&[][..])] {
        let result = describe_one(&mut client, resource(2, "a", keys), 4).await;
        assert_eq!(result.configs.len(), names::topic_keys().count());
    }
}

#[tokio::test(start_paused = true)]
async fn keys_of_other_products_are_shown_where_they_are_set() {
    let (_broker, mut client) = start(&[]).await;
    let set = [("redpanda.iceberg.mode", Some("key_value")), ("retention.ms", Some("5"))];
    create_one(&mut client, topic("a", 1, 1, &set), 7).await;
    for keys in [None, Some(&["redpanda.iceberg.mode", "redpanda.iceberg.delete"][..])] {
        let result = describe_one(&mut client, resource(2, "a", keys), 4).await;
        let aliases: Vec<_> =
            result.configs.iter().filter(|config| config.name.starts_with("redpanda.")).collect();
        let [mode] = aliases.as_slice() else { panic!("{aliases:?}") };
        assert_eq!((mode.value.as_deref(), mode.config_source), (Some("key_value"), 1));
        assert!(mode.read_only && !mode.is_sensitive && mode.synonyms.len() == 1);
    }
}

#[tokio::test(start_paused = true)]
async fn throttles_are_shown_where_they_are_set() {
    let rate = "leader.replication.throttled.rate";
    for (settings, shown) in [(&[][..], 0), (&[(rate, "123")][..], 1)] {
        let (_broker, mut client) = start(settings).await;
        let result = describe_one(&mut client, resource(4, "1", Some(&[rate])), 4).await;
        assert_eq!((result.error_code, result.configs.len()), (0, shown));
    }
}

#[tokio::test(start_paused = true)]
async fn the_broker_shows_its_own_settings_and_hides_secrets() {
    let secret = "streamhouse.object.store.options";
    let (_broker, mut client) = start(&[(secret, "a=b"), ("num.partitions", "7")]).await;
    let result = describe_one(&mut client, resource(4, "1", None), 4).await;
    let find = |name: &str| result.configs.iter().find(|config| config.name == name).unwrap();
    let partitions = find("num.partitions");
    assert_eq!((partitions.value.as_deref(), partitions.config_source), (Some("7"), 4));
    assert_eq!(find("broker.id").value.as_deref(), Some("1"));
    assert!(partitions.read_only && !find("message.max.bytes").read_only);
    let hidden = find(secret);
    assert!(hidden.is_sensitive && hidden.value.is_none());
    assert!(hidden.synonyms.iter().all(|synonym| synonym.value.is_none()));
}

#[tokio::test(start_paused = true)]
async fn all_brokers_have_only_what_was_set_for_all() {
    let (_broker, mut client) = start(&[]).await;
    assert!(describe_one(&mut client, resource(4, "", None), 4).await.configs.is_empty());
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_kafka() {
    let (_broker, mut client) = start(&[]).await;
    let cases = [
        (resource(2, "nope", None), refusal(ErrorCode::UnknownTopicOrPartition, "")),
        (
            resource(2, "", None),
            refusal(
                ErrorCode::InvalidTopicException,
                "Topic name is invalid: the empty string is not allowed",
            ),
        ),
        (
            resource(4, "7", None),
            refusal(
                ErrorCode::InvalidRequest,
                "Unexpected broker id, expected 1 or empty string, but received 7",
            ),
        ),
        (
            resource(4, "abc", None),
            refusal(ErrorCode::InvalidRequest, "Broker id must be an integer, but it is: abc"),
        ),
        (
            resource(99, "x", None),
            refusal(ErrorCode::InvalidRequest, "Unsupported resource type 99"),
        ),
    ];
    for (asked, expected) in cases {
        let result = describe_one(&mut client, asked, 4).await;
        assert_eq!((result.error_code, result.error_message), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_shows_its_settings_over_the_brokers() {
    let (broker, mut client) = start(&[("group.consumer.heartbeat.interval.ms", "6000")]).await;
    let store = (broker.broker.metadata.as_ref(), &broker.broker.fence);
    let layers = broker.broker.configs.layers();
    let own = [("consumer.session.timeout.ms".to_owned(), "50000".to_owned())];
    let set = |_: &_| Ok(own.clone().into());
    broker.broker.group_configs.change(store, &layers, "g", false, set).await.unwrap();
    let result = describe_one(&mut client, resource(32, "g", None), 4).await;
    let shown: Vec<_> = result
        .configs
        .iter()
        .map(|config| {
            (config.name.as_str(), config.value.as_deref().unwrap(), config.config_source)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("consumer.assignment.interval.ms", "1000", 5),
            ("consumer.heartbeat.interval.ms", "6000", 4),
            ("consumer.session.timeout.ms", "50000", 8),
            ("streams.assignment.interval.ms", "1000", 5),
            ("streams.heartbeat.interval.ms", "5000", 5),
            ("streams.initial.rebalance.delay.ms", "3000", 5),
            ("streams.num.standby.replicas", "0", 5),
            ("streams.session.timeout.ms", "45000", 5),
        ]
    );
    let result = describe_one(&mut client, resource(32, "", None), 4).await;
    assert_eq!(result.error_code, ErrorCode::InvalidRequest.code());
}

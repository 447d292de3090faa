//! DescribeConfigs (key 32, v1–v4): the configurations of topics, brokers and groups, with where each
//! value comes from (KIP-226), types and documentation (KIP-569).
//!
//! Not supported: broker loggers and client metrics.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    ErrorCode,
    messages::describe_configs::{
        DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
        DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
    },
};
use table::alias;

use super::config_resource::{self, ResourceType};
use crate::{
    acl::{Access, Operation},
    config::{
        dynamic::Scope,
        effective::{ConfigSource, DescribedConfig},
        names::{self, ConfigKey},
        value::ConfigType,
    },
    context::{Broker, RequestContext},
    handler::{Api, Handler},
    topic_name,
};

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeConfigs;

/// Kafka's type of a key that nobody knows (`ConfigType.UNKNOWN`).
const TYPE_UNKNOWN: i8 = 0;

/// Why a resource is not described.
type Refusal = (ErrorCode, String);
/// A key and its values.
type Described = Vec<(&'static ConfigKey, DescribedConfig)>;

impl Api for DescribeConfigs {
    type Request = DescribeConfigsRequest;

    fn resources(request: &DescribeConfigsRequest) -> Vec<Access> {
        let resources = request.resources.iter();
        resources
            .map(|resource| {
                let operation = Operation::DescribeConfigs;
                config_resource::access(resource.resource_type, &resource.resource_name, operation)
            })
            .collect()
    }

    fn error_response(
        request: &DescribeConfigsRequest,
        error: ErrorCode,
    ) -> DescribeConfigsResponse {
        let resources = request.resources.iter();
        let results = resources.map(|resource| DescribeConfigsResult {
            error_code: error.code(),
            error_message: Some(error.message().to_owned()),
            ..result(resource)
        });
        DescribeConfigsResponse { results: results.collect(), ..Default::default() }
    }
}

impl Handler for DescribeConfigs {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| match describe(broker, resource) {
            Ok(described) => DescribeConfigsResult {
                configs: {
                    let mut configs = shown(described, resource, &request);
                    configs.extend(unknown(broker, resource, &request));
                    configs
                },
                ..result(resource)
            },
            Err((error, why)) => {
                broker.metrics.error(context.api_key, error);
                DescribeConfigsResult {
                    error_code: error.code(),
                    error_message: Some(why),
                    ..result(resource)
                }
            }
        });
        DescribeConfigsResponse { results: results.collect(), ..Default::default() }
    }
}

fn result(resource: &DescribeConfigsResource) -> DescribeConfigsResult {
    DescribeConfigsResult {
        error_message: Some(String::new()),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    }
}

fn describe(broker: &Broker, resource: &DescribeConfigsResource) -> Result<Described, Refusal> {
    match ResourceType::from_id(resource.resource_type) {
        Some(ResourceType::Topic) => describe_topic(broker, &resource.resource_name),
        Some(ResourceType::Broker) => describe_broker(broker, &resource.resource_name),
        Some(ResourceType::Group) => describe_group(broker, &resource.resource_name),
        Some(ResourceType::BrokerLogger | ResourceType::ClientMetrics) | None => {
            let why = format!("Unsupported resource type {}", resource.resource_type);
            Err((ErrorCode::InvalidRequest, why))
        }
    }
}

fn describe_topic(broker: &Broker, name: &str) -> Result<Described, Refusal> {
    topic_name::validate(name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
    let image = broker.catalog.image();
    // Kafka gives no message here.
    let unknown = || (ErrorCode::UnknownTopicOrPartition, String::new());
    let configs = &image.by_name(name).ok_or_else(unknown)?.topic.configs;
    let layers = broker.configs.layers();
    Ok(names::topic_keys().map(|key| (key, layers.describe_topic(key, configs))).collect())
}

fn describe_group(broker: &Broker, name: &str) -> Result<Described, Refusal> {
    if name.is_empty() {
        return Err((ErrorCode::InvalidRequest, "Group name must not be empty".to_owned()));
    }
    let settings = broker.group_configs.settings(name);
    let layers = broker.configs.layers();
    Ok(names::group_keys().map(|key| (key, layers.describe_group(key, &settings))).collect())
}

fn describe_broker(broker: &Broker, name: &str) -> Result<Described, Refusal> {
    let layers = broker.configs.layers();
    match config_resource::scope(name, broker.node_id) {
        Ok(Scope::AllBrokers) => {
            let keys = names::broker_keys();
            Ok(keys.filter_map(|key| Some((key, layers.describe_cluster(key)?))).collect())
        }
        Ok(Scope::ThisBroker) => {
            let all = names::broker_keys();
            let described = all.map(|key| (key, own(broker, layers.describe_broker(key))));
            Ok(described.filter(|(_, config)| !is_unset_throttle(config)).collect())
        }
        Err(Some(_)) => Err((
            ErrorCode::InvalidRequest,
            format!(
                "Unexpected broker id, expected {} or empty string, but received {name}",
                broker.node_id
            ),
        )),
        Err(None) => Err((
            ErrorCode::InvalidRequest,
            format!("Broker id must be an integer, but it is: {name}"),
        )),
    }
}

/// What nobody knows may be a secret: it is named, and its value is not shown, as in Kafka.
fn unknown(
    broker: &Broker,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    match ResourceType::from_id(resource.resource_type) {
        Some(ResourceType::Broker) => {}
        Some(ResourceType::Topic) => return aliases(broker, resource, request),
        _ => return Vec::new(),
    }
    let layers = broker.configs.layers();
    let asked = asked(resource);
    let unknown = layers.unknown(resource.resource_name.is_empty());
    let unknown = unknown.into_iter().filter(|(name, _)| asked.is_empty() || asked.contains(name));
    let shown = unknown.map(|(name, sources)| DescribeConfigsResourceResult {
        name: name.to_owned(),
        value: None,
        read_only: true,
        config_source: sources.first().map_or(ConfigSource::Default, |source| *source) as i8,
        is_sensitive: true,
        synonyms: sources
            .iter()
            .filter(|_| request.include_synonyms)
            .map(|source| DescribeConfigsSynonym {
                name: name.to_owned(),
                value: None,
                source: *source as i8,
            })
            .collect(),
        config_type: TYPE_UNKNOWN,
        documentation: None,
    });
    shown.collect()
}

/// Keys of other products that are set on a topic. They are for reading: who copies configurations
/// leaves them out.
fn aliases(
    broker: &Broker,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    let image = broker.catalog.image();
    let Some(entry) = image.by_name(&resource.resource_name) else { return Vec::new() };
    let asked = asked(resource);
    let set = entry.topic.configs.iter().filter(|(name, _)| alias::is_alias(name));
    let set = set.filter(|(name, _)| asked.is_empty() || asked.contains(name.as_str()));
    let source = ConfigSource::Topic as i8;
    let shown = set.map(|(name, value)| DescribeConfigsResourceResult {
        name: name.clone(),
        value: Some(value.clone()),
        read_only: true,
        config_source: source,
        synonyms: match request.include_synonyms {
            true => vec![DescribeConfigsSynonym {
                name: name.clone(),
                value: Some(value.clone()),
                source,
            }],
            false => Vec::new(),
        },
        config_type: ConfigType::String as i8,
        documentation: request
            .include_documentation
            .then(|| "Another product's key for the topic's table, read as table.*.".to_owned()),
        ..Default::default()
    });
    shown.collect()
}

/// The keys that are asked for; none is all of them.
fn asked(resource: &DescribeConfigsResource) -> BTreeSet<&str> {
    resource.configuration_keys.iter().flatten().map(String::as_str).collect()
}

/// The id in force is the one that is kept with the data, whatever the configuration leaves out.
fn own(broker: &Broker, mut config: DescribedConfig) -> DescribedConfig {
    if matches!(config.name, "node.id" | "broker.id") {
        config.value = Some(broker.node_id.to_string());
    }
    config
}

/// Kafka's throttles are dynamic keys only, which are shown where they are set.
fn is_unset_throttle(config: &DescribedConfig) -> bool {
    config.source == ConfigSource::Default
        && matches!(
            config.name,
            "leader.replication.throttled.rate"
                | "follower.replication.throttled.rate"
                | "replica.alter.log.dirs.io.max.bytes.per.second"
        )
}

/// The keys that were asked for: all where there is no list or an empty one.
fn shown(
    described: Described,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    let asked = asked(resource);
    described
        .into_iter()
        .filter(|(key, _)| asked.is_empty() || asked.contains(key.name))
        .map(|(key, config)| entry(key, config, request))
        .collect()
}

fn entry(
    key: &ConfigKey,
    config: DescribedConfig,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResourceResult {
    let synonyms = config.synonyms.into_iter().filter(|_| request.include_synonyms);
    DescribeConfigsResourceResult {
        name: config.name.to_owned(),
        value: config.value,
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: key.is_sensitive(),
        synonyms: synonyms
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name.to_owned(),
                value: synonym.value,
                source: synonym.source as i8,
            })
            .collect(),
        config_type: key.kind as i8,
        documentation: request.include_documentation.then(|| key.doc.to_owned()),
    }
}

#[cfg(test)]
mod tests;

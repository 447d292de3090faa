//! CreateTopics (key 19, v2–v7): creates topics.
//!
//! KIP-4, KIP-464 (defaults with -1), KIP-525 (the configuration in the answer), KIP-516 (ids).
//! A replication factor is remembered and not acted on (design D14). Not supported: quotas of
//! partition changes (KIP-599) and the policy class.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::{TopicId, limits::TOPIC_PARTITIONS_MAX};
use metadata::NewTopic;
use protocol::{
    ErrorCode,
    messages::create_topics::{
        CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
        CreateTopicsResponse,
    },
};
use tracing::{info, warn};

use super::{error, replicas};
use crate::{
    acl::{Access, Operation, Resource},
    catalog,
    config::{broker::TopicRules, names, topic},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
    topic_name,
};

/// Asks for the broker's default of a count.
const DEFAULT_COUNT: i32 = -1;
/// Asks for the broker's default replication factor.
const DEFAULT_REPLICATION_FACTOR: i16 = -1;

/// The handler.
#[derive(Debug)]
pub(crate) struct CreateTopics;

/// Why a topic is not created.
type Refusal = (ErrorCode, String);

impl Api for CreateTopics {
    type Request = CreateTopicsRequest;

    fn resources(request: &CreateTopicsRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.name.clone()));
        topics.map(|topic| Access::new(Operation::Create, topic)).collect()
    }

    fn error_response(request: &CreateTopicsRequest, error: ErrorCode) -> CreateTopicsResponse {
        let topics = request.topics.iter();
        let refusal = (error, error.message().to_owned());
        CreateTopicsResponse {
            topics: topics.map(|topic| refused(&topic.name, refusal.clone())).collect(),
            ..Default::default()
        }
    }
}

impl Handler for CreateTopics {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: CreateTopicsRequest,
    ) -> CreateTopicsResponse {
        let duplicates = duplicates(&request.topics);
        let mut answered = BTreeSet::new();
        let mut topics = Vec::new();
        for topic in &request.topics {
            if !answered.insert(topic.name.as_str()) {
                continue;
            }
            let created = if duplicates.contains(topic.name.as_str()) {
                Err((ErrorCode::InvalidRequest, "Duplicate topic name.".to_owned()))
            } else {
                create(broker, topic, request.validate_only).await
            };
            topics.push(created.unwrap_or_else(|refusal| {
                broker.metrics.error(context.api_key, refusal.0);
                refused(&topic.name, refusal)
            }));
        }
        CreateTopicsResponse { topics, ..Default::default() }
    }
}

fn duplicates(topics: &[CreatableTopic]) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    topics.iter().map(|topic| topic.name.as_str()).filter(|name| !seen.insert(*name)).collect()
}

async fn create(
    broker: &Arc<Broker>,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let rules = broker.configs.broker().topics.clone();
    check_name(broker, &topic.name)?;
    let configs = configs(topic)?;
    let (replication_factor, partitions) = assignments(broker, topic, &rules)?;
    check_total(broker, partitions.len(), &rules)?;
    let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
    let new = NewTopic {
        id: TopicId(broker.rng.uuid()),
        name: topic.name.clone(),
        internal: topic_name::is_internal(&topic.name),
        configs: configs.clone(),
        replication_factor,
        created_ms: broker.clock.now_ms(),
        partitions,
    };
    let id = new.id;
    if !validate_only {
        broker.catalog.create_topic(new).await.map_err(|failure| match failure {
            catalog::Error::Metadata(metadata::Error::TopicExists { .. }) => exists(&topic.name),
            other => {
                warn!(topic = topic.name, error = %other, "topic could not be created");
                (error::catalog(&other), other.to_string())
            }
        })?;
        info!(topic = topic.name, partitions = count, "topic created");
    }
    Ok(CreatableTopicResult {
        name: topic.name.clone(),
        topic_id: id.0,
        error_message: None,
        num_partitions: count,
        replication_factor,
        configs: Some(described(broker, &configs)),
        ..Default::default()
    })
}

fn check_name(broker: &Broker, name: &str) -> Result<(), Refusal> {
    topic_name::validate(name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
    if name == topic_name::CLUSTER_METADATA {
        let why = format!("Creation of internal topic {name} is prohibited.");
        return Err((ErrorCode::InvalidRequest, why));
    }
    let image = broker.catalog.image();
    if image.by_name(name).is_some() {
        return Err(exists(name));
    }
    match image.topics().find(|other| topic_name::collides(&other.topic.name, name)) {
        None => Ok(()),
        Some(other) => Err((
            ErrorCode::InvalidTopicException,
            format!("Topic '{name}' collides with existing topic: {}", other.topic.name),
        )),
    }
}

fn exists(name: &str) -> Refusal {
    (ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."))
}

/// The topic's settings; the last of a key that comes twice counts, as in Kafka.
fn configs(topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let nulls: Vec<_> = topic
        .configs
        .iter()
        .filter(|config| config.value.is_none())
        .map(|config| config.name.as_str())
        .collect();
    if !nulls.is_empty() {
        let why = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err((ErrorCode::InvalidConfig, why));
    }
    let given = topic.configs.iter();
    let configs = given
        .map(|config| (config.name.clone(), config.value.clone().unwrap_or_default()))
        .collect();
    topic::validate(&configs).map_err(|why| (ErrorCode::InvalidConfig, why))?;
    Ok(configs)
}

/// The replication factor to remember and the replicas of each partition.
fn assignments(
    broker: &Broker,
    topic: &CreatableTopic,
    rules: &TopicRules,
) -> Result<(i16, Vec<Vec<i32>>), Refusal> {
    if !topic.assignments.is_empty() {
        return manual_assignments(broker, topic);
    }
    let factor = match topic.replication_factor {
        DEFAULT_REPLICATION_FACTOR => rules.default_replication_factor,
        factor if factor < 1 => {
            let why = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err((ErrorCode::InvalidReplicationFactor, why.to_owned()));
        }
        factor => factor,
    };
    let count = match topic.num_partitions {
        DEFAULT_COUNT => rules.num_partitions,
        count if count < 1 => {
            let why = "Number of partitions was set to an invalid non-positive value.";
            return Err((ErrorCode::InvalidPartitions, why.to_owned()));
        }
        count => count,
    };
    if rules.strict_replication && factor > 1 {
        return Err((
            ErrorCode::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {factor} time(s): The target replication \
                 factor of {factor} cannot be reached because only 1 broker(s) are registered."
            ),
        ));
    }
    if count > TOPIC_PARTITIONS_MAX {
        let why = "Excessively large number of partitions per request.";
        return Err((ErrorCode::PolicyViolation, why.to_owned()));
    }
    let count = usize::try_from(count).unwrap_or(0);
    Ok((factor, vec![vec![broker.node_id.0]; count]))
}

fn manual_assignments(
    broker: &Broker,
    topic: &CreatableTopic,
) -> Result<(i16, Vec<Vec<i32>>), Refusal> {
    if topic.replication_factor != DEFAULT_REPLICATION_FACTOR {
        let why = "A manual partition assignment was specified, but replication factor was not \
                   set to -1.";
        return Err((ErrorCode::InvalidRequest, why.to_owned()));
    }
    if topic.num_partitions != DEFAULT_COUNT {
        let why = "A manual partition assignment was specified, but numPartitions was not set to \
                   -1.";
        return Err((ErrorCode::InvalidRequest, why.to_owned()));
    }
    let invalid = |why: String| (ErrorCode::InvalidReplicaAssignment, why);
    let mut by_index = BTreeMap::new();
    for assignment in &topic.assignments {
        let index = assignment.partition_index;
        if by_index.contains_key(&index) {
            return Err(invalid(format!(
                "Found multiple manual partition assignments for partition {index}"
            )));
        }
        replicas::check(&assignment.broker_ids, broker.node_id).map_err(invalid)?;
        by_index.insert(index, assignment.broker_ids.clone());
    }
    if !by_index.keys().copied().eq((0..).take(by_index.len())) {
        let why = "partitions should be a consecutive 0-based integer sequence";
        return Err(invalid(why.to_owned()));
    }
    let partitions: Vec<_> = by_index.into_values().collect();
    let factor = partitions.first().map_or(0, Vec::len);
    Ok((i16::try_from(factor).unwrap_or(i16::MAX), partitions))
}

fn check_total(broker: &Broker, more: usize, rules: &TopicRules) -> Result<(), Refusal> {
    let max = usize::try_from(rules.max_partitions).unwrap_or(usize::MAX);
    let image = broker.catalog.image();
    let present: usize = image.topics().map(|topic| topic.partitions.len()).sum();
    if present.saturating_add(more) > max {
        let why = format!(
            "There are {present} partitions; {more} more would exceed streamhouse.max.partitions \
             ({max})."
        );
        return Err((ErrorCode::PolicyViolation, why));
    }
    Ok(())
}

fn described(broker: &Broker, configs: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let layers = broker.configs.layers();
    names::topic_keys()
        .map(|key| {
            let config = layers.describe_topic(key, configs);
            CreatableTopicConfigs {
                name: config.name.to_owned(),
                value: config.value,
                read_only: config.read_only,
                config_source: config.source as i8,
                is_sensitive: key.is_sensitive(),
            }
        })
        .collect()
}

fn refused(name: &str, (code, why): Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: code.code(),
        error_message: Some(why),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;

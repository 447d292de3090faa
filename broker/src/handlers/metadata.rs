//! Metadata (key 3, v0–v13): brokers, topics and their leaders; creates topics that are asked for.
//!
//! KIP-4, KIP-430 (authorized operations), KIP-516 (topic ids), KIP-204. The owner is shown as the
//! only replica and in-sync replica whatever the replication factor (design D14). Served from the
//! catalog's image; only the creation of a topic reaches the metadata store.

use std::{collections::BTreeSet, sync::Arc};

use common::TopicId;
use metadata::NewTopic;
use protocol::{
    ErrorCode,
    messages::metadata::{
        MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
        MetadataResponseTopic,
    },
};
use tracing::{info, warn};
use uuid::Uuid;

use super::error;
use crate::{
    acl::{
        AUTHORIZED_OPERATIONS_OMITTED, Access, Operation, Resource, cluster_authorized_operations,
        topic_authorized_operations,
    },
    catalog::{self, CatalogImage, TopicEntry},
    context::{Broker, RequestContext},
    coordination::InternalTopic,
    handler::{Api, Handler},
    topic_name,
};

/// The first version that asks for topics by id (10 and 11 have the field and may not use it).
const TOPIC_IDS_SINCE: i16 = 12;
/// The last version that can ask for the cluster's operations; DescribeCluster does since.
const CLUSTER_OPERATIONS_UNTIL: i16 = 10;

/// The handler.
#[derive(Debug)]
pub(crate) struct Metadata;

impl Api for Metadata {
    type Request = MetadataRequest;

    fn resources(request: &MetadataRequest) -> Vec<Access> {
        let topics = request.topics.iter().flatten().map(|topic| match &topic.name {
            Some(name) => Resource::Topic(name.clone()),
            None => Resource::TopicId(topic.topic_id.into()),
        });
        topics.map(|topic| Access::new(Operation::Describe, topic)).collect()
    }

    fn error_response(request: &MetadataRequest, error: ErrorCode) -> MetadataResponse {
        let topics = request.topics.iter().flatten().map(|topic| {
            let name = topic.name.clone().unwrap_or_default();
            failed(Some(name), topic.topic_id, error)
        });
        MetadataResponse {
            topics: topics.collect(),
            controller_id: -1,
            cluster_id: None,
            cluster_authorized_operations: AUTHORIZED_OPERATIONS_OMITTED,
            error_code: error.code(),
            ..Default::default()
        }
    }
}

impl Handler for Metadata {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: MetadataRequest,
    ) -> MetadataResponse {
        let version = context.api_version;
        if !names_are_legal(&request, version) {
            broker.metrics.error(context.api_key, ErrorCode::InvalidRequest);
            return Self::error_response(&request, ErrorCode::InvalidRequest);
        }
        let image = broker.catalog.image();
        let mut topics = match &request.topics {
            None => image.topics().map(|topic| described(topic)).collect(),
            Some(named) if named.is_empty() && version == 0 => {
                image.topics().map(|topic| described(topic)).collect()
            }
            Some(_) => asked_for(broker, &image, &request).await,
        };
        if request.include_topic_authorized_operations {
            for topic in &mut topics {
                topic.topic_authorized_operations = topic_authorized_operations();
            }
        }
        for topic in &topics {
            if let Ok(error) = ErrorCode::try_from(topic.error_code)
                && error != ErrorCode::None
            {
                broker.metrics.error(context.api_key, error);
            }
        }
        let wants_cluster_operations =
            request.include_cluster_authorized_operations && version <= CLUSTER_OPERATIONS_UNTIL;
        MetadataResponse {
            brokers: vec![this_broker(broker)],
            cluster_id: Some(broker.cluster_id.clone()),
            controller_id: broker.node_id.0,
            topics,
            cluster_authorized_operations: if wants_cluster_operations {
                cluster_authorized_operations()
            } else {
                AUTHORIZED_OPERATIONS_OMITTED
            },
            ..Default::default()
        }
    }
}

/// Before version 12 a topic has a name and no id, as Kafka checks.
fn names_are_legal(request: &MetadataRequest, version: i16) -> bool {
    let mut topics = request.topics.iter().flatten();
    version >= TOPIC_IDS_SINCE
        || topics.all(|topic| topic.name.is_some() && topic.topic_id.is_nil())
}

fn this_broker(broker: &Broker) -> MetadataResponseBroker {
    let options = broker.options();
    MetadataResponseBroker {
        node_id: broker.node_id.0,
        host: options.advertised.host.clone(),
        port: i32::from(options.advertised.port),
        rack: options.rack.clone(),
    }
}

/// The topics that a request names, each once; by id if any of them has one.
async fn asked_for(
    broker: &Arc<Broker>,
    image: &CatalogImage,
    request: &MetadataRequest,
) -> Vec<MetadataResponseTopic> {
    let named = request.topics.iter().flatten();
    let by_id: Vec<Uuid> =
        named.clone().map(|topic| topic.topic_id).filter(|id| !id.is_nil()).collect();
    if !by_id.is_empty() {
        let mut seen = BTreeSet::new();
        return by_id
            .into_iter()
            .filter(|id| seen.insert(*id))
            .map(|id| match image.by_id(id.into()) {
                Some(topic) => described(topic),
                None => failed(None, id, ErrorCode::UnknownTopicId),
            })
            .collect();
    }
    let may_create = request.allow_auto_topic_creation && broker.options().auto_create_topics;
    let mut seen = BTreeSet::new();
    let mut topics = Vec::new();
    for name in named.filter_map(|topic| topic.name.as_deref()).filter(|name| seen.insert(*name)) {
        let topic = match image.by_name(name) {
            Some(topic) => Ok(Arc::clone(topic)),
            None if topic_name::validate(name).is_err() => Err(ErrorCode::InvalidTopicException),
            None if may_create => create(broker, name).await,
            None => Err(ErrorCode::UnknownTopicOrPartition),
        };
        topics.push(match topic {
            Ok(topic) => described(&topic),
            Err(error) => failed(Some(name.to_owned()), Uuid::nil(), error),
        });
    }
    topics
}

/// An existing topic whose name differs from `name` only in `.` and `_`, which Kafka's metrics
/// cannot tell apart.
fn colliding(image: &CatalogImage, name: &str) -> Option<Arc<TopicEntry>> {
    image.topics().find(|topic| topic_name::collides(&topic.topic.name, name)).cloned()
}

/// Whether the broker may have `count` more partitions.
fn has_room(broker: &Broker, count: usize) -> bool {
    let max = usize::try_from(broker.configs.broker().topics.max_partitions).unwrap_or(usize::MAX);
    let image = broker.catalog.image();
    let present: usize = image.topics().map(|topic| topic.partitions.len()).sum();
    present.saturating_add(count) <= max
}

/// Creates a topic with the broker's defaults, or an internal one as its coordinator wants it.
async fn create(broker: &Arc<Broker>, name: &str) -> Result<Arc<TopicEntry>, ErrorCode> {
    if let Some(topic) = InternalTopic::named(name) {
        return broker.coordination.ensure(topic).await;
    }
    if topic_name::is_internal(name) {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    if let Some(existing) = colliding(&broker.catalog.image(), name) {
        warn!(topic = name, existing = existing.topic.name, "not created: the names collide");
        return Err(ErrorCode::InvalidTopicException);
    }
    let options = broker.options();
    let count = usize::try_from(options.num_partitions).unwrap_or(1);
    if !has_room(broker, count) {
        warn!(topic = name, "not created: streamhouse.max.partitions is reached");
        return Err(ErrorCode::PolicyViolation);
    }
    let topic = NewTopic {
        id: TopicId(broker.rng.uuid()),
        name: name.to_owned(),
        internal: false,
        configs: Default::default(),
        replication_factor: options.default_replication_factor,
        created_ms: broker.clock.now_ms(),
        partitions: vec![vec![broker.node_id.0]; count],
    };
    match broker.catalog.create_topic(topic).await {
        Ok(created) => {
            info!(topic = name, partitions = count, "topic created on demand");
            Ok(created)
        }
        // Another client asked at the same moment: the one that is there is the one.
        Err(catalog::Error::Metadata(metadata::Error::TopicExists { .. })) => broker
            .catalog
            .image()
            .by_name(name)
            .map(Arc::clone)
            .ok_or(ErrorCode::UnknownTopicOrPartition),
        Err(refused) => {
            warn!(topic = name, %refused, "topic could not be created");
            Err(error::catalog(&refused))
        }
    }
}

fn described(topic: &TopicEntry) -> MetadataResponseTopic {
    let partitions = topic.topic.partitions.iter().filter_map(|row| {
        let leader = topic.leader(row.partition)?;
        Some(MetadataResponsePartition {
            error_code: ErrorCode::None.code(),
            partition_index: row.partition,
            leader_id: leader.node_id.0,
            leader_epoch: leader.epoch.0,
            replica_nodes: vec![leader.node_id.0],
            isr_nodes: vec![leader.node_id.0],
            offline_replicas: Vec::new(),
        })
    });
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(topic.topic.name.clone()),
        topic_id: topic.topic.id.0,
        is_internal: topic.topic.internal,
        partitions: partitions.collect(),
        topic_authorized_operations: AUTHORIZED_OPERATIONS_OMITTED,
    }
}

fn failed(name: Option<String>, topic_id: Uuid, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        is_internal: name.as_deref().is_some_and(topic_name::is_internal),
        name,
        topic_id,
        partitions: Vec::new(),
        topic_authorized_operations: AUTHORIZED_OPERATIONS_OMITTED,
    }
}

#[cfg(test)]
mod tests;

//! OffsetFetch (key 9, v1–v10): what groups have committed.
//!
//! KIP-447 (stable offsets), KIP-709 (several groups), KIP-848 (member epochs and topic ids).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::offset_fetch::{
        OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version with an error of the whole group.
const GROUP_ERROR_SINCE: i16 = 2;
/// The first version that asks for several groups.
const BATCHED_SINCE: i16 = 8;
/// The first version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 10;
/// No offset is committed, no epoch is known.
const NONE: i32 = -1;

/// The handler.
#[derive(Debug)]
pub(crate) struct OffsetFetch;

impl Api for OffsetFetch {
    type Request = OffsetFetchRequest;

    fn resources(request: &OffsetFetchRequest) -> Vec<Access> {
        let mut accesses = Vec::new();
        let mut describe = |resource| accesses.push(Access::new(Operation::Describe, resource));
        if request.groups.is_empty() {
            describe(Resource::Group(request.group_id.clone()));
        }
        for topic in request.topics.iter().flatten() {
            describe(Resource::Topic(topic.name.clone()));
        }
        for group in &request.groups {
            describe(Resource::Group(group.group_id.clone()));
            for topic in group.topics.iter().flatten() {
                describe(if topic.topic_id.is_nil() {
                    Resource::Topic(topic.name.clone())
                } else {
                    Resource::TopicId(topic.topic_id.into())
                });
            }
        }
        accesses
    }

    fn error_response(request: &OffsetFetchRequest, error: ErrorCode) -> OffsetFetchResponse {
        // Versions with several groups have no error of the whole answer.
        if !request.groups.is_empty() {
            let groups = request.groups.iter().map(|group| OffsetFetchResponseGroup {
                group_id: group.group_id.clone(),
                error_code: error.code(),
                ..Default::default()
            });
            return OffsetFetchResponse { groups: groups.collect(), ..Default::default() };
        }
        let topics = request.topics.iter().flatten().map(|topic| OffsetFetchResponseTopic {
            name: topic.name.clone(),
            partitions: topic.partition_indexes.iter().map(|i| old(failed(*i, error))).collect(),
        });
        OffsetFetchResponse {
            error_code: error.code(),
            topics: topics.collect(),
            ..Default::default()
        }
    }
}

impl Handler for OffsetFetch {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        let version = context.api_version;
        let require_stable = request.require_stable;
        if version >= BATCHED_SINCE {
            let mut groups = Vec::with_capacity(request.groups.len());
            for group in request.groups {
                groups.push(fetch(broker, context, group, require_stable).await);
            }
            return OffsetFetchResponse { groups, ..Default::default() };
        }
        let topics = request.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..Default::default()
            });
            topics.collect()
        });
        let member_epoch = NONE;
        let group = OffsetFetchRequestGroup {
            group_id: request.group_id,
            topics,
            member_epoch,
            member_id: None,
        };
        let answer = fetch(broker, context, group, require_stable).await;
        OffsetFetchResponse {
            error_code: answer.error_code,
            topics: answer.topics.into_iter().map(old_topic).collect(),
            ..Default::default()
        }
    }
}

/// The answer of one group.
async fn fetch(
    broker: &Arc<Broker>,
    context: &RequestContext,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let version = context.api_version;
    let image = broker.catalog.image();
    let asked = group.topics.clone();
    let mut unknown = Vec::new();
    if version >= TOPIC_IDS_SINCE
        && let Some(topics) = &mut group.topics
    {
        topics.retain_mut(|topic| match image.by_id(topic.topic_id.into()) {
            Some(entry) => {
                topic.name.clone_from(&entry.topic.name);
                true
            }
            None => {
                unknown.push(failed_topic(topic, ErrorCode::UnknownTopicId));
                false
            }
        });
    }
    let group_id = group.group_id.clone();
    match broker.coordination.groups.fetch_offsets(group, require_stable).await {
        Ok(mut topics) => {
            if version >= TOPIC_IDS_SINCE {
                topics.retain_mut(|topic| identify(topic, &image));
            }
            topics.extend(unknown);
            OffsetFetchResponseGroup { group_id, topics, ..Default::default() }
        }
        Err(error) => {
            broker.metrics.error(context.api_key, error);
            failed_group(group_id, asked.as_deref(), error, version)
        }
    }
}

/// Gives a topic its id and takes its name, as the version wants; false where there is no such topic
/// any more, since then there is nothing to call it by.
fn identify(topic: &mut OffsetFetchResponseTopics, image: &CatalogImage) -> bool {
    if topic.topic_id.is_nil()
        && let Some(entry) = image.by_name(&topic.name)
    {
        topic.topic_id = entry.topic.id.0;
    }
    topic.name.clear();
    !topic.topic_id.is_nil()
}

/// The group's error, or before there was such a thing, that of each partition.
fn failed_group(
    group_id: String,
    topics: Option<&[OffsetFetchRequestTopics]>,
    error: ErrorCode,
    version: i16,
) -> OffsetFetchResponseGroup {
    if version >= GROUP_ERROR_SINCE {
        return OffsetFetchResponseGroup {
            group_id,
            error_code: error.code(),
            ..Default::default()
        };
    }
    let topics =
        topics.unwrap_or_default().iter().map(|topic| failed_topic(topic, error)).collect();
    OffsetFetchResponseGroup { group_id, error_code: error.code(), topics }
}

fn failed_topic(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(|index| failed(*index, error)).collect(),
    }
}

fn failed(partition_index: i32, error: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: i64::from(NONE),
        committed_leader_epoch: NONE,
        metadata: Some(String::new()),
        error_code: error.code(),
    }
}

fn old_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(old).collect();
    OffsetFetchResponseTopic { name: topic.name, partitions }
}

fn old(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    }
}

#[cfg(test)]
mod tests;

//! DescribeTopicPartitions (key 75, v0): topics page by page (KIP-966).
//!
//! Topics are in order of names. Where a page ends, the cursor names the next partition.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    ErrorCode,
    messages::describe_topic_partitions::{
        Cursor, CursorResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    },
};
use uuid::Uuid;

use crate::{
    acl::{
        AUTHORIZED_OPERATIONS_OMITTED, Access, Operation, Resource, topic_authorized_operations,
    },
    catalog::{CatalogImage, TopicEntry},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
    topic_name,
};

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeTopicPartitions;

impl Api for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequest;

    fn resources(request: &DescribeTopicPartitionsRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.name.clone()));
        topics.map(|topic| Access::new(Operation::Describe, topic)).collect()
    }

    fn error_response(
        request: &DescribeTopicPartitionsRequest,
        error: ErrorCode,
    ) -> DescribeTopicPartitionsResponse {
        let topics = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
            topic_authorized_operations: AUTHORIZED_OPERATIONS_OMITTED,
            ..failed(&topic.name, error)
        });
        DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }
    }
}

impl Handler for DescribeTopicPartitions {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        let image = broker.catalog.image();
        let Some(names) = names(&image, &request) else {
            broker.metrics.error(context.api_key, ErrorCode::InvalidRequest);
            return Self::error_response(&request, ErrorCode::InvalidRequest);
        };
        let limit = broker.configs.broker().topics.max_request_partition_size_limit;
        let limit = limit.min(request.response_partition_limit).max(1);
        let page = Page {
            image: &image,
            skips_unknown: request.topics.is_empty(),
            cursor: request.cursor.as_ref(),
            limit: usize::try_from(limit).unwrap_or(1),
        };
        page.describe(&names)
    }
}

/// The topics of this page and those after it; `None` if the cursor does not fit the request.
fn names(image: &CatalogImage, request: &DescribeTopicPartitionsRequest) -> Option<Vec<String>> {
    let names: BTreeSet<&str> = if request.topics.is_empty() {
        image.topics().map(|topic| topic.topic.name.as_str()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.as_str()).collect()
    };
    let from = match &request.cursor {
        None => "",
        Some(cursor) => {
            let is_asked_for =
                request.topics.is_empty() || names.contains(cursor.topic_name.as_str());
            if !is_asked_for || cursor.partition_index < 0 {
                return None;
            }
            cursor.topic_name.as_str()
        }
    };
    Some(names.range(from..).map(|name| (*name).to_owned()).collect())
}

/// One answer in the making.
struct Page<'a> {
    image: &'a CatalogImage,
    /// A topic that is gone since the client asked for all of them is no error.
    skips_unknown: bool,
    cursor: Option<&'a Cursor>,
    limit: usize,
}

impl Page<'_> {
    fn describe(&self, names: &[String]) -> DescribeTopicPartitionsResponse {
        let mut topics = Vec::new();
        let mut next_cursor = None;
        let mut room = self.limit;
        for name in names {
            if room == 0 {
                next_cursor = Some(CursorResponse { topic_name: name.clone(), partition_index: 0 });
                break;
            }
            let Some(entry) = self.image.by_name(name) else {
                if !self.skips_unknown {
                    topics.push(failed(name, unknown(name)));
                }
                continue;
            };
            let first = self.cursor.filter(|cursor| cursor.topic_name == *name);
            let first = first.map_or(0, |cursor| cursor.partition_index);
            let topic = described(entry, first, room);
            room -= topic.partitions.len();
            let next = first.max(0) + i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            let is_cut = entry.partition(next).is_some();
            topics.push(topic);
            if is_cut {
                let topic_name = name.clone();
                next_cursor = Some(CursorResponse { topic_name, partition_index: next });
                break;
            }
        }
        DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() }
    }
}

fn described(entry: &TopicEntry, first: i32, room: usize) -> DescribeTopicPartitionsResponseTopic {
    let rows = entry.topic.partitions.iter().filter(|row| row.partition >= first).take(room);
    let partitions = rows
        .filter_map(|row| {
            let leader = entry.leader(row.partition)?;
            Some(DescribeTopicPartitionsResponsePartition {
                partition_index: row.partition,
                leader_id: leader.node_id.0,
                leader_epoch: leader.epoch.0,
                replica_nodes: vec![leader.node_id.0],
                isr_nodes: vec![leader.node_id.0],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                ..Default::default()
            })
        })
        .collect();
    DescribeTopicPartitionsResponseTopic {
        name: Some(entry.topic.name.clone()),
        topic_id: entry.topic.id.0,
        is_internal: entry.topic.internal,
        partitions,
        topic_authorized_operations: topic_authorized_operations(),
        ..Default::default()
    }
}

fn unknown(name: &str) -> ErrorCode {
    match topic_name::validate(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}

fn failed(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name.to_owned()),
        topic_id: Uuid::nil(),
        is_internal: topic_name::is_internal(name),
        topic_authorized_operations: topic_authorized_operations(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;

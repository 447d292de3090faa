//! ListOffsets (key 2, v1–v11): offsets by timestamp, and the special ones.
//!
//! KIP-79, KIP-207, KIP-320, KIP-734 (max timestamp), KIP-405 and KIP-1005 (tiered), KIP-1023
//! (pending upload). Topics have no `remote.storage.enable`, so the tiered offsets are answered as
//! Kafka answers them for such a topic: the local log is the whole log, and nothing is tiered.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    ErrorCode,
    messages::list_offsets::{
        ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest,
        ListOffsetsResponse, ListOffsetsTopicResponse,
    },
};
use storage::{IsolationLevel, Partition, ReadError};
use tracing::error;

use super::error;
use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
    leadership::check_leader_epoch,
};

/// An offset or a timestamp that is not known.
const UNKNOWN: i64 = -1;

/// What a request asks for by a negative timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Latest,
    Earliest,
    MaxTimestamp,
    EarliestLocal,
    LatestTiered,
    EarliestPendingUpload,
    /// Not a special one: milliseconds since the Unix epoch.
    Time(i64),
}

/// The handler.
#[derive(Debug)]
pub(crate) struct ListOffsets;

impl Api for ListOffsets {
    type Request = ListOffsetsRequest;

    fn resources(request: &ListOffsetsRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.name.clone()));
        topics.map(|topic| Access::new(Operation::Describe, topic)).collect()
    }

    fn error_response(request: &ListOffsetsRequest, error: ErrorCode) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|asked| failed(asked.partition_index, error))
                .collect(),
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    }
}

impl Handler for ListOffsets {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ListOffsetsRequest,
    ) -> ListOffsetsResponse {
        let duplicates = duplicates(&request);
        let lookup = Lookup {
            image: broker.catalog.image(),
            version: context.api_version,
            isolation: match request.isolation_level {
                0 => IsolationLevel::ReadUncommitted,
                _ => IsolationLevel::ReadCommitted,
            },
        };
        let mut response = ListOffsetsResponse::default();
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let found = if duplicates.contains(&(&topic.name, asked.partition_index)) {
                    Err(ErrorCode::InvalidRequest)
                } else {
                    lookup.one(&topic.name, asked).await
                };
                partitions.push(found.unwrap_or_else(|error| {
                    broker.metrics.error(context.api_key, error);
                    failed(asked.partition_index, error)
                }));
            }
            response.topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
        }
        response
    }
}

/// Partitions named more than once: Kafka refuses each mention.
fn duplicates(request: &ListOffsetsRequest) -> BTreeSet<(&str, i32)> {
    let mut seen = BTreeSet::new();
    let named = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|asked| (topic.name.as_str(), asked.partition_index))
    });
    named.filter(|key| !seen.insert(*key)).collect()
}

/// One request's look-ups.
struct Lookup {
    image: Arc<CatalogImage>,
    version: i16,
    isolation: IsolationLevel,
}

impl Lookup {
    async fn one(
        &self,
        topic: &str,
        asked: &ListOffsetsPartition,
    ) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
        let target = target(asked.timestamp, self.version).ok_or(ErrorCode::UnsupportedVersion)?;
        let partition = self
            .image
            .by_name(topic)
            .and_then(|topic| topic.partition(asked.partition_index))
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        check_leader_epoch(partition, asked.current_leader_epoch)?;
        let (timestamp, offset, leader_epoch) =
            self.find(partition, target).await.map_err(|refused| {
                if matches!(refused, ReadError::Storage { .. } | ReadError::Damaged { .. }) {
                    error!(%refused, "offset look-up failed");
                }
                error::read(&refused)
            })?;
        Ok(ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            error_code: ErrorCode::None.code(),
            timestamp,
            offset,
            leader_epoch: if self.version >= LEADER_EPOCH_SINCE { leader_epoch } else { -1 },
        })
    }

    /// (timestamp, offset, leader epoch).
    async fn find(
        &self,
        partition: &Partition,
        target: Target,
    ) -> Result<(i64, i64, i32), ReadError> {
        const NOTHING: (i64, i64, i32) = (UNKNOWN, UNKNOWN, -1);
        let offsets = partition.offsets();
        let found = match target {
            Target::Latest => {
                let end = match self.isolation {
                    IsolationLevel::ReadUncommitted => offsets.high_watermark,
                    IsolationLevel::ReadCommitted => offsets.last_stable,
                };
                return Ok((UNKNOWN, end, partition.leader_epoch().0));
            }
            Target::Earliest | Target::EarliestLocal => {
                let start = offsets.log_start;
                return Ok((UNKNOWN, start, partition.epoch_at(start)));
            }
            Target::LatestTiered | Target::EarliestPendingUpload => return Ok(NOTHING),
            Target::MaxTimestamp => partition.max_timestamp_offset(self.isolation).await?,
            Target::Time(timestamp) => {
                partition.offset_for_timestamp(timestamp, self.isolation).await?
            }
        };
        Ok(found.map_or(NOTHING, |found| (found.timestamp, found.offset, found.leader_epoch)))
    }
}

/// The first version that answers with a leader epoch.
const LEADER_EPOCH_SINCE: i16 = 4;

/// What a timestamp means in a version; `None` where the version does not have it.
fn target(timestamp: i64, version: i16) -> Option<Target> {
    let (target, since) = match timestamp {
        -1 => (Target::Latest, 1),
        -2 => (Target::Earliest, 1),
        -3 => (Target::MaxTimestamp, 7),
        -4 => (Target::EarliestLocal, 8),
        -5 => (Target::LatestTiered, 9),
        -6 => (Target::EarliestPendingUpload, 11),
        0.. => (Target::Time(timestamp), 1),
        _ => return None,
    };
    (version >= since).then_some(target)
}

fn failed(index: i32, error: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code: error.code(),
        timestamp: UNKNOWN,
        offset: UNKNOWN,
        leader_epoch: -1,
    }
}

#[cfg(test)]
mod tests;

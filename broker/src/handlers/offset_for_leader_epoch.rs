//! OffsetForLeaderEpoch (key 23, v2–v4): where a leader epoch ended, for truncation detection.
//!
//! KIP-101, KIP-320. Ends are bounded by the high watermark: a consumer never sees beyond it.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::offset_for_leader_epoch::{
        EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        OffsetForLeaderPartition, OffsetForLeaderTopicResult,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    catalog::TopicEntry,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
    leadership::check_leader_epoch,
};

/// The handler.
#[derive(Debug)]
pub(crate) struct OffsetForLeaderEpoch;

impl Api for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;

    fn resources(request: &OffsetForLeaderEpochRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.topic.clone()));
        topics.map(|topic| Access::new(Operation::Describe, topic)).collect()
    }

    fn error_response(
        request: &OffsetForLeaderEpochRequest,
        error: ErrorCode,
    ) -> OffsetForLeaderEpochResponse {
        answer(request, |_, partition| failed(partition.partition, error))
    }
}

impl Handler for OffsetForLeaderEpoch {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let image = broker.catalog.image();
        answer(&request, |topic, partition| {
            epoch_end(image.by_name(topic).map(Arc::as_ref), partition).unwrap_or_else(|error| {
                broker.metrics.error(context.api_key, error);
                failed(partition.partition, error)
            })
        })
    }
}

fn answer(
    request: &OffsetForLeaderEpochRequest,
    mut one: impl FnMut(&str, &OffsetForLeaderPartition) -> EpochEndOffset,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic.clone(),
        partitions: topic.partitions.iter().map(|item| one(&topic.topic, item)).collect(),
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn epoch_end(
    topic: Option<&TopicEntry>,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let partition = topic
        .and_then(|topic| topic.partition(asked.partition))
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(partition, asked.current_leader_epoch)?;
    let (leader_epoch, end_offset) = partition.epoch_end_offset(asked.leader_epoch);
    Ok(EpochEndOffset {
        partition: asked.partition,
        leader_epoch,
        end_offset,
        ..failed(0, ErrorCode::None)
    })
}

fn failed(partition: i32, error: ErrorCode) -> EpochEndOffset {
    EpochEndOffset { partition, error_code: error.code(), ..Default::default() }
}

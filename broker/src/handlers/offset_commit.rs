//! OffsetCommit (key 8, v2–v10): stores a group's positions.
//!
//! KIP-211 (retention), KIP-345 (static members), KIP-848 (member epochs and topic ids). Pipelined:
//! commits of one connection share the log's syncs instead of waiting for one each.

use std::sync::Arc;

use coordinator::group::offsets::{Commit, CommitCodes, CommitPartition, CommitTopic};
use futures::future::BoxFuture;
use protocol::{
    ErrorCode,
    messages::offset_commit::{
        OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
        OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    catalog::{CatalogImage, TopicEntry},
    context::{Broker, RequestContext},
    handler::{Api, Finish, Pipelined, Reply},
};

/// The first version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 10;

/// The handler.
#[derive(Debug)]
pub(crate) struct OffsetCommit;

impl Api for OffsetCommit {
    type Request = OffsetCommitRequest;

    fn resources(request: &OffsetCommitRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| {
            if topic.topic_id.is_nil() {
                Resource::Topic(topic.name.clone())
            } else {
                Resource::TopicId(topic.topic_id.into())
            }
        });
        let group = Resource::Group(request.group_id.clone());
        let all = std::iter::once(group).chain(topics);
        all.map(|resource| Access::new(Operation::Read, resource)).collect()
    }

    fn error_response(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
        let topics = request.topics.iter().map(|topic| answered(topic, |_| error));
        OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
    }
}

impl Pipelined for OffsetCommit {
    async fn begin(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: OffsetCommitRequest,
    ) -> Finish<OffsetCommitResponse> {
        let image = broker.catalog.image();
        let by_id = context.api_version >= TOPIC_IDS_SINCE;
        let mut answers: Vec<_> =
            request.topics.iter().map(|topic| checked(&image, topic, by_id)).collect();
        let topics: Vec<_> = request
            .topics
            .iter()
            .zip(&answers)
            .filter_map(|(topic, answer)| committable(&image, topic, answer, by_id))
            .collect();
        let count = topics.iter().map(|topic| topic.partitions.len()).sum();
        let committed = match topics.is_empty() {
            true => None,
            false => Some(commit(broker, context, &request, topics).await),
        };
        let (broker, api_key) = (Arc::clone(broker), context.api_key);
        Box::pin(async move {
            let codes = match committed {
                None => Ok(Vec::new()),
                Some(Ok(durable)) => durable.await,
                Some(Err(error)) => Err(error),
            };
            let codes = codes.map_or_else(
                |error| vec![error; count],
                |codes| codes.into_iter().flatten().collect(),
            );
            merge(&mut answers, codes);
            for partition in answers.iter().flat_map(|topic| &topic.partitions) {
                broker.metrics.error_code(api_key, partition.error_code);
            }
            Reply::Response(OffsetCommitResponse { topics: answers, ..Default::default() })
        })
    }
}

fn resolve<'a>(
    image: &'a CatalogImage,
    topic: &OffsetCommitRequestTopic,
    by_id: bool,
) -> Option<&'a Arc<TopicEntry>> {
    if by_id { image.by_id(topic.topic_id.into()) } else { image.by_name(&topic.name) }
}

/// The topic's answer as far as the catalog decides it: unknown topics and partitions.
fn checked(
    image: &CatalogImage,
    topic: &OffsetCommitRequestTopic,
    by_id: bool,
) -> OffsetCommitResponseTopic {
    let entry = resolve(image, topic, by_id);
    answered(topic, |index| match entry {
        None if by_id => ErrorCode::UnknownTopicId,
        Some(entry) if entry.partition(index).is_some() => ErrorCode::None,
        _ => ErrorCode::UnknownTopicOrPartition,
    })
}

fn answered(
    topic: &OffsetCommitRequestTopic,
    error: impl Fn(i32) -> ErrorCode,
) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: error(partition.partition_index).code(),
    });
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
    }
}

/// What of a topic goes to the coordinator: the partitions that exist.
fn committable(
    image: &CatalogImage,
    topic: &OffsetCommitRequestTopic,
    answer: &OffsetCommitResponseTopic,
    by_id: bool,
) -> Option<CommitTopic> {
    let entry = resolve(image, topic, by_id)?;
    let known = topic.partitions.iter().zip(&answer.partitions);
    let partitions: Vec<_> = known
        .filter(|(_, answer)| answer.error_code == ErrorCode::None.code())
        .map(|(partition, _)| CommitPartition {
            index: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: partition.committed_metadata.clone().unwrap_or_default(),
        })
        .collect();
    let (name, topic_id) = (entry.topic.name.clone(), entry.topic.id.0);
    (!partitions.is_empty()).then_some(CommitTopic { name, topic_id, partitions })
}

/// Gives the commit its place; what comes of it is known when it is durable.
async fn commit(
    broker: &Broker,
    context: &RequestContext,
    request: &OffsetCommitRequest,
    topics: Vec<CommitTopic>,
) -> Result<BoxFuture<'static, Result<CommitCodes, ErrorCode>>, ErrorCode> {
    let commit = Commit {
        group_id: request.group_id.clone(),
        member_id: request.member_id.clone(),
        group_instance_id: request.group_instance_id.clone(),
        generation_or_epoch: request.generation_id_or_member_epoch,
        transactional: false,
        api_version: context.api_version,
        retention_ms: Some(request.retention_time_ms).filter(|keep| *keep != -1),
        topics,
    };
    broker.coordination.groups.commit_offsets(commit).await
}

/// Puts the coordinator's codes where the catalog had no objection.
fn merge(answers: &mut [OffsetCommitResponseTopic], codes: Vec<ErrorCode>) {
    let open = answers
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
        .filter(|partition| partition.error_code == ErrorCode::None.code());
    for (partition, code) in open.zip(codes) {
        partition.error_code = code.code();
    }
}

#[cfg(test)]
mod tests;

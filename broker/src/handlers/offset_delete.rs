//! OffsetDelete (key 47, v0): forgets offsets of a group (KIP-496).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::offset_delete::{
        OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse,
        OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct OffsetDelete;

impl Api for OffsetDelete {
    type Request = OffsetDeleteRequest;

    fn resources(request: &OffsetDeleteRequest) -> Vec<Access> {
        let group = Access::new(Operation::Delete, Resource::Group(request.group_id.clone()));
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.name.clone()));
        let topics = topics.map(|topic| Access::new(Operation::Read, topic));
        std::iter::once(group).chain(topics).collect()
    }

    fn error_response(_request: &OffsetDeleteRequest, error: ErrorCode) -> OffsetDeleteResponse {
        OffsetDeleteResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for OffsetDelete {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        if request.group_id.is_empty() {
            broker.metrics.error(context.api_key, ErrorCode::InvalidGroupId);
            return Self::error_response(&request, ErrorCode::InvalidGroupId);
        }
        let image = broker.catalog.image();
        let existing = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| partition.partition_index);
            let partitions = partitions.filter(|index| exists(&image, &topic.name, *index));
            (topic.name.clone(), partitions.collect())
        });
        let existing: Vec<(String, Vec<i32>)> = existing.collect();
        match broker.coordination.groups.delete_offsets(&request.group_id, existing).await {
            Ok(codes) => {
                let topics = request.topics.iter().zip(codes);
                let topics = topics.map(|(topic, code)| answered(&image, topic, code));
                OffsetDeleteResponse { topics: topics.collect(), ..Default::default() }
            }
            Err(error) => {
                broker.metrics.error(context.api_key, error);
                Self::error_response(&request, error)
            }
        }
    }
}

fn exists(image: &CatalogImage, topic: &str, index: i32) -> bool {
    image.by_name(topic).is_some_and(|entry| entry.partition(index).is_some())
}

fn answered(
    image: &CatalogImage,
    topic: &OffsetDeleteRequestTopic,
    code: ErrorCode,
) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        let known = exists(image, &topic.name, partition.partition_index);
        let code = if known { code } else { ErrorCode::UnknownTopicOrPartition };
        OffsetDeleteResponsePartition {
            partition_index: partition.partition_index,
            error_code: code.code(),
        }
    });
    OffsetDeleteResponseTopic { name: topic.name.clone(), partitions: partitions.collect() }
}

#[cfg(test)]
mod tests;

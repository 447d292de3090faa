//! DeleteRecords (key 21, v0–v2): moves the log start of partitions (KIP-107).
//!
//! Offset -1 stands for the high watermark. The answer comes when the new log start is durable;
//! its low watermark is the log start of the one replica.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::delete_records::{
        DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
        DeleteRecordsTopicResult,
    },
};
use tracing::warn;

use super::error;
use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// Kafka's low watermark of a partition that failed.
const INVALID_LOW_WATERMARK: i64 = -1;

/// The handler.
#[derive(Debug)]
pub(crate) struct DeleteRecords;

impl Api for DeleteRecords {
    type Request = DeleteRecordsRequest;

    fn resources(request: &DeleteRecordsRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.name.clone()));
        topics.map(|topic| Access::new(Operation::Delete, topic)).collect()
    }

    fn error_response(request: &DeleteRecordsRequest, error: ErrorCode) -> DeleteRecordsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter();
            DeleteRecordsTopicResult {
                name: topic.name.clone(),
                partitions: partitions
                    .map(|partition| result(partition.partition_index, Err(error)))
                    .collect(),
            }
        });
        DeleteRecordsResponse { topics: topics.collect(), ..Default::default() }
    }
}

impl Handler for DeleteRecords {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DeleteRecordsRequest,
    ) -> DeleteRecordsResponse {
        let image = broker.catalog.image();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let index = asked.partition_index;
                let deleted = delete(&image, &topic.name, index, asked.offset).await;
                if let Err(error) = deleted {
                    broker.metrics.error(context.api_key, error);
                }
                partitions.push(result(index, deleted));
            }
            topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
        }
        DeleteRecordsResponse { topics, ..Default::default() }
    }
}

async fn delete(
    image: &CatalogImage,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<i64, ErrorCode> {
    let entry = image.by_name(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = entry.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if entry.topic.internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !entry.log_config.cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    partition.delete_records(offset).await.map_err(|failure| {
        let code = error::storage(&failure);
        if code != ErrorCode::OffsetOutOfRange {
            warn!(topic, partition = index, offset, error = %failure, "records not deleted");
        }
        code
    })
}

fn result(index: i32, deleted: Result<i64, ErrorCode>) -> DeleteRecordsPartitionResult {
    DeleteRecordsPartitionResult {
        partition_index: index,
        low_watermark: deleted.unwrap_or(INVALID_LOW_WATERMARK),
        error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
    }
}

#[cfg(test)]
mod tests;

//! AlterPartitionReassignments (key 45, v0–v1): the only broker is the only replica there can be,
//! so an assignment to it succeeds at once and there is never one to cancel (KIP-455).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::alter_partition_reassignments::{
        AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
        ReassignablePartition, ReassignablePartitionResponse, ReassignableTopic,
        ReassignableTopicResponse,
    },
};

use super::replicas;
use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct AlterPartitionReassignments;

/// Why a partition stays as it is; Kafka has no message where there is nothing to cancel.
type Refusal = (ErrorCode, Option<String>);

impl Api for AlterPartitionReassignments {
    type Request = AlterPartitionReassignmentsRequest;

    fn resources(_: &AlterPartitionReassignmentsRequest) -> Vec<Access> {
        vec![Access::new(Operation::Alter, Resource::Cluster)]
    }

    fn error_response(
        request: &AlterPartitionReassignmentsRequest,
        error: ErrorCode,
    ) -> AlterPartitionReassignmentsResponse {
        AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            error_code: error.code(),
            error_message: Some(error.message().to_owned()),
            ..Default::default()
        }
    }
}

impl Handler for AlterPartitionReassignments {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: AlterPartitionReassignmentsRequest,
    ) -> AlterPartitionReassignmentsResponse {
        let image = broker.catalog.image();
        let responses = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let reassigned = reassign(broker, &image, topic, partition);
                if let Err((error, _)) = &reassigned {
                    broker.metrics.error(context.api_key, *error);
                }
                let (error, error_message) = reassigned.err().unwrap_or((ErrorCode::None, None));
                ReassignablePartitionResponse {
                    partition_index: partition.partition_index,
                    error_code: error.code(),
                    error_message,
                }
            });
            ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
        });
        AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            error_message: None,
            responses: responses.collect(),
            ..Default::default()
        }
    }
}

fn reassign(
    broker: &Broker,
    image: &CatalogImage,
    topic: &ReassignableTopic,
    asked: &ReassignablePartition,
) -> Result<(), Refusal> {
    let unknown = |why: String| (ErrorCode::UnknownTopicOrPartition, Some(why));
    let entry = image
        .by_name(&topic.name)
        .ok_or_else(|| unknown(format!("Unable to find a topic named {}.", topic.name)))?;
    let index = asked.partition_index;
    entry
        .partition(index)
        .ok_or_else(|| unknown(format!("Unable to find partition {}:{index}.", topic.name)))?;
    let replicas = asked.replicas.as_ref().ok_or((ErrorCode::NoReassignmentInProgress, None))?;
    replicas::check(replicas, broker.node_id)
        .map_err(|why| (ErrorCode::InvalidReplicaAssignment, Some(why)))
}

#[cfg(test)]
mod tests;

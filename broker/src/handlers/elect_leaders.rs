//! ElectLeaders (key 43, v0–v2): every partition is led by its one owner, so an election is never
//! needed (KIP-183, KIP-460).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::elect_leaders::{
        ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
        TopicPartitions,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// Election of the preferred replica.
const PREFERRED: i8 = 0;
/// Election of any replica.
const UNCLEAN: i8 = 1;

/// The handler.
#[derive(Debug)]
pub(crate) struct ElectLeaders;

impl Api for ElectLeaders {
    type Request = ElectLeadersRequest;

    fn resources(_: &ElectLeadersRequest) -> Vec<Access> {
        vec![Access::new(Operation::Alter, Resource::Cluster)]
    }

    fn error_response(_: &ElectLeadersRequest, error: ErrorCode) -> ElectLeadersResponse {
        ElectLeadersResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for ElectLeaders {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ElectLeadersRequest,
    ) -> ElectLeadersResponse {
        if !matches!(request.election_type, PREFERRED | UNCLEAN) {
            broker.metrics.error(context.api_key, ErrorCode::InvalidRequest);
            return Self::error_response(&request, ErrorCode::InvalidRequest);
        }
        let image = broker.catalog.image();
        let replica_election_results = match &request.topic_partitions {
            // Asked for all, Kafka names each topic and, of the partitions, only those that failed.
            None => image
                .topics()
                .map(|topic| ReplicaElectionResult {
                    topic: topic.topic.name.clone(),
                    ..Default::default()
                })
                .collect(),
            Some(topics) => topics.iter().map(|topic| answer(&image, topic)).collect(),
        };
        ElectLeadersResponse { replica_election_results, ..Default::default() }
    }
}

fn answer(image: &CatalogImage, asked: &TopicPartitions) -> ReplicaElectionResult {
    let entry = image.by_name(&asked.topic);
    let partitions = asked.partitions.iter().map(|index| {
        let (error, why) = match entry.map(|entry| entry.partition(*index)) {
            None => {
                (ErrorCode::UnknownTopicOrPartition, format!("No such topic as {}", asked.topic))
            }
            Some(None) => (
                ErrorCode::UnknownTopicOrPartition,
                format!("No such partition as {}-{index}", asked.topic),
            ),
            Some(Some(_)) => {
                let error = ErrorCode::ElectionNotNeeded;
                (error, error.message().to_owned())
            }
        };
        PartitionResult { partition_id: *index, error_code: error.code(), error_message: Some(why) }
    });
    ReplicaElectionResult { topic: asked.topic.clone(), partition_result: partitions.collect() }
}

#[cfg(test)]
mod tests;

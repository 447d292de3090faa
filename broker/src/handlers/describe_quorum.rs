//! DescribeQuorum (key 55, v0–v2): this broker as the only voter, for `kafka-metadata-quorum`
//! (KIP-595, KIP-836, KIP-853).
//!
//! There is no metadata log. The session epoch stands for the leader epoch, and the offsets are
//! those of an empty log: the voter is never behind.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::describe_quorum::{
        DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionDataResponse,
        ReplicaState, TopicDataResponse,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
    topic_name,
};

/// The first version with the voters' listeners.
const NODES_SINCE: i16 = 2;
/// The one partition of the metadata log.
const METADATA_PARTITION: i32 = 0;

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeQuorum;

impl Api for DescribeQuorum {
    type Request = DescribeQuorumRequest;

    fn resources(_: &DescribeQuorumRequest) -> Vec<Access> {
        vec![Access::new(Operation::Describe, Resource::Cluster)]
    }

    fn error_response(_: &DescribeQuorumRequest, error: ErrorCode) -> DescribeQuorumResponse {
        DescribeQuorumResponse {
            error_code: error.code(),
            error_message: Some(error.message().to_owned()),
            ..Default::default()
        }
    }
}

impl Handler for DescribeQuorum {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DescribeQuorumRequest,
    ) -> DescribeQuorumResponse {
        let topics: Vec<_> = request
            .topics
            .into_iter()
            .map(|topic| TopicDataResponse {
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| describe(broker, &topic.topic_name, partition.partition_index))
                    .collect(),
                topic_name: topic.topic_name,
            })
            .collect();
        let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
        let is_described = partitions.any(|one| one.error_code == ErrorCode::None.code());
        let has_nodes = is_described && context.api_version >= NODES_SINCE;
        DescribeQuorumResponse {
            error_message: Some(String::new()),
            topics,
            nodes: if has_nodes { vec![this_node(broker)] } else { Vec::new() },
            ..Default::default()
        }
    }
}

fn describe(broker: &Broker, topic: &str, index: i32) -> PartitionDataResponse {
    if topic != topic_name::CLUSTER_METADATA || index != METADATA_PARTITION {
        let error = ErrorCode::UnknownTopicOrPartition;
        return PartitionDataResponse {
            partition_index: index,
            error_code: error.code(),
            error_message: Some(error.message().to_owned()),
            ..Default::default()
        };
    }
    let now_ms = broker.clock.now_ms();
    PartitionDataResponse {
        partition_index: index,
        error_message: Some(String::new()),
        leader_id: broker.node_id.0,
        leader_epoch: i32::try_from(broker.fence.session_epoch).unwrap_or(i32::MAX),
        current_voters: vec![ReplicaState {
            replica_id: broker.node_id.0,
            last_fetch_timestamp: now_ms,
            last_caught_up_timestamp: now_ms,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn this_node(broker: &Broker) -> Node {
    let advertised = broker.options().advertised.clone();
    Node {
        node_id: broker.node_id.0,
        listeners: vec![Listener {
            name: advertised.listener,
            host: advertised.host,
            port: advertised.port,
        }],
    }
}

#[cfg(test)]
mod tests;

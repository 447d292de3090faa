//! WriteTxnMarkers (key 27, v1–v2): the ends of transactions, written into their partitions.
//!
//! KIP-98; KIP-1228 (v2: the transaction's version). Coordinators of other brokers send it, and
//! `kafka-transactions --abort` does for a transaction that hangs. Each partition is answered when
//! its marker is durable.

use std::sync::Arc;

use common::ProducerId;
use coordinator::{log::TransactionEnd, transaction::TopicPartition};
use futures::future::join_all;
use protocol::{
    ErrorCode,
    messages::write_txn_markers::{
        WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
        WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct WriteTxnMarkers;

impl Api for WriteTxnMarkers {
    type Request = WriteTxnMarkersRequest;

    /// Kafka takes `Alter` too, which is what a tool has; the stricter one is declared.
    fn resources(_: &WriteTxnMarkersRequest) -> Vec<Access> {
        vec![Access::new(Operation::ClusterAction, Resource::Cluster)]
    }

    fn error_response(
        request: &WriteTxnMarkersRequest,
        error: ErrorCode,
    ) -> WriteTxnMarkersResponse {
        let failed = request.markers.iter().map(|marker| {
            let all = partitions(marker).map(|_| error).collect();
            answer(marker, all)
        });
        WriteTxnMarkersResponse { markers: failed.collect() }
    }
}

impl Handler for WriteTxnMarkers {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: WriteTxnMarkersRequest,
    ) -> WriteTxnMarkersResponse {
        let mut response = WriteTxnMarkersResponse::default();
        for marker in &request.markers {
            let end = TransactionEnd {
                producer_id: ProducerId(marker.producer_id),
                producer_epoch: marker.producer_epoch,
                coordinator_epoch: marker.coordinator_epoch,
                committed: marker.transaction_result,
                transaction_version: i16::from(marker.transaction_version),
            };
            let writes = partitions(marker).map(|partition| async move {
                match broker.coordination.markings.write(&partition, end).await {
                    Ok(()) => ErrorCode::None,
                    Err(error) => {
                        broker.metrics.error(context.api_key, error);
                        error
                    }
                }
            });
            response.markers.push(answer(marker, join_all(writes).await));
        }
        response
    }
}

fn partitions(marker: &WritableTxnMarker) -> impl Iterator<Item = TopicPartition> {
    marker.topics.iter().flat_map(|topic| {
        let indexes = topic.partition_indexes.iter();
        indexes.map(|index| TopicPartition::new(topic.name.clone(), *index))
    })
}

/// The answer for a marker, from its partitions' codes in their order.
fn answer(marker: &WritableTxnMarker, errors: Vec<ErrorCode>) -> WritableTxnMarkerResult {
    let mut errors = errors.into_iter();
    let topics = marker.topics.iter().map(|topic| WritableTxnMarkerTopicResult {
        name: topic.name.clone(),
        partitions: topic
            .partition_indexes
            .iter()
            .zip(errors.by_ref())
            .map(|(index, error)| WritableTxnMarkerPartitionResult {
                partition_index: *index,
                error_code: error.code(),
            })
            .collect(),
    });
    WritableTxnMarkerResult { producer_id: marker.producer_id, topics: topics.collect() }
}

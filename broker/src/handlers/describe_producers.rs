//! DescribeProducers (key 61, v0): the producers with batches in a partition.
//!
//! KIP-664. What is not durable yet is not shown.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::describe_producers::{
        DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
        TopicResponse,
    },
};
use storage::ActiveProducer;

use crate::{
    acl::{Access, Operation, Resource},
    catalog::TopicEntry,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
    topic_name,
};

/// Kafka's "no batch of this epoch".
const NO_SEQUENCE: i32 = -1;
/// Kafka's "no open transaction".
const NO_TRANSACTION: i64 = -1;

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeProducers;

impl Api for DescribeProducers {
    type Request = DescribeProducersRequest;

    fn resources(request: &DescribeProducersRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.name.clone()));
        topics.map(|topic| Access::new(Operation::Read, topic)).collect()
    }

    fn error_response(
        request: &DescribeProducersRequest,
        error: ErrorCode,
    ) -> DescribeProducersResponse {
        answer(request, |_, index| failed(index, error))
    }
}

impl Handler for DescribeProducers {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DescribeProducersRequest,
    ) -> DescribeProducersResponse {
        let image = broker.catalog.image();
        answer(&request, |topic, index| {
            let described = if topic_name::validate(topic).is_err() {
                Err(ErrorCode::InvalidTopicException)
            } else {
                describe(image.by_name(topic).map(Arc::as_ref), index)
            };
            described.unwrap_or_else(|error| {
                broker.metrics.error(context.api_key, error);
                failed(index, error)
            })
        })
    }
}

fn answer(
    request: &DescribeProducersRequest,
    mut one: impl FnMut(&str, i32) -> PartitionResponse,
) -> DescribeProducersResponse {
    let topics = request.topics.iter().map(|topic| TopicResponse {
        name: topic.name.clone(),
        partitions: topic.partition_indexes.iter().map(|index| one(&topic.name, *index)).collect(),
    });
    DescribeProducersResponse { topics: topics.collect(), ..Default::default() }
}

fn describe(topic: Option<&TopicEntry>, index: i32) -> Result<PartitionResponse, ErrorCode> {
    let partition =
        topic.and_then(|topic| topic.partition(index)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let active_producers = partition.producers().iter().map(producer_state).collect();
    Ok(PartitionResponse { partition_index: index, active_producers, ..Default::default() })
}

fn producer_state(producer: &ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id.0,
        producer_epoch: i32::from(producer.producer_epoch),
        last_sequence: producer.batches.last().map_or(NO_SEQUENCE, |batch| batch.last_sequence),
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.txn_first_offset.unwrap_or(NO_TRANSACTION),
    }
}

fn failed(index: i32, error: ErrorCode) -> PartitionResponse {
    PartitionResponse { partition_index: index, error_code: error.code(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use protocol::messages::{
        describe_producers::TopicRequest,
        produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    };

    use super::*;
    use crate::testing::{EPOCH_MS, World, batch};

    #[tokio::test(start_paused = true)]
    async fn producers_with_durable_batches_are_listed() {
        let broker = World::new(1).await.unwrap().start(&[]).await.unwrap();
        let mut client = broker.connect();
        client.create_topics(&["t"]).await.unwrap();
        for sequence in [0, 2] {
            let records = batch(EPOCH_MS, Some((7, 3, sequence)), &[b"a", b"b"]).unwrap();
            let request = ProduceRequest {
                acks: -1,
                timeout_ms: 1000,
                transactional_id: None,
                topic_data: vec![TopicProduceData {
                    name: "t".to_owned(),
                    partition_data: vec![PartitionProduceData { index: 0, records: Some(records) }],
                    ..Default::default()
                }],
            };
            let response = client.call(&request, 9).await.unwrap();
            assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        }
        // Another producer has written nothing here, but its coordinator ended its transaction.
        let end = storage::EndTransaction {
            producer_id: common::ProducerId(9),
            producer_epoch: 5,
            commit: true,
            coordinator_epoch: 4,
            transaction_version: 2,
        };
        let image = broker.broker.catalog.image();
        let partition = image.by_name("t").unwrap().partition(0).unwrap();
        let marker = partition.append_marker(end, storage::Acks::All).unwrap();
        marker.ticket.wait().await.unwrap();
        let topic = |name: &str, partition_indexes: &[i32]| TopicRequest {
            name: name.to_owned(),
            partition_indexes: partition_indexes.to_vec(),
        };
        let topics = vec![topic("t", &[0, 1]), topic("nowhere", &[0]), topic("no name", &[0])];
        let request = DescribeProducersRequest { topics };
        let response = client.call(&request, 0).await.unwrap();
        let producer = &response.topics[0].partitions[0].active_producers[0];
        assert_eq!((producer.producer_id, producer.producer_epoch), (7, 3));
        assert_eq!((producer.last_sequence, producer.last_timestamp), (3, EPOCH_MS));
        assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
        let producer = &response.topics[0].partitions[0].active_producers[1];
        assert_eq!((producer.producer_id, producer.producer_epoch), (9, 5));
        assert_eq!((producer.last_sequence, producer.coordinator_epoch), (-1, 4));
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(response.topics[0].partitions[1].error_code, unknown);
        assert_eq!(response.topics[1].partitions[0].error_code, unknown);
        let invalid = ErrorCode::InvalidTopicException.code();
        assert_eq!(response.topics[2].partitions[0].error_code, invalid);
    }
}

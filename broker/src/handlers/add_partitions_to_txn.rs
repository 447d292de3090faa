//! AddPartitionsToTxn (key 24, v0–v5): partitions become part of a transaction.
//!
//! KIP-98; KIP-890 (v4: several transactions at once, and verification, for brokers only). Where
//! one partition of a transaction cannot be added, none is.

use std::{collections::BTreeMap, sync::Arc};

use common::ProducerId;
use coordinator::transaction::{AddPartitions, TopicPartition, TransactionVersion};
use protocol::{
    ErrorCode,
    messages::add_partitions_to_txn::{
        AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
        AddPartitionsToTxnResult, AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
        AddPartitionsToTxnTransaction,
    },
};

use super::error::before_producer_fenced;
use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version that brokers send, with several transactions.
const BATCHED_SINCE: i16 = 4;
/// The first version of clients that know PRODUCER_FENCED.
const PRODUCER_FENCED_SINCE: i16 = 2;

type Results = BTreeMap<TopicPartition, Result<(), ErrorCode>>;

/// The handler.
#[derive(Debug)]
pub(crate) struct AddPartitionsToTxn;

impl Api for AddPartitionsToTxn {
    type Request = AddPartitionsToTxnRequest;

    fn resources(request: &AddPartitionsToTxnRequest) -> Vec<Access> {
        if is_batched(request) {
            return vec![Access::new(Operation::ClusterAction, Resource::Cluster)];
        }
        let id = Resource::TransactionalId(request.v3_and_below_transactional_id.clone());
        let topics = request.v3_and_below_topics.iter();
        let topics = topics.map(|topic| Resource::Topic(topic.name.clone()));
        let resources = std::iter::once(id).chain(topics);
        resources.map(|resource| Access::new(Operation::Write, resource)).collect()
    }

    fn error_response(
        request: &AddPartitionsToTxnRequest,
        error: ErrorCode,
    ) -> AddPartitionsToTxnResponse {
        if is_batched(request) {
            return AddPartitionsToTxnResponse { error_code: error.code(), ..Default::default() };
        }
        let results = all(&request.v3_and_below_topics, error);
        AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: by_topic(results),
            ..Default::default()
        }
    }
}

impl Handler for AddPartitionsToTxn {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        let mut response = AddPartitionsToTxnResponse::default();
        if context.api_version < BATCHED_SINCE {
            let transaction = AddPartitionsToTxnTransaction {
                transactional_id: request.v3_and_below_transactional_id,
                producer_id: request.v3_and_below_producer_id,
                producer_epoch: request.v3_and_below_producer_epoch,
                verify_only: false,
                topics: request.v3_and_below_topics,
            };
            let results = one(broker, context, &transaction).await;
            response.results_by_topic_v3_and_below = by_topic(results);
            return response;
        }
        for transaction in request.transactions {
            let results = one(broker, context, &transaction).await;
            response.results_by_transaction.push(AddPartitionsToTxnResult {
                transactional_id: transaction.transactional_id,
                topic_results: by_topic(results),
            });
        }
        response
    }
}

fn is_batched(request: &AddPartitionsToTxnRequest) -> bool {
    !request.transactions.is_empty()
}

async fn one(
    broker: &Broker,
    context: &RequestContext,
    transaction: &AddPartitionsToTxnTransaction,
) -> Results {
    let results = match missing(&broker.catalog.image(), &transaction.topics) {
        Some(results) => results,
        None => add_or_verify(broker, context, transaction).await.unwrap_or_else(|error| {
            let known = context.api_version >= PRODUCER_FENCED_SINCE;
            all(&transaction.topics, before_producer_fenced(error, known))
        }),
    };
    for error in results.values().filter_map(|result| result.err()) {
        broker.metrics.error(context.api_key, error);
    }
    results
}

async fn add_or_verify(
    broker: &Broker,
    context: &RequestContext,
    transaction: &AddPartitionsToTxnTransaction,
) -> Result<Results, ErrorCode> {
    let client_version = if context.api_version < BATCHED_SINCE {
        TransactionVersion::V0
    } else {
        TransactionVersion::V2
    };
    let request = AddPartitions {
        transactional_id: transaction.transactional_id.clone(),
        producer_id: ProducerId(transaction.producer_id),
        producer_epoch: transaction.producer_epoch,
        partitions: partitions(&transaction.topics).collect(),
        client_version,
    };
    let transactions = &broker.coordination.transactions;
    if transaction.verify_only {
        return transactions.verify_partitions(&request).await;
    }
    transactions.add_partitions(&request, broker.options().add_partitions_patience).await?;
    Ok(request.partitions.into_iter().map(|partition| (partition, Ok(()))).collect())
}

fn partitions(topics: &[AddPartitionsToTxnTopic]) -> impl Iterator<Item = TopicPartition> {
    topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|index| TopicPartition::new(topic.name.clone(), *index))
    })
}

fn all(topics: &[AddPartitionsToTxnTopic], error: ErrorCode) -> Results {
    partitions(topics).map(|partition| (partition, Err(error))).collect()
}

/// The answer where some partitions do not exist: the others are not attempted.
fn missing(image: &CatalogImage, topics: &[AddPartitionsToTxnTopic]) -> Option<Results> {
    let exists = |partition: &TopicPartition| {
        image
            .by_name(&partition.topic)
            .is_some_and(|topic| topic.partition(partition.partition).is_some())
    };
    let results: Results = partitions(topics)
        .map(|partition| {
            let error = if exists(&partition) {
                ErrorCode::OperationNotAttempted
            } else {
                ErrorCode::UnknownTopicOrPartition
            };
            (partition, Err(error))
        })
        .collect();
    let unknown = Err(ErrorCode::UnknownTopicOrPartition);
    results.values().any(|result| *result == unknown).then_some(results)
}

fn by_topic(results: Results) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: Vec<AddPartitionsToTxnTopicResult> = Vec::new();
    for (partition, result) in results {
        let result = AddPartitionsToTxnPartitionResult {
            partition_index: partition.partition,
            partition_error_code: result.err().unwrap_or(ErrorCode::None).code(),
        };
        match topics.last_mut() {
            Some(last) if last.name == partition.topic => last.results_by_partition.push(result),
            _ => topics.push(AddPartitionsToTxnTopicResult {
                name: partition.topic,
                results_by_partition: vec![result],
            }),
        }
    }
    topics
}

//! TxnOffsetCommit (key 28, v0–v5): a group's positions, which count once the transaction commits.
//!
//! KIP-98; KIP-447 (v3: the member commits, not only the group); KIP-890 (v5: adds the partition to
//! the transaction by itself; before, it is verified that AddOffsetsToTxn did).

use std::sync::Arc;

use common::ProducerId;
use coordinator::{
    group::offsets::{Commit, CommitPartition, CommitTopic},
    runtime::TransactionalWrite,
    transaction::{AddPartitions, TransactionVersion},
};
use protocol::{
    ErrorCode,
    messages::txn_offset_commit::{
        TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
        TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
    },
    records::NO_SEQUENCE,
};

use super::error;
use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version of clients that add the partition by this request.
const ADDS_PARTITION_SINCE: i16 = 5;
/// The first version of clients that know TRANSACTION_ABORTABLE.
const TRANSACTION_ABORTABLE_SINCE: i16 = 4;
/// The first version of clients that survive COORDINATOR_LOAD_IN_PROGRESS (KAFKA-7296).
const LOAD_IN_PROGRESS_SINCE: i16 = 2;

/// The handler.
#[derive(Debug)]
pub(crate) struct TxnOffsetCommit;

impl Api for TxnOffsetCommit {
    type Request = TxnOffsetCommitRequest;

    fn resources(request: &TxnOffsetCommitRequest) -> Vec<Access> {
        let id = Resource::TransactionalId(request.transactional_id.clone());
        let group = Resource::Group(request.group_id.clone());
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.name.clone()));
        let read = std::iter::once(group).chain(topics);
        let read = read.map(|resource| Access::new(Operation::Read, resource));
        std::iter::once(Access::new(Operation::Write, id)).chain(read).collect()
    }

    fn error_response(
        request: &TxnOffsetCommitRequest,
        error: ErrorCode,
    ) -> TxnOffsetCommitResponse {
        let topics = request.topics.iter().map(|topic| answered(topic, |_| error));
        TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() }
    }
}

impl Handler for TxnOffsetCommit {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let image = broker.catalog.image();
        let mut answers: Vec<_> =
            request.topics.iter().map(|topic| checked(&image, topic)).collect();
        let topics: Vec<_> = request
            .topics
            .iter()
            .zip(&answers)
            .filter_map(|(topic, answer)| committable(&image, topic, answer))
            .collect();
        if !topics.is_empty() {
            let count = topics.iter().map(|topic| topic.partitions.len()).sum();
            let committed = commit(broker, context, &request, topics).await;
            let version = context.api_version;
            let codes = committed.unwrap_or_else(|error| vec![to_client(error, version); count]);
            merge(&mut answers, codes);
        }
        for partition in answers.iter().flat_map(|topic| &topic.partitions) {
            if let Ok(error) = ErrorCode::try_from(partition.error_code)
                && error != ErrorCode::None
            {
                broker.metrics.error(context.api_key, error);
            }
        }
        TxnOffsetCommitResponse { topics: answers, ..Default::default() }
    }
}

/// The topic's answer as far as the catalog decides it.
fn checked(
    image: &CatalogImage,
    topic: &TxnOffsetCommitRequestTopic,
) -> TxnOffsetCommitResponseTopic {
    let entry = image.by_name(&topic.name);
    answered(topic, |index| match entry.and_then(|entry| entry.partition(index)) {
        Some(_) => ErrorCode::None,
        None => ErrorCode::UnknownTopicOrPartition,
    })
}

fn answered(
    topic: &TxnOffsetCommitRequestTopic,
    error: impl Fn(i32) -> ErrorCode,
) -> TxnOffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| TxnOffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: error(partition.partition_index).code(),
    });
    TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions: partitions.collect() }
}

/// What of a topic goes to the coordinator: the partitions that exist.
fn committable(
    image: &CatalogImage,
    topic: &TxnOffsetCommitRequestTopic,
    answer: &TxnOffsetCommitResponseTopic,
) -> Option<CommitTopic> {
    let entry = image.by_name(&topic.name)?;
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

/// The codes of the committed partitions, in the order in which they were given.
async fn commit(
    broker: &Broker,
    context: &RequestContext,
    request: &TxnOffsetCommitRequest,
    topics: Vec<CommitTopic>,
) -> Result<Vec<ErrorCode>, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let transaction = verify(broker, context, request).await?;
    let commit = Commit {
        group_id: request.group_id.clone(),
        member_id: request.member_id.clone(),
        group_instance_id: request.group_instance_id.clone(),
        generation_or_epoch: request.generation_id,
        transactional: true,
        api_version: context.api_version,
        retention_ms: None,
        topics,
    };
    let codes =
        broker.coordination.groups.commit_transactional_offsets(commit, transaction).await?;
    Ok(codes.into_iter().flatten().collect())
}

/// Makes sure that the group's partition is in the transaction.
async fn verify(
    broker: &Broker,
    context: &RequestContext,
    request: &TxnOffsetCommitRequest,
) -> Result<TransactionalWrite, ErrorCode> {
    let producer_id = ProducerId(request.producer_id);
    let producer_epoch = request.producer_epoch;
    let at = broker.coordination.offsets_partition(&request.group_id)?;
    let image = broker.catalog.image();
    let topic = image.by_name(&at.topic).ok_or(ErrorCode::NotCoordinator)?;
    let partition = topic.partition(at.partition).ok_or(ErrorCode::NotCoordinator)?;
    let adds = context.api_version >= ADDS_PARTITION_SINCE;
    let guard = partition
        .begin_verification(producer_id, producer_epoch, NO_SEQUENCE, adds)
        .map_err(|refused| error::append(&refused))?;
    if guard.is_some() {
        let ask = AddPartitions {
            transactional_id: request.transactional_id.clone(),
            producer_id,
            producer_epoch,
            partitions: [at.clone()].into(),
            client_version: if adds { TransactionVersion::V2 } else { TransactionVersion::V0 },
        };
        let transactions = &broker.coordination.transactions;
        let options = broker.options();
        if adds {
            transactions.add_partitions(&ask, options.add_partitions_patience).await?;
        } else if options.verify_transactions {
            let mut verified = transactions.verify_partitions(&ask).await?;
            verified.remove(&at).unwrap_or(Err(ErrorCode::TransactionAbortable))?;
        }
    }
    let guard = guard.map(|guard| Box::new(guard) as Box<_>);
    Ok(TransactionalWrite { producer_id, producer_epoch, guard })
}

/// The coordinators' codes in terms of what a producer of this version handles.
fn to_client(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        // A producer expects the fencing of a partition here.
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < TRANSACTION_ABORTABLE_SINCE => {
            ErrorCode::InvalidTxnState
        }
        ErrorCode::CoordinatorLoadInProgress if version < LOAD_IN_PROGRESS_SINCE => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}

/// Puts the coordinator's codes where the catalog had no objection.
fn merge(answers: &mut [TxnOffsetCommitResponseTopic], codes: Vec<ErrorCode>) {
    let open = answers
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
        .filter(|partition| partition.error_code == ErrorCode::None.code());
    for (partition, code) in open.zip(codes) {
        partition.error_code = code.code();
    }
}

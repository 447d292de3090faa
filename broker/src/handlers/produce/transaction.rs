//! The transactional part of a Produce: before a batch is appended, its partition is in its
//! producer's transaction, and the coordinator knows.
//!
//! KIP-890: newer clients have the produce add the partition; for older ones it is verified that
//! they have added it. Where the partition already has the transaction open, nobody is asked. A
//! guard (RFC 0007) makes sure that what was verified is still so when the batch is appended.

use std::collections::{BTreeMap, BTreeSet};

use common::ProducerId;
use coordinator::transaction::{AddPartitions, TopicPartition, TransactionVersion};
use protocol::{
    ErrorCode, Records,
    messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    records::BatchHeader,
};
use storage::VerificationGuard;

use super::{TOPIC_IDS_SINCE, error};
use crate::{
    catalog::{CatalogImage, TopicEntry},
    context::{Broker, RequestContext},
    topic_name,
};

/// The first version of clients that add partitions by their produce.
const ADDS_PARTITIONS_SINCE: i16 = 12;
/// The first version of clients that know TRANSACTION_ABORTABLE.
const TRANSACTION_ABORTABLE_SINCE: i16 = 11;

/// What is known of one partition's batch before it is appended.
type Verdict = Result<Option<VerificationGuard>, ErrorCode>;

/// What verification found, by the topic's place in the request and the partition's index.
#[derive(Debug, Default)]
pub(super) struct Verdicts(BTreeMap<(usize, i32), Verdict>);

impl Verdicts {
    /// Takes the verdict over a partition's batch; a batch that needed none has no guard.
    pub(super) fn take(&mut self, topic: usize, partition: i32) -> Verdict {
        self.0.remove(&(topic, partition)).unwrap_or(Ok(None))
    }
}

/// A partition whose batch the coordinator is asked about.
struct Unverified {
    place: (usize, i32),
    partition: TopicPartition,
    guard: VerificationGuard,
}

/// The batches of a request that belong to a transaction, and what each one's partition says.
struct Survey {
    producer: Option<(ProducerId, i16)>,
    verdicts: Verdicts,
    unverified: Vec<Unverified>,
}

/// Makes sure that a request's transactional batches belong where they say.
///
/// # Errors
/// What the whole request is refused with.
pub(super) async fn verify(
    broker: &Broker,
    context: &RequestContext,
    request: &ProduceRequest,
    transactional_id: &str,
) -> Result<Verdicts, ErrorCode> {
    let adds = context.api_version >= ADDS_PARTITIONS_SINCE;
    let Survey { producer, mut verdicts, unverified } =
        survey(&broker.catalog.image(), context, request, adds)?;
    let Some((producer_id, producer_epoch)) = producer.filter(|_| !unverified.is_empty()) else {
        return Ok(verdicts);
    };
    let partitions = unverified.iter().map(|each| each.partition.clone()).collect();
    let ask = AddPartitions {
        transactional_id: transactional_id.to_owned(),
        producer_id,
        producer_epoch,
        partitions,
        client_version: if adds { TransactionVersion::V2 } else { TransactionVersion::V0 },
    };
    let mut answers = ask_coordinator(broker, &ask).await;
    for Unverified { place, partition, guard } in unverified {
        let answer = answers.remove(&partition).unwrap_or(Err(ErrorCode::TransactionAbortable));
        let verdict = answer.map(|()| Some(guard)).map_err(|error| to_producer(error, context));
        verdicts.0.insert(place, verdict);
    }
    Ok(verdicts)
}

/// Looks at the first batch of each partition, without validating it yet.
fn survey(
    image: &CatalogImage,
    context: &RequestContext,
    request: &ProduceRequest,
    adds: bool,
) -> Result<Survey, ErrorCode> {
    let mut producers = BTreeSet::new();
    let mut verdicts = Verdicts::default();
    let mut unverified = Vec::new();
    for (place, topic) in request.topic_data.iter().enumerate() {
        let entry = resolve(image, context, topic);
        for data in &topic.partition_data {
            let Some(header) = transactional_header(data) else { continue };
            let producer_id = ProducerId(header.producer_id);
            producers.insert((producer_id, header.producer_epoch));
            // What does not exist is refused when it is appended.
            let Some(entry) = entry else { continue };
            let Some(partition) = entry.partition(data.index) else { continue };
            let place = (place, data.index);
            match partition.begin_verification(
                producer_id,
                header.producer_epoch,
                header.base_sequence,
                adds,
            ) {
                Ok(None) => {}
                Ok(Some(guard)) => {
                    let partition = TopicPartition::new(entry.topic.name.clone(), data.index);
                    unverified.push(Unverified { place, partition, guard });
                }
                Err(refused) => {
                    verdicts.0.insert(place, Err(error::append(&refused)));
                }
            }
        }
    }
    if producers.len() > 1 {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    Ok(Survey { producer: producers.pop_first(), verdicts, unverified })
}

/// Clients write to topics of their own only; anything else is refused when it is appended.
fn resolve<'a>(
    image: &'a CatalogImage,
    context: &RequestContext,
    topic: &TopicProduceData,
) -> Option<&'a TopicEntry> {
    let entry = if context.api_version >= TOPIC_IDS_SINCE {
        image.by_id(topic.topic_id.into())
    } else {
        image.by_name(&topic.name)
    };
    entry.map(AsRef::as_ref).filter(|entry| !topic_name::is_internal(&entry.topic.name))
}

fn transactional_header(data: &PartitionProduceData) -> Option<BatchHeader> {
    let first = data.records.iter().flat_map(Records::chunks).next()?;
    let header = BatchHeader::parse(first).ok()?;
    (header.is_transactional() && header.has_producer_id()).then_some(header)
}

async fn ask_coordinator(
    broker: &Broker,
    ask: &AddPartitions,
) -> BTreeMap<TopicPartition, Result<(), ErrorCode>> {
    let options = broker.options();
    let transactions = &broker.coordination.transactions;
    let each = |answer| ask.partitions.iter().cloned().map(|at| (at, answer)).collect();
    if ask.client_version.bumps_epoch() {
        each(transactions.add_partitions(ask, options.add_partitions_patience).await)
    } else if options.verify_transactions {
        transactions.verify_partitions(ask).await.unwrap_or_else(|error| each(Err(error)))
    } else {
        each(Ok(()))
    }
}

/// The coordinator's code in terms of what a producer of this version handles well.
fn to_producer(error: ErrorCode, context: &RequestContext) -> ErrorCode {
    let version = context.api_version;
    match error {
        // A producer expects the fencing of a partition here, not that of a coordinator.
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < TRANSACTION_ABORTABLE_SINCE => {
            ErrorCode::InvalidTxnState
        }
        ErrorCode::ConcurrentTransactions if version >= ADDS_PARTITIONS_SINCE => error,
        // Retriable for every client, and without a look at metadata.
        ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator
        | ErrorCode::ConcurrentTransactions => ErrorCode::NotEnoughReplicas,
        other => other,
    }
}

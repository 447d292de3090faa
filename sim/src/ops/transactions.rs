//! What a transactional producer and a reader of committed data ask: FindCoordinator,
//! InitProducerId, Produce, EndTxn and Fetch, in the versions of KIP-890.

use broker::testing::Client;
use protocol::{
    ErrorCode, Records,
    messages::{
        end_txn::EndTxnRequest,
        fetch::{AbortedTransaction, FetchPartition, FetchRequest, FetchTopic},
        find_coordinator::FindCoordinatorRequest,
        init_producer_id::InitProducerIdRequest,
        produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    },
    records::{BatchBuilder, Compression, DecompressLimit, batches},
};

use super::{Lost, call, known};
use crate::{history::History, invariants::Violation};

const FIND_COORDINATOR_VERSION: i16 = 3;
const INIT_PRODUCER_ID_VERSION: i16 = 5;
const PRODUCE_VERSION: i16 = 12;
const END_TXN_VERSION: i16 = 5;
const FETCH_VERSION: i16 = 12;
/// `key_type` of FindCoordinator for transactional ids.
const TRANSACTION: i8 = 1;
/// How long a transaction may stay open, milliseconds.
pub const TRANSACTION_TIMEOUT_MS: i32 = 10_000;
const PRODUCE_TIMEOUT_MS: i32 = 5_000;
const FETCH_BYTES_MAX: i32 = 1 << 20;

/// A producer's id and epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}

/// What a reader of committed data got of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The values, in order.
    pub values: Vec<String>,
    /// Where to go on.
    pub next_offset: i64,
    /// The first offset of an open transaction, or the high watermark.
    pub last_stable: i64,
    /// The end of what is durable.
    pub high_watermark: i64,
}

/// Whether the id's coordinator is there.
///
/// # Errors
/// [`Lost`].
pub async fn find_coordinator(
    client: &mut Client,
    history: &History,
    id: &str,
) -> Result<bool, Lost> {
    let request =
        FindCoordinatorRequest { key: id.to_owned(), key_type: TRANSACTION, ..Default::default() };
    let response = call(client, &request, FIND_COORDINATOR_VERSION).await?;
    Ok(known(history, "FindCoordinator", response.error_code)? == ErrorCode::None)
}

/// Begins a producer.
///
/// # Errors
/// [`Lost`].
pub async fn init(
    client: &mut Client,
    history: &History,
    id: &str,
) -> Result<Result<Identity, ErrorCode>, Lost> {
    let request = InitProducerIdRequest {
        transactional_id: Some(id.to_owned()),
        transaction_timeout_ms: TRANSACTION_TIMEOUT_MS,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let response = call(client, &request, INIT_PRODUCER_ID_VERSION).await?;
    let identity =
        Identity { producer_id: response.producer_id, producer_epoch: response.producer_epoch };
    Ok(match known(history, "InitProducerId", response.error_code)? {
        ErrorCode::None => Ok(identity),
        error => Err(error),
    })
}

/// Writes one record to a partition.
///
/// # Errors
/// [`Lost`].
pub async fn produce(
    client: &mut Client,
    history: &History,
    id: &str,
    identity: Identity,
    topic: &str,
    (index, sequence, value): (i32, i32, &str),
) -> Result<ErrorCode, Lost> {
    let Identity { producer_id, producer_epoch } = identity;
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(producer_id, producer_epoch, sequence)
        .transactional(true);
    let built = builder
        .append(0, history.now_ms(), None, Some(value.as_bytes()), &[])
        .and_then(|()| builder.build());
    let Ok(records) = built else {
        history.violate(Violation::protocol("a record could not be encoded".to_owned()));
        return Err(Lost);
    };
    let data = PartitionProduceData { index, records: Some(Records::from(records)) };
    let request = ProduceRequest {
        transactional_id: Some(id.to_owned()),
        acks: -1,
        timeout_ms: PRODUCE_TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![data],
            ..Default::default()
        }],
    };
    let response = call(client, &request, PRODUCE_VERSION).await?;
    let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let Some(answer) = answers.into_iter().next() else {
        history.violate(Violation::protocol("Produce has no answer".to_owned()));
        return Err(Lost);
    };
    known(history, "Produce", answer.error_code)
}

/// Commits or aborts; the identity for the next transaction.
///
/// # Errors
/// [`Lost`].
pub async fn end(
    client: &mut Client,
    history: &History,
    id: &str,
    identity: Identity,
    committed: bool,
) -> Result<Result<Identity, ErrorCode>, Lost> {
    let request = EndTxnRequest {
        transactional_id: id.to_owned(),
        producer_id: identity.producer_id,
        producer_epoch: identity.producer_epoch,
        committed,
    };
    let response = call(client, &request, END_TXN_VERSION).await?;
    let next =
        Identity { producer_id: response.producer_id, producer_epoch: response.producer_epoch };
    Ok(match known(history, "EndTxn", response.error_code)? {
        ErrorCode::None => Ok(next),
        error => Err(error),
    })
}

/// Reads committed records of a partition; `None` where that is not possible now.
///
/// # Errors
/// [`Lost`].
pub async fn read_committed(
    client: &mut Client,
    history: &History,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Option<Committed>, Lost> {
    let request = FetchRequest {
        max_bytes: FETCH_BYTES_MAX,
        isolation_level: 1,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: vec![FetchPartition {
                partition,
                current_leader_epoch: -1,
                fetch_offset: offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: FETCH_BYTES_MAX,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut response = call(client, &request, FETCH_VERSION).await?;
    let Some(data) = response.responses.pop().and_then(|mut topic| topic.partitions.pop()) else {
        return Ok(None);
    };
    if known(history, "Fetch", data.error_code)? != ErrorCode::None {
        return Ok(None);
    }
    let bytes = data.records.unwrap_or_default();
    let aborted = data.aborted_transactions.unwrap_or_default();
    let Some((values, next_offset)) = filter(&bytes, aborted, offset) else {
        history.violate(Violation::protocol("Fetch answered damaged records".to_owned()));
        return Err(Lost);
    };
    Ok(Some(Committed {
        values,
        next_offset,
        last_stable: data.last_stable_offset,
        high_watermark: data.high_watermark,
    }))
}

/// Drops what was aborted, as Kafka's consumer does. `None` for damaged bytes.
fn filter(
    records: &Records,
    mut aborted: Vec<AbortedTransaction>,
    offset: i64,
) -> Option<(Vec<String>, i64)> {
    let (mut values, mut next_offset) = (Vec::new(), offset);
    let mut dropping: Vec<i64> = Vec::new();
    for batch in batches(&records.to_bytes()) {
        let batch = batch.ok()?;
        let header = batch.header();
        next_offset = header.next_offset();
        aborted.retain(|range| {
            let begins = range.first_offset <= header.base_offset;
            if begins {
                dropping.push(range.producer_id);
            }
            !begins
        });
        if header.is_control() {
            dropping.retain(|producer_id| *producer_id != header.producer_id);
            continue;
        }
        if dropping.contains(&header.producer_id) || header.base_offset < offset {
            continue;
        }
        let limit = DecompressLimit { max_bytes: batch.bytes().len() };
        for record in &batch.borrowed().decompressed(limit).ok()? {
            let value = record.ok()?.value?;
            values.push(String::from_utf8(value.to_vec()).ok()?);
        }
    }
    Some((values, next_offset))
}

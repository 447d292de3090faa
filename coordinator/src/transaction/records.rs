//! The record of a transactional id in `__transaction_state`: `TransactionLogKey` and
//! `TransactionLogValue` version 1, as Kafka 4.3 writes them with `transaction.version` 2.

use std::collections::BTreeSet;

use bytes::Bytes;
use common::ProducerId;
use protocol::coordinator_records::{
    RecordKey as _, prefix,
    transaction_log::{PartitionsSchema, TransactionLogKey, TransactionLogValue},
};

use super::{
    metadata::{TopicPartition, TransactionMetadata, TransactionVersion},
    state::TransactionState,
};
use crate::{
    records,
    shard::{EncodedRecord, LogRecord, RecordError},
};

/// The version of values that are written.
const VALUE_VERSION: i16 = 1;
/// No producer id.
const NO_PRODUCER_ID: i64 = -1;

/// All that is known of a transactional id from here on; nothing once it has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecord {
    /// The id.
    pub transactional_id: String,
    /// What is known of it.
    pub metadata: Option<TransactionMetadata>,
}

impl LogRecord for TransactionRecord {
    fn encode(&self) -> Result<EncodedRecord, RecordError> {
        let key = TransactionLogKey { transactional_id: self.transactional_id.clone() };
        records::encode(&key, self.metadata.as_ref().map(to_value).as_ref(), |_| VALUE_VERSION)
    }

    fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Self>, RecordError> {
        let newer = |bytes| prefix(bytes).is_some_and(|version| version > VALUE_VERSION);
        if records::record_type(key)? != TransactionLogKey::RECORD_TYPE || value.is_some_and(newer)
        {
            return Ok(None);
        }
        let (key, value) = records::decode::<TransactionLogKey>(key, value)?;
        let metadata = value.map(from_value).transpose()?;
        Ok(Some(Self { transactional_id: key.transactional_id, metadata }))
    }
}

fn refused(reason: String) -> RecordError {
    RecordError { record_type: TransactionLogKey::RECORD_TYPE, reason }
}

fn to_value(metadata: &TransactionMetadata) -> TransactionLogValue {
    let id = |id: Option<ProducerId>| id.map_or(NO_PRODUCER_ID, |id| id.0);
    TransactionLogValue {
        producer_id: metadata.producer_id.0,
        previous_producer_id: id(metadata.previous_producer_id),
        next_producer_id: id(metadata.next_producer_id),
        producer_epoch: metadata.producer_epoch,
        transaction_timeout_ms: metadata.timeout_ms,
        transaction_status: metadata.state.id(),
        transaction_partitions: (metadata.state != TransactionState::Empty)
            .then(|| by_topic(&metadata.partitions)),
        transaction_last_update_timestamp_ms: metadata.last_update_ms,
        transaction_start_timestamp_ms: metadata.start_ms,
        client_transaction_version: metadata.client_version.level(),
        ..TransactionLogValue::default()
    }
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<PartitionsSchema> {
    let mut topics: Vec<PartitionsSchema> = Vec::new();
    for partition in partitions {
        match topics.last_mut() {
            Some(last) if last.topic == partition.topic => {
                last.partition_ids.push(partition.partition);
            }
            _ => topics.push(PartitionsSchema {
                topic: partition.topic.clone(),
                partition_ids: vec![partition.partition],
            }),
        }
    }
    topics
}

fn from_value(value: TransactionLogValue) -> Result<TransactionMetadata, RecordError> {
    let state = TransactionState::from_id(value.transaction_status)
        .filter(|state| {
            !matches!(state, TransactionState::Dead | TransactionState::PrepareEpochFence)
        })
        .ok_or_else(|| refused(format!("state {}", value.transaction_status)))?;
    let client_version = TransactionVersion::from_level(value.client_transaction_version)
        .ok_or_else(|| {
            refused(format!("transaction version {}", value.client_transaction_version))
        })?;
    let id = |id: i64| (id != NO_PRODUCER_ID).then_some(ProducerId(id));
    let partitions = value.transaction_partitions.unwrap_or_default().into_iter();
    Ok(TransactionMetadata {
        producer_id: ProducerId(value.producer_id),
        previous_producer_id: id(value.previous_producer_id),
        next_producer_id: id(value.next_producer_id),
        producer_epoch: value.producer_epoch,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions: partitions
            .flat_map(|topic| {
                let name = topic.topic;
                let ids = topic.partition_ids.into_iter();
                ids.map(move |partition| TopicPartition::new(name.clone(), partition))
            })
            .collect(),
        start_ms: value.transaction_start_timestamp_ms,
        last_update_ms: value.transaction_last_update_timestamp_ms,
        client_version,
    })
}

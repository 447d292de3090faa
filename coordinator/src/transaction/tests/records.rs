//! The record's bytes: those of Kafka 4.3.1, and only those.

use bytes::Bytes;

use super::*;
use crate::{shard::LogRecord as _, transaction::TransactionRecord};

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn metadata() -> TransactionMetadata {
    TransactionMetadata {
        producer_id: ProducerId(7),
        previous_producer_id: Some(ProducerId(6)),
        next_producer_id: Some(ProducerId(8)),
        producer_epoch: 3,
        timeout_ms: 60_000,
        state: TransactionState::PrepareCommit,
        partitions: [
            TopicPartition::new("a", 0),
            TopicPartition::new("a", 2),
            TopicPartition::new("b", 1),
        ]
        .into(),
        start_ms: 5,
        last_update_ms: 9,
        client_version: TransactionVersion::V2,
    }
}

#[test]
fn a_value_is_what_kafka_writes() {
    let record =
        TransactionRecord { transactional_id: "id".to_owned(), metadata: Some(metadata()) };
    let encoded = record.encode().unwrap();
    // Type 0, then the id.
    assert_eq!(hex(&encoded.key), "000000026964");
    let expected = [
        "0001",             // version
        "0000000000000007", // producer id
        "0003",             // producer epoch
        "0000ea60",         // timeout
        "02",               // PrepareCommit
        "03",               // two topics
        "0261",             // "a"
        "0300000000",       // partitions 0
        "0000000200",       // and 2, no tags
        "0262",             // "b"
        "020000000100",     // partition 1, no tags
        "0000000000000009", // last update
        "0000000000000005", // start
        "03",               // three tags
        "00080000000000000006",
        "01080000000000000008",
        "02020002",
    ];
    assert_eq!(hex(encoded.value.as_ref().unwrap()), expected.concat());
    let decoded = TransactionRecord::decode(&encoded.key, encoded.value.as_ref()).unwrap();
    assert_eq!(decoded, Some(record));
}

#[test]
fn what_apache_kafka_wrote_is_read_and_written_as_it_is() {
    let golden = include_str!("../../../testdata/transaction_state.txt");
    let records = crate::records::tests::golden::<TransactionRecord>(golden);
    let states = records.iter().map(|record| record.metadata.as_ref().map(|of| of.state));
    let wanted =
        [TransactionState::Empty, TransactionState::Ongoing, TransactionState::CompleteCommit];
    assert_eq!(states.collect::<Vec<_>>(), wanted.map(Some));
    assert!(records.iter().all(|record| record.transactional_id == "perf-txn"));
    assert_eq!(
        records[1].metadata.as_ref().unwrap().partitions,
        [TopicPartition::new("orders", 0)].into()
    );
}

#[test]
fn empty_has_no_partitions_and_older_values_are_read() {
    let mut empty = metadata();
    empty.state = TransactionState::Empty;
    empty.partitions.clear();
    let record = TransactionRecord { transactional_id: "id".to_owned(), metadata: Some(empty) };
    let encoded = record.encode().unwrap();
    assert_eq!(
        TransactionRecord::decode(&encoded.key, encoded.value.as_ref()).unwrap(),
        Some(record)
    );

    // Version 0, as Kafka before 4.0 wrote it: Ongoing with partition "a"-1.
    let value = [
        "0000",
        "0000000000000007",
        "0003",
        "0000ea60",
        "01",
        "00000001",
        "000161",
        "00000001",
        "00000001",
        "0000000000000009",
        "0000000000000005",
    ]
    .concat();
    let bytes: Vec<u8> = (0..value.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&value[at..at + 2], 16).unwrap())
        .collect();
    let decoded = TransactionRecord::decode(&encoded.key, Some(&Bytes::from(bytes))).unwrap();
    let known = decoded.unwrap().metadata.unwrap();
    assert_eq!(known.partitions, [TopicPartition::new("a", 1)].into());
    assert_eq!(known.client_version, TransactionVersion::V0);
    assert_eq!((known.previous_producer_id, known.next_producer_id), (None, None));
}

#[test]
fn a_tombstone_has_no_value_and_what_is_newer_is_skipped() {
    let record = TransactionRecord { transactional_id: "id".to_owned(), metadata: None };
    let encoded = record.encode().unwrap();
    assert_eq!(encoded.value, None);
    assert_eq!(TransactionRecord::decode(&encoded.key, None).unwrap(), Some(record));
    let newer_value = Bytes::from_static(&[0, 2, 1, 2, 3]);
    assert_eq!(TransactionRecord::decode(&encoded.key, Some(&newer_value)).unwrap(), None);
    let newer_key = Bytes::from_static(&[0, 9, 1]);
    assert_eq!(TransactionRecord::decode(&newer_key, None).unwrap(), None);
}

#[test]
fn states_that_are_never_written_and_torn_values_are_refused() {
    let record =
        TransactionRecord { transactional_id: "id".to_owned(), metadata: Some(metadata()) };
    let encoded = record.encode().unwrap();
    let value = encoded.value.unwrap();
    for state in [6_u8, 7, 8, 255] {
        let mut bytes = value.to_vec();
        bytes[16] = state;
        assert!(TransactionRecord::decode(&encoded.key, Some(&bytes.into())).is_err(), "{state}");
    }
    for length in 2..value.len() {
        let torn = value.slice(..length);
        assert!(TransactionRecord::decode(&encoded.key, Some(&torn)).is_err(), "{length}");
    }
}

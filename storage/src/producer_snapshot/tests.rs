//! Golden bytes of both versions, damage, arbitrary bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use common::{ProducerId, TopicId};
use proptest::prelude::*;
use uuid::Uuid;

use super::{decode::SnapshotError, *};

/// What version 1 can say.
fn sample_v1() -> Vec<PartitionProducers> {
    let batch = |n: i32| ProducerBatch {
        producer_epoch: 3,
        base_sequence: n,
        last_sequence: n + 1,
        base_offset: 10 + i64::from(n),
        last_offset: 11 + i64::from(n),
        timestamp: 1_700_000_000_000,
    };
    let key = |n| PartitionKey { topic_id: TopicId(Uuid::from_u128(7)), partition: n };
    let producer = |id, batches: Vec<_>| ActiveProducer {
        producer_id: ProducerId(id),
        producer_epoch: 3,
        coordinator_epoch: -1,
        last_timestamp: 1_700_000_000_000,
        txn_first_offset: None,
        batches,
    };
    let producers = vec![producer(1, (0..5).map(batch).collect()), producer(9, vec![batch(4)])];
    let restored =
        |end_offset, producers| RestoredProducers { end_offset, producers, ended: Vec::new() };
    vec![
        PartitionProducers { key: key(0), restored: restored(99, producers) },
        PartitionProducers { key: key(1), restored: restored(0, Vec::new()) },
    ]
}

/// Version 2, with an open, an undecided and an aborted transaction.
fn sample() -> Vec<PartitionProducers> {
    let mut sample = sample_v1();
    let restored = &mut sample[0].restored;
    restored.producers[1].txn_first_offset = Some(14);
    restored.producers[1].coordinator_epoch = 6;
    restored.producers.push(ActiveProducer {
        producer_id: ProducerId(12),
        producer_epoch: 8,
        coordinator_epoch: 0,
        last_timestamp: 1_700_000_000_001,
        txn_first_offset: None,
        batches: Vec::new(),
    });
    restored.ended = vec![
        Ended { producer_id: ProducerId(12), first_offset: 20, last_offset: 30, aborted: true },
        Ended { producer_id: ProducerId(1), first_offset: 40, last_offset: 50, aborted: false },
    ];
    sample
}

#[test]
fn the_golden_files_of_both_versions_read_and_the_newer_is_what_is_written() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let v2 = directory.join("producers-v2.snap");
    if std::env::var_os("STREAMHOUSE_WRITE_GOLDEN").is_some() {
        std::fs::write(&v2, encode(&sample())).unwrap();
    }
    let v1 = std::fs::read(directory.join("producers-v1.snap")).unwrap();
    assert_eq!(decode(&v1), Ok(sample_v1()));
    let v2 = std::fs::read(v2).unwrap();
    assert_eq!(decode(&v2), Ok(sample()));
    assert_eq!(encode(&sample()), v2);
}

#[test]
fn unknown_versions_and_incompatible_features_are_refused() {
    let reseal = |at: usize, value: u8| {
        let mut bytes = encode(&sample()).to_vec();
        bytes[at] = value;
        let body = bytes.len() - 4;
        let checksum = crc32c::crc32c(&bytes[..body]);
        bytes[body..].copy_from_slice(&checksum.to_le_bytes());
        decode(&bytes)
    };
    assert_eq!(reseal(4, 3), Err(SnapshotError::Version(3)));
    assert_eq!(reseal(6, 2), Err(SnapshotError::Features(2)));
    assert_eq!(reseal(10, 2), Ok(sample()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = encode(&sample());
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1;
        assert_eq!(decode(&damaged), Err(SnapshotError::Checksum), "byte {at}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        version in prop::option::of(VERSION_BATCHES..=VERSION),
    ) {
        if let (Some(version), true) = (version, bytes.len() > 14) {
            bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[4..6].copy_from_slice(&version.to_le_bytes());
            if version > VERSION_BATCHES {
                bytes[6..14].fill(0);
            }
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let _ = decode(&bytes);
    }
}

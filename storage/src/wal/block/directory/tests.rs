//! Directory round trips, and arbitrary bytes that must never panic or allocate what they claim.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use protocol::records::{BatchBuilder, Compression};

use super::*;

fn header_of(directory: &Directory, bytes: &[u8]) -> BlockHeader {
    let mut header = BlockHeader::marker(1, 2, 4096, false);
    header.directory_len = bytes.len() as u32;
    header.directory_crc = crc32c::crc32c(bytes);
    header.payload_len = directory.runs.iter().map(|run| run.len).sum();
    header
}

fn any_run() -> impl Strategy<Value = RunEntry> {
    let batches = prop::collection::vec((0..1_000_i64, 49..10_000_i32, any::<u32>()), 1..20);
    let ids = (any::<u128>(), 0..i32::MAX, any::<i32>(), 0..i64::MAX / 2);
    (ids, batches).prop_map(|((topic, partition, leader_epoch, base_offset), entries)| {
        let (mut next, mut batches) = (base_offset, Vec::new());
        for (delta, batch_length, crc) in entries {
            batches.push(BatchEntry { base_offset: next, batch_length, crc });
            next += delta + 1;
        }
        let topic_id = TopicId(Uuid::from_u128(topic));
        let len = batches.iter().map(|batch| batch.batch_length as u32 + 12).sum();
        let key = PartitionKey { topic_id, partition };
        let last_offset = next - 1;
        RunEntry { key, leader_epoch, base_offset, last_offset, position: 0, len, batches }
    })
}

fn any_directory() -> impl Strategy<Value = Directory> {
    prop::collection::vec(any_run(), 1..10).prop_map(|mut runs| {
        let mut position = 0;
        for run in &mut runs {
            run.position = position;
            position += run.len;
        }
        Directory { runs }
    })
}

proptest! {
    #[test]
    fn a_directory_reads_back(directory in any_directory()) {
        let bytes = directory.encode();
        prop_assert_eq!(Directory::decode(&header_of(&directory, &bytes), &bytes), Ok(directory));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_claim_more_than_they_hold(
        bytes in prop::collection::vec(any::<u8>(), 0..400), payload_len in any::<u32>(),
    ) {
        let mut header = BlockHeader::marker(1, 2, 4096, false);
        header.directory_crc = crc32c::crc32c(&bytes);
        header.payload_len = payload_len;
        if let Ok(directory) = Directory::decode(&header, &bytes) {
            let batches: usize = directory.runs.iter().map(|run| run.batches.len()).sum();
            prop_assert!(batches * BATCH_BYTES_MIN <= bytes.len());
        }
    }

    #[test]
    fn a_changed_directory_with_a_matching_crc_never_panics(
        directory in any_directory(), at in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let mut bytes = directory.encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = Directory::decode(&header_of(&directory, &bytes), &bytes);
    }
}

fn one_batch() -> (Directory, Vec<u8>) {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(5).partition_leader_epoch(3);
    builder.append(0, 1, Some(b"k"), Some(b"v"), &[]).unwrap();
    let payload = builder.build().unwrap().to_vec();
    let header = BatchHeader::parse(&payload).unwrap();
    let run = RunEntry {
        key: PartitionKey { topic_id: TopicId(Uuid::from_u128(1)), partition: 0 },
        leader_epoch: 3,
        base_offset: 5,
        last_offset: 5,
        position: 0,
        len: payload.len() as u32,
        batches: vec![BatchEntry::of(&header)],
    };
    (Directory { runs: vec![run] }, payload)
}

#[test]
fn any_flipped_bit_of_a_batch_is_noticed() {
    let (directory, payload) = one_batch();
    assert_eq!(directory.verify(&payload).unwrap()[0][0].base_offset, 5);
    for bit in 0..payload.len() * 8 {
        let mut changed = payload.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(directory.verify(&changed).is_err(), "bit {bit}");
    }
}

#[test]
fn a_claim_beyond_the_bytes_is_refused_without_allocating_for_it() {
    let mut bytes = Vec::new();
    write_varint(&mut bytes, i32::MAX);
    bytes.resize(200, 0);
    let mut header = BlockHeader::marker(1, 2, 4096, false);
    header.directory_crc = crc32c::crc32c(&bytes);
    assert_eq!(Directory::decode(&header, &bytes), Err(CUT));
}

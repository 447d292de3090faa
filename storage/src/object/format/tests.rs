//! Golden bytes, round trips, and arbitrary bytes against the footer's codec.

use proptest::prelude::*;

use super::*;

fn key(n: u8, partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TopicId(Uuid::from_bytes([n; 16])), partition }
}

/// The footer in `testdata/footer-v1-*.bin`. It must never change: old bytes still read.
fn golden(layout: Layout) -> Footer {
    let batch = |n: i32| ProducerBatch {
        base_sequence: n,
        last_sequence: n + 9,
        base_offset: i64::from(n),
        last_offset: i64::from(n) + 9,
        timestamp: 1_700_000_000_000 + i64::from(n),
        transactional: n == 30,
    };
    let producer = ProducerUpdate {
        producer_id: 4001,
        producer_epoch: 3,
        marker_offset: Some(29),
        coordinator_epoch: -1,
        txn_first_offset: Some(30),
        last_timestamp: 1_700_000_000_030,
        batches: vec![batch(10), batch(20), batch(30)],
    };
    let entry = |offset: i64, position: u64| IndexEntry {
        offset,
        max_timestamp: 1_700_000_000_000 + offset,
        position,
        crc32c: if layout == Layout::Batches { 0xDEAD_BEEF } else { 0 },
    };
    let partition = PartitionFooter {
        key: key(1, 0),
        leader_epoch: 7,
        base_offset: 10,
        end_offset: 40,
        bytes: 3000,
        min_timestamp: -1,
        max_timestamp: 1_700_000_000_030,
        index: vec![entry(10, 4096), entry(30, 1_052_672)],
        producers: vec![producer],
        cleaned_end_offset: None,
        aborted: Vec::new(),
    };
    let mut other = partition.clone();
    other.key = key(1, 5);
    other.producers.clear();
    other.index.truncate(1);
    Footer {
        object_id: ObjectId(Uuid::from_bytes([9; 16])),
        layout,
        origin: (layout == Layout::Blocks).then_some(Origin { file_id: 42, from: 0, to: 2 << 20 }),
        data_len: 2 << 20,
        data_crc32c: 0x1234_5678,
        partitions: if layout == Layout::Blocks { vec![partition, other] } else { vec![partition] },
    }
}

#[test]
fn the_golden_footers_still_read_and_are_still_what_is_written() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    for (name, layout) in
        [("footer-v1-l0.bin", Layout::Blocks), ("footer-v1-l1.bin", Layout::Batches)]
    {
        let path = directory.join(name);
        if std::env::var_os("STREAMHOUSE_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, golden(layout).encode().unwrap()).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(Footer::decode(&bytes).unwrap(), golden(layout), "{name}");
        assert_eq!(golden(layout).encode().unwrap(), bytes, "{name}");
    }
}

/// The footer in `testdata/footer-v1-markers.bin`.
fn golden_with_markers() -> Footer {
    let mut footer = golden(Layout::Blocks);
    let partition = &mut footer.partitions[0];
    partition.producers[0].coordinator_epoch = 5;
    let aborted = |first_offset, may_begin_before, last_offset| AbortedUpdate {
        producer_id: 4001,
        first_offset,
        may_begin_before,
        last_offset,
    };
    partition.aborted = vec![aborted(None, true, 19), aborted(Some(20), false, 29)];
    footer
}

#[test]
fn the_golden_footer_with_markers_still_reads_and_is_still_what_is_written() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let path = directory.join("footer-v1-markers.bin");
    if std::env::var_os("STREAMHOUSE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, golden_with_markers().encode().unwrap()).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(Footer::decode(&bytes).unwrap(), golden_with_markers());
    assert_eq!(golden_with_markers().encode().unwrap(), bytes);
    assert_eq!(bytes[0], 1, "an incompatible feature");
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = golden(Layout::Blocks).encode().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Footer::decode(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = golden(Layout::Blocks).encode().unwrap();
    for len in 0..bytes.len() {
        assert!(Footer::decode(&bytes[..len]).is_err(), "length {len}");
        assert!(Footer::decode(&bytes[bytes.len() - len..]).is_err(), "last {len} bytes");
    }
}

#[test]
fn refuses_unknown_incompatible_features_and_ignores_compatible_ones() {
    let bytes = golden(Layout::Blocks).encode().unwrap();
    let body = &bytes[..bytes.len() - TRAILER_BYTES];
    let mut incompatible = body.to_vec();
    incompatible[0] = 4;
    assert_eq!(
        Footer::decode(&with_trailer(incompatible)),
        Err(FormatError::UnsupportedFeatures(4))
    );
    let mut compatible = body.to_vec();
    compatible[4] = 4;
    assert_eq!(Footer::decode(&with_trailer(compatible)).unwrap(), golden(Layout::Blocks));
}

#[test]
fn a_reader_skips_what_a_newer_writer_appends_to_a_partition() {
    let footer = golden(Layout::Batches);
    let mut section = Writer::new();
    footer.partitions[0].encode(&mut section);
    let mut addition = Writer::new();
    addition.raw(b"from the future");
    section.u8(255);
    section.section(&addition);
    let section = section.into_bytes();
    let decoded =
        PartitionFooter::decode(key(1, 0), footer.data_len, &mut Reader::new(&section)).unwrap();
    assert_eq!(decoded, footer.partitions[0]);
}

#[test]
fn the_index_finds_the_entry_that_covers_an_offset_or_a_timestamp() {
    let footer = golden(Layout::Blocks);
    let partition = footer.partition(&key(1, 0)).unwrap();
    assert_eq!(partition.entry_for(9), None);
    assert_eq!(partition.entry_for(10), Some(0));
    assert_eq!(partition.entry_for(29), Some(0));
    assert_eq!(partition.entry_for(39), Some(1));
    assert_eq!(partition.entry_for_timestamp(0), Some(0));
    assert_eq!(partition.entry_for_timestamp(1_700_000_000_011), Some(1));
    assert_eq!(partition.entry_for_timestamp(1_700_000_000_031), None);
    assert_eq!(footer.partition(&key(2, 0)), None);
}

fn producers() -> impl Strategy<Value = Vec<ProducerUpdate>> {
    let batch = (any::<[i32; 2]>(), any::<[i64; 3]>(), any::<bool>()).prop_map(
        |([base_sequence, last_sequence], [base_offset, last_offset, timestamp], transactional)| {
            ProducerBatch {
                base_sequence,
                last_sequence,
                base_offset,
                last_offset,
                timestamp,
                transactional,
            }
        },
    );
    let head = any::<(i64, i16, Option<i64>, Option<i64>, i64)>();
    let update = (head, -1..9_i32, prop::collection::vec(batch, 0..=5)).prop_map(
        |((id, epoch, marker_offset, txn_first_offset, last_timestamp), coordinator, batches)| {
            ProducerUpdate {
                producer_id: id,
                producer_epoch: epoch,
                marker_offset,
                coordinator_epoch: coordinator,
                txn_first_offset,
                last_timestamp,
                batches,
            }
        },
    );
    prop::collection::vec(update, 0..4).prop_map(|mut updates| {
        updates.sort_by_key(|update| update.producer_id);
        updates.dedup_by_key(|update| update.producer_id);
        updates
    })
}

fn aborted() -> impl Strategy<Value = Vec<AbortedUpdate>> {
    let step = (1..1_000_i64, any::<i64>(), prop::option::of(1..1_000_i64));
    prop::collection::vec(step, 0..4).prop_map(|steps| {
        let mut last_offset = 1_000;
        let mut aborted = Vec::new();
        for (gap, producer_id, span) in steps {
            last_offset += gap;
            let first_offset = span.map(|span| last_offset - span);
            let may_begin_before = gap % 2 == 0;
            aborted.push(AbortedUpdate {
                producer_id,
                first_offset,
                may_begin_before,
                last_offset,
            });
        }
        aborted
    })
}

fn partition() -> impl Strategy<Value = PartitionFooter> {
    let steps =
        prop::collection::vec((1..1_000_i64, 1..100_000_u64, any::<i64>(), any::<u32>()), 0..20);
    let place = (any::<[u8; 16]>(), any::<(i32, i32, u64, i64, i64)>(), 0..1_i64 << 60);
    (place, steps, producers(), aborted()).prop_map(
        |(
            (topic, (partition, leader_epoch, bytes, low, high), base),
            steps,
            producers,
            aborted,
        )| {
            let (mut offset, mut position) = (base, 0);
            let mut index = Vec::new();
            for (offsets, positions, max_timestamp, crc32c) in steps {
                index.push(IndexEntry { offset, max_timestamp, position, crc32c });
                offset += offsets;
                position += positions;
            }
            PartitionFooter {
                key: PartitionKey { topic_id: TopicId(Uuid::from_bytes(topic)), partition },
                leader_epoch,
                base_offset: base,
                end_offset: offset,
                bytes,
                min_timestamp: low,
                max_timestamp: high,
                index,
                producers,
                cleaned_end_offset: (high % 2 == 0).then_some(offset),
                aborted,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        id in any::<[u8; 16]>(),
        origin in any::<Option<[u64; 3]>>(),
        crc in any::<u32>(),
        mut partitions in prop::collection::vec(partition(), 0..5),
    ) {
        partitions.sort_by_key(|partition| partition.key);
        partitions.dedup_by_key(|partition| partition.key);
        let footer = Footer {
            object_id: ObjectId(Uuid::from_bytes(id)),
            layout: if origin.is_some() { Layout::Blocks } else { Layout::Batches },
            origin: origin.map(|[file_id, from, to]| Origin { file_id, from, to }),
            data_len: 1 << 40,
            data_crc32c: crc,
            partitions,
        };
        let encoded = footer.encode().unwrap();
        prop_assert_eq!(Footer::decode(&encoded), Ok(footer));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Footer::decode(&bytes);
        let _ = Footer::decode_body(&bytes);
        let _ = Footer::decode(&with_trailer(bytes));
    }

    #[test]
    fn a_damaged_body_never_panics(position in 0..1000_usize, value in any::<u8>()) {
        let bytes = golden(Layout::Blocks).encode().unwrap();
        let mut body = bytes[..bytes.len() - TRAILER_BYTES].to_vec();
        let at = position % body.len();
        body[at] = value;
        let _ = Footer::decode_body(&body);
    }
}

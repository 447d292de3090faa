//! Headers, splitting and patching.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::records::{
    BatchBuilder, Compression, set_base_offset, set_log_append_time, set_max_timestamp,
    set_partition_leader_epoch,
};

fn batch_of(records: i32) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None).producer(77, 5, 10).base_offset(100);
    for delta in 0..records {
        builder.append(delta, 1_000 + i64::from(delta), Some(b"k"), Some(b"v"), &[]).unwrap();
    }
    builder
}

#[test]
fn header_reads_back_what_was_built() {
    let bytes = batch_of(3).transactional(true).partition_leader_epoch(4).build().unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.next_offset()), (100, 102, 103));
    assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 1_002));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 5, 10));
    assert_eq!((header.records_count, header.last_sequence()), (3, 12));
    assert_eq!((header.magic, header.partition_leader_epoch), (2, 4));
    assert_eq!(header.total_len(), bytes.len());
    assert!(header.is_transactional() && !header.is_control() && !header.has_delete_horizon());
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert_eq!(header.compression(), Ok(CompressionType::None));
}

#[test]
fn delete_horizon_is_the_base_timestamp() {
    let mut builder = BatchBuilder::new(Compression::None).delete_horizon(5_000);
    builder.append(0, 1_000, Some(b"k"), None, &[]).unwrap();
    let bytes = builder.build().unwrap();
    let batch = BatchRef::parse(&bytes).unwrap();
    assert!(batch.header().has_delete_horizon());
    assert_eq!(batch.header().base_timestamp, 5_000);
    let plain = batch.decompressed(DecompressLimit { max_bytes: 100 }).unwrap();
    let record = plain.iter().next().unwrap().unwrap();
    assert_eq!(batch.header().record_timestamp(record.timestamp_delta), 1_000);
}

#[test]
fn sequences_wrap_from_max_to_zero() {
    assert_eq!(increment_sequence(i32::MAX, 0), i32::MAX);
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 2, 5), 2);
    assert_eq!(increment_sequence(0, i32::MAX), i32::MAX);
    assert_eq!(decrement_sequence(0, 1), i32::MAX);
    assert_eq!(decrement_sequence(2, 5), i32::MAX - 2);
    let bytes = batch_of(3).producer(1, 0, i32::MAX - 1).build().unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().last_sequence(), 0);
}

#[test]
fn last_offset_saturates_instead_of_overflowing() {
    let bytes = batch_of(2).base_offset(i64::MAX).build().unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!((header.last_offset(), header.next_offset()), (i64::MAX, i64::MAX));
}

#[test]
fn blob_splits_into_slices_of_itself() {
    let (first, second) = (batch_of(1).build().unwrap(), batch_of(2).build().unwrap());
    let blob = Bytes::from([&first[..], &second[..]].concat());
    let split: Vec<Batch> = batches(&blob).collect::<Result<_, _>>().unwrap();
    assert_eq!(split.len(), 2);
    assert_eq!(split[0].bytes(), &first);
    assert_eq!(split[1].bytes().as_ptr(), blob[first.len()..].as_ptr());
    let borrowed: Vec<_> = batch_refs(&blob).map(|batch| batch.unwrap().bytes().len()).collect();
    assert_eq!(borrowed, [first.len(), second.len()]);
}

#[test]
fn every_truncated_tail_is_told() {
    let first = batch_of(1).build().unwrap();
    let blob = Bytes::from([&first[..], &first[..]].concat());
    for len in first.len() + 1..blob.len() {
        let cut = blob.slice(..len);
        let mut split = batches(&cut);
        assert!(split.next().unwrap().is_ok());
        assert!(matches!(split.next(), Some(Err(RecordError::Truncated { .. }))), "at {len}");
        assert!(split.next().is_none());
    }
}

#[test]
fn old_magic_and_impossible_lengths_are_refused() {
    let good = batch_of(1).build().unwrap();
    for magic in [0_i8, 1, 3, -1] {
        let mut bytes = good.to_vec();
        bytes[MAGIC_POSITION] = magic.cast_unsigned();
        assert_eq!(BatchHeader::parse(&bytes), Err(RecordError::UnsupportedMagic { magic }));
        // An old message can be shorter than the header of a batch.
        let short = BatchHeader::parse(&bytes[..26]);
        assert_eq!(short, Err(RecordError::UnsupportedMagic { magic }));
    }
    for batch_length in [-1, 0, 48, i32::MIN] {
        let mut bytes = good.to_vec();
        bytes[LENGTH_POSITION..LENGTH_POSITION + 4].copy_from_slice(&batch_length.to_be_bytes());
        let expected = Err(RecordError::BadLength { batch_length });
        assert_eq!(BatchHeader::parse(&bytes), expected);
        assert_eq!(BatchHeader::parse(&bytes[..20]), expected);
    }
    let mut bytes = good.to_vec();
    bytes[LENGTH_POSITION..LENGTH_POSITION + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(BatchRef::parse(&bytes), Err(RecordError::Truncated { .. })));
}

#[test]
fn crc_notices_every_flipped_byte_that_it_covers() {
    let good = batch_of(2).build().unwrap();
    BatchRef::parse(&good).unwrap().verify_crc().unwrap();
    for position in CRC_POSITION..good.len() {
        let mut bytes = good.to_vec();
        bytes[position] ^= 0x20;
        let batch = BatchRef::parse(&bytes).unwrap();
        assert!(matches!(batch.verify_crc(), Err(RecordError::CrcMismatch { .. })), "{position}");
    }
}

#[test]
fn offset_and_epoch_patches_leave_the_crc_right() {
    let mut bytes = batch_of(2).build().unwrap().to_vec();
    set_base_offset(&mut bytes, 1 << 40).unwrap();
    set_partition_leader_epoch(&mut bytes, 12).unwrap();
    let batch = BatchRef::parse(&bytes).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!((batch.header().base_offset, batch.header().partition_leader_epoch), (1 << 40, 12));
}

#[test]
fn append_time_patch_touches_one_batch_and_keeps_the_base_timestamp() {
    let first = batch_of(2).build().unwrap();
    let mut blob = [&first[..], &first[..]].concat();
    set_log_append_time(&mut blob, 9_999).unwrap();
    let batch = BatchRef::parse(&blob).unwrap();
    batch.verify_crc().unwrap();
    let header = batch.header();
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 9_999));
    assert_eq!(header.record_timestamp(1), 9_999);
    assert_eq!(&blob[first.len()..], &first[..]);
    set_max_timestamp(&mut blob, TimestampType::CreateTime, 1_001).unwrap();
    assert_eq!(&blob[..first.len()], &first[..]);
}

#[test]
fn a_timestamp_patch_clears_unknown_attributes_as_kafka_does() {
    let mut bytes = batch_of(1).build().unwrap().to_vec();
    bytes[ATTRIBUTES_POSITION] = 0x80;
    bytes[ATTRIBUTES_POSITION + 1] = 0x90;
    set_log_append_time(&mut bytes, 5_000).unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().attributes, 0x18);
}

#[test]
fn patches_refuse_what_is_no_batch() {
    assert!(set_base_offset(&mut [0; 60], 1).is_err());
    assert!(set_partition_leader_epoch(&mut [], 1).is_err());
    assert!(set_log_append_time(&mut [0; 61], 1).is_err());
}

proptest! {
    #[test]
    fn increment_matches_kafkas_formula(
        sequence in 0..=i32::MAX,
        increment in 0..=i32::MAX,
    ) {
        let kafka = if sequence > i32::MAX - increment {
            increment - (i32::MAX - sequence) - 1
        } else {
            sequence + increment
        };
        prop_assert_eq!(increment_sequence(sequence, increment), kafka);
        prop_assert_eq!(decrement_sequence(kafka, increment), sequence);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        length in 0_i32..300,
        sound_frame: bool,
    ) {
        let mut bytes = bytes;
        if sound_frame && bytes.len() > MAGIC_POSITION {
            bytes[MAGIC_POSITION] = 2;
            bytes[LENGTH_POSITION..LENGTH_POSITION + 4].copy_from_slice(&length.to_be_bytes());
        }
        for batch in batch_refs(&bytes).flatten() {
            let header = batch.header();
            let _ = (header.next_offset(), header.last_sequence(), header.record_timestamp(i64::MAX));
            let _ = batch.verify_crc();
            if let Ok(plain) = batch.decompressed(DecompressLimit { max_bytes: 1_000 }) {
                prop_assert!(plain.iter().count() <= bytes.len() + 1);
            }
        }
        let _ = set_log_append_time(&mut bytes, 1);
        prop_assert!(batches(&Bytes::from(bytes)).count() <= 5);
    }
}

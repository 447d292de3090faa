//! Each rule of Produce, with the code that Kafka answers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::{
    super::batch::{
        ATTRIBUTES_POSITION, CRC_POSITION, LAST_OFFSET_DELTA_POSITION, MAX_TIMESTAMP_POSITION,
        NO_TIMESTAMP, RECORDS_COUNT_POSITION, compute_crc,
    },
    super::{compression::compress, record::Header},
    record_check::RECORD_VIOLATIONS_MAX,
    *,
};

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;
const ALL: [Compression; 5] = [
    Compression::None,
    Compression::Gzip(-1),
    Compression::Snappy,
    Compression::Lz4(9),
    Compression::Zstd(3),
];

fn policy() -> ProducePolicy {
    ProducePolicy {
        produce_version: 12,
        max_message_bytes: 1_048_588,
        compression: CompressionPolicy::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: HOUR,
        compacted: false,
        allow_control: false,
        max_decompressed_bytes: 10_000_000,
    }
}

fn append(builder: &mut BatchBuilder, offset_delta: i32, timestamp: i64) {
    let value = format!("value {offset_delta}");
    let (key, value) = (b"key", value.as_bytes());
    builder.append(offset_delta, timestamp, Some(key), Some(value), &[]).unwrap();
}

fn filled(mut builder: BatchBuilder, timestamps: &[i64]) -> BatchBuilder {
    for (delta, timestamp) in (0..).zip(timestamps) {
        append(&mut builder, delta, *timestamp);
    }
    builder
}

fn batch(compression: Compression, timestamps: &[i64]) -> Bytes {
    filled(BatchBuilder::new(compression), timestamps).build().unwrap()
}

/// Overwrites header bytes and makes the CRC right again.
fn tampered(bytes: &Bytes, position: usize, value: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[position..position + value.len()].copy_from_slice(value);
    let crc = compute_crc(&bytes).to_be_bytes();
    bytes[CRC_POSITION..ATTRIBUTES_POSITION].copy_from_slice(&crc);
    Bytes::from(bytes)
}

fn refused(bytes: &Bytes, policy: &ProducePolicy) -> ValidationError {
    validate_produce(bytes, policy, NOW).unwrap_err()
}

fn kind(bytes: &Bytes, policy: &ProducePolicy) -> ValidationErrorKind {
    refused(bytes, policy).kind
}

fn read(validated: &ValidatedRecords) -> Vec<(i32, i64, Vec<u8>)> {
    let mut stored = validated.bytes.to_vec();
    validated.stamp(&mut stored, 500, 8).unwrap();
    let batch = BatchRef::parse(&stored).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!((batch.header().base_offset, batch.header().partition_leader_epoch), (500, 8));
    assert_eq!(batch.header().max_timestamp, validated.max_timestamp);
    let plain = batch.decompressed(DecompressLimit { max_bytes: 1 << 24 }).unwrap();
    plain
        .iter()
        .map(|record| {
            let record = record.unwrap();
            let timestamp = batch.header().record_timestamp(record.timestamp_delta);
            (record.offset_delta, timestamp, record.value.unwrap_or_default().to_vec())
        })
        .collect()
}

#[test]
fn a_sound_batch_of_any_codec_passes_as_the_same_bytes() {
    for compression in ALL {
        let bytes = batch(compression, &[NOW - 3, NOW - 1, NOW - 2]);
        let validated = validate_produce(&bytes, &policy(), NOW).unwrap();
        assert_eq!(validated.bytes.as_ptr(), bytes.as_ptr());
        assert_eq!(validated.bytes.len(), bytes.len());
        assert!(!validated.rewritten);
        assert_eq!(validated.max_timestamp, NOW - 1);
        assert_eq!(validated.offset_delta_of_max_timestamp, 1);
        assert_eq!(validated.header.records_count, 3);
        let plain = BatchRef::parse(&bytes)
            .unwrap()
            .decompressed(DecompressLimit { max_bytes: 1_000 })
            .unwrap();
        assert_eq!(validated.uncompressed_bytes, plain.bytes().len() as u64);
        assert_eq!(read(&validated).len(), 3);
    }
}

#[test]
fn needs_exactly_one_batch() {
    let one = batch(Compression::None, &[NOW]);
    assert_eq!(kind(&Bytes::new(), &policy()), ValidationErrorKind::InvalidRecord);
    assert_eq!(kind(&one.slice(..one.len() - 1), &policy()), ValidationErrorKind::InvalidRecord);
    let two = Bytes::from([&one[..], &one[..]].concat());
    let error = refused(&two, &policy());
    assert_eq!(error.kind, ValidationErrorKind::InvalidRecord);
    assert!(error.message.contains("exactly one record batch"), "{error}");
}

#[test]
fn a_partial_second_batch_is_left_out_as_kafka_does() {
    let one = batch(Compression::None, &[NOW]);
    let blob = Bytes::from([&one[..], &one[..one.len() - 1]].concat());
    assert_eq!(validate_produce(&blob, &policy(), NOW).unwrap().bytes, one);
}

#[test]
fn old_message_formats_are_refused() {
    let good = batch(Compression::None, &[NOW]);
    for (magic, expected) in [
        (0, ValidationErrorKind::InvalidRecord),
        (1, ValidationErrorKind::InvalidRecord),
        (3, ValidationErrorKind::CorruptMessage),
        (0xff, ValidationErrorKind::CorruptMessage),
    ] {
        let mut bytes = good.to_vec();
        bytes[MAGIC_POSITION] = magic;
        assert_eq!(kind(&Bytes::from(bytes), &policy()), expected, "{magic}");
    }
}

#[test]
fn impossible_lengths_are_corrupt() {
    let good = batch(Compression::None, &[NOW]);
    for length in [0, -1, 13, 14, 48] {
        let mut bytes = good.to_vec();
        let field = LENGTH_POSITION..LENGTH_POSITION + 4;
        bytes[field].copy_from_slice(&i32::to_be_bytes(length));
        // Leave nothing behind that could count as a second batch.
        bytes.truncate(LOG_OVERHEAD + 49);
        let kind = kind(&Bytes::from(bytes), &policy());
        assert_eq!(kind, ValidationErrorKind::CorruptMessage, "{length}");
    }
}

#[test]
fn a_wrong_crc_is_corrupt() {
    for compression in ALL {
        let mut bytes = batch(compression, &[NOW]).to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let kind = kind(&Bytes::from(bytes), &policy());
        assert_eq!(kind, ValidationErrorKind::CorruptMessage);
    }
}

#[test]
fn the_size_limit_counts_the_whole_batch() {
    let bytes = batch(Compression::None, &[NOW]);
    let exact = ProducePolicy { max_message_bytes: bytes.len(), ..policy() };
    assert!(validate_produce(&bytes, &exact, NOW).is_ok());
    let less = ProducePolicy { max_message_bytes: bytes.len() - 1, ..policy() };
    assert_eq!(kind(&bytes, &less), ValidationErrorKind::MessageTooLarge);
}

#[test]
fn base_offset_must_be_zero() {
    let builder = BatchBuilder::new(Compression::None).base_offset(1);
    let bytes = filled(builder, &[NOW]).build().unwrap();
    assert_eq!(kind(&bytes, &policy()), ValidationErrorKind::InvalidRecord);
}

#[test]
fn count_and_offset_range_must_agree() {
    for compression in ALL {
        let good = batch(compression, &[NOW, NOW]);
        let count = |count: i32| tampered(&good, RECORDS_COUNT_POSITION, &count.to_be_bytes());
        let delta = |delta: i32| tampered(&good, LAST_OFFSET_DELTA_POSITION, &delta.to_be_bytes());
        for bytes in [count(0), count(-1), count(1), count(3), delta(0), delta(-1), delta(5)] {
            assert_eq!(kind(&bytes, &policy()), ValidationErrorKind::InvalidRecord);
        }
        // Both changed alike: the records themselves tell.
        for both in [1_i32, 3, i32::MAX] {
            let delta = (both - 1).to_be_bytes();
            let bytes = tampered(&count(both), LAST_OFFSET_DELTA_POSITION, &delta);
            let kind = kind(&bytes, &policy());
            assert_eq!(kind, ValidationErrorKind::InvalidRecord, "{compression:?} {both}");
        }
    }
}

#[test]
fn control_batches_are_for_the_broker_only() {
    let bytes = filled(BatchBuilder::new(Compression::None).control(true), &[NOW]).build().unwrap();
    assert_eq!(kind(&bytes, &policy()), ValidationErrorKind::InvalidRecord);
    let broker = ProducePolicy {
        allow_control: true,
        compression: CompressionPolicy::Fixed(Compression::Zstd(3)),
        ..policy()
    };
    let validated = validate_produce(&bytes, &broker, NOW).unwrap();
    assert_eq!(validated.bytes, bytes, "control records stay uncompressed");
}

#[test]
fn producers_need_sequences_and_transactions_need_producers() {
    let build = |builder: BatchBuilder| filled(builder, &[NOW]).build().unwrap();
    let new = || BatchBuilder::new(Compression::None);
    let no_sequence = build(new().producer(5, 0, -1));
    assert_eq!(kind(&no_sequence, &policy()), ValidationErrorKind::InvalidRecord);
    let no_producer = build(new().transactional(true));
    assert_eq!(kind(&no_producer, &policy()), ValidationErrorKind::InvalidRecord);
    let sound = build(new().producer(5, 0, i32::MAX).transactional(true));
    assert!(validate_produce(&sound, &policy(), NOW).is_ok());
}

#[test]
fn zstd_needs_produce_version_seven() {
    let bytes = batch(Compression::Zstd(3), &[NOW]);
    let policy = |produce_version| ProducePolicy { produce_version, ..policy() };
    let expected = ValidationErrorKind::UnsupportedCompressionType;
    assert_eq!(kind(&bytes, &policy(6)), expected);
    assert!(validate_produce(&bytes, &policy(7), NOW).is_ok());
    assert!(validate_produce(&batch(Compression::Lz4(1), &[NOW]), &policy(3), NOW).is_ok());
}

#[test]
fn unknown_codecs_are_unsupported() {
    let bytes = tampered(&batch(Compression::None, &[NOW]), ATTRIBUTES_POSITION, &[0, 5]);
    assert_eq!(kind(&bytes, &policy()), ValidationErrorKind::UnsupportedCompressionType);
}

#[test]
fn garbage_inside_a_right_crc_is_an_invalid_record() {
    for codec in 1..=4 {
        let bytes = tampered(&batch(Compression::None, &[NOW]), ATTRIBUTES_POSITION, &[0, codec]);
        assert_eq!(kind(&bytes, &policy()), ValidationErrorKind::InvalidRecord, "{codec}");
    }
}

#[test]
fn compacted_topics_need_keys_and_name_the_records_without() {
    for compression in ALL {
        let mut builder = BatchBuilder::new(compression);
        builder.append(0, NOW, Some(b""), None, &[]).unwrap();
        builder.append(1, NOW, None, Some(b"v"), &[]).unwrap();
        builder.append(2, NOW, None, None, &[]).unwrap();
        let bytes = builder.build().unwrap();
        assert!(validate_produce(&bytes, &policy(), NOW).is_ok());
        let error = refused(&bytes, &ProducePolicy { compacted: true, ..policy() });
        assert_eq!(error.kind, ValidationErrorKind::InvalidRecord);
        let indexes: Vec<_> = error.record_errors.iter().map(|bad| bad.batch_index).collect();
        assert_eq!(indexes, [1, 2]);
        assert!(error.message.contains("due to 2 record errors"), "{error}");
    }
}

#[test]
fn timestamps_must_be_in_the_window() {
    let window = ProducePolicy { timestamp_before_max_ms: HOUR, ..policy() };
    for compression in ALL {
        let edges = batch(compression, &[NOW - HOUR, NOW + HOUR, NO_TIMESTAMP]);
        assert!(validate_produce(&edges, &window, NOW).is_ok());
        let outside = batch(compression, &[NOW, NOW - HOUR - 1, NOW + HOUR + 1]);
        let error = refused(&outside, &window);
        assert_eq!(error.kind, ValidationErrorKind::InvalidTimestamp);
        let indexes: Vec<_> = error.record_errors.iter().map(|bad| bad.batch_index).collect();
        assert_eq!(indexes, [1, 2]);
        let append_time = ProducePolicy { timestamp_type: TimestampType::LogAppendTime, ..window };
        assert!(validate_produce(&outside, &append_time, NOW).is_ok());
    }
}

#[test]
fn times_that_no_clock_ever_showed_are_out_of_the_window() {
    let bytes = batch(Compression::None, &[i64::MAX, i64::MIN, 0, -2]);
    let error = refused(&bytes, &policy());
    let indexes: Vec<_> = error.record_errors.iter().map(|bad| bad.batch_index).collect();
    assert_eq!(indexes, [0, 1], "i64::MIN wraps around to the future, as in Kafka");
    assert!(validate_produce(&bytes, &policy(), i64::MIN).is_err());
}

#[test]
fn the_client_must_not_claim_append_time() {
    let bytes = filled(BatchBuilder::new(Compression::None).log_append_time(NOW), &[NOW]);
    let bytes = bytes.build().unwrap();
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let policy = ProducePolicy { timestamp_type, ..policy() };
        assert_eq!(kind(&bytes, &policy), ValidationErrorKind::InvalidTimestamp);
    }
}

#[test]
fn append_time_replaces_every_timestamp_when_stamped() {
    let policy = ProducePolicy { timestamp_type: TimestampType::LogAppendTime, ..policy() };
    for compression in ALL {
        let bytes = batch(compression, &[NOW - 50, NOW - 40]);
        let validated = validate_produce(&bytes, &policy, NOW).unwrap();
        assert_eq!(validated.bytes, bytes);
        assert_eq!((validated.max_timestamp, validated.offset_delta_of_max_timestamp), (NOW, 0));
        assert_eq!(validated.log_append_time(), Some(NOW));
        assert!(read(&validated).iter().all(|(_, timestamp, _)| *timestamp == NOW));
    }
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    for compression in ALL {
        let good = batch(compression, &[NOW - 9, NOW - 5]);
        let bytes = tampered(&good, MAX_TIMESTAMP_POSITION, &(NOW + 77).to_be_bytes());
        let validated = validate_produce(&bytes, &policy(), NOW).unwrap();
        assert_eq!(validated.bytes, good, "the very batch that a right client sends");
        assert_eq!((validated.max_timestamp, validated.header.max_timestamp), (NOW - 5, NOW - 5));
        assert_eq!((validated.rewritten, validated.log_append_time()), (false, None));
    }
}

#[test]
fn offset_deltas_must_count_from_zero_without_gaps() {
    for compression in ALL {
        let mut builder = BatchBuilder::new(compression);
        for delta in [0, 0, 2, 5] {
            append(&mut builder, delta, NOW);
        }
        let bytes =
            tampered(&builder.build().unwrap(), LAST_OFFSET_DELTA_POSITION, &3_i32.to_be_bytes());
        for target in [CompressionPolicy::Producer, CompressionPolicy::Fixed(Compression::Zstd(1))]
        {
            let error = refused(&bytes, &ProducePolicy { compression: target, ..policy() });
            assert_eq!(error.kind, ValidationErrorKind::InvalidRecord);
            let indexes: Vec<_> = error.record_errors.iter().map(|bad| bad.batch_index).collect();
            assert_eq!(indexes, [1, 3]);
        }
    }
}

#[test]
fn the_topics_codec_is_applied_only_where_it_differs() {
    for source in ALL {
        for target in ALL {
            let builder = BatchBuilder::new(source).producer(7, 1, 20).transactional(true);
            let bytes = filled(builder, &[NOW - 2, NOW - 1]).build().unwrap();
            for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
                let compression = CompressionPolicy::Fixed(target);
                let policy = ProducePolicy { compression, timestamp_type, ..policy() };
                let validated = validate_produce(&bytes, &policy, NOW).unwrap();
                let same = source.compression_type() == target.compression_type();
                assert_eq!(validated.rewritten, !same);
                assert_eq!(validated.bytes == bytes, same);
                let header = validated.header;
                assert_eq!(header.compression().unwrap(), target.compression_type());
                assert!(header.is_transactional());
                assert_eq!((header.producer_id, header.base_sequence), (7, 20));
                let records = read(&validated);
                assert_eq!(records[1].2, b"value 1");
                let expected = match timestamp_type {
                    TimestampType::CreateTime => NOW - 1,
                    TimestampType::LogAppendTime => NOW,
                };
                assert_eq!(records[1].1, expected);
            }
        }
    }
}

#[test]
fn a_batch_that_grows_past_the_limit_by_rewriting_is_too_large() {
    let mut builder = BatchBuilder::new(Compression::Gzip(-1));
    builder.append(0, NOW, None, Some(&[0; 10_000]), &[]).unwrap();
    let bytes = builder.build().unwrap();
    let compression = CompressionPolicy::Fixed(Compression::None);
    let policy = ProducePolicy { compression, max_message_bytes: 5_000, ..policy() };
    assert_eq!(kind(&bytes, &policy), ValidationErrorKind::MessageTooLarge);
}

#[test]
fn a_bomb_stops_at_the_decompression_limit() {
    for compression in &ALL[1..] {
        let mut builder = BatchBuilder::new(*compression);
        builder.append(0, NOW, None, Some(&vec![0; 8 << 20]), &[]).unwrap();
        let bytes = builder.build().unwrap();
        for compression in
            [CompressionPolicy::Producer, CompressionPolicy::Fixed(Compression::None)]
        {
            let policy = ProducePolicy {
                max_message_bytes: 10 << 20,
                max_decompressed_bytes: 1 << 20,
                compression,
                ..policy()
            };
            assert_eq!(kind(&bytes, &policy), ValidationErrorKind::MessageTooLarge);
        }
    }
}

#[test]
fn a_million_bad_records_make_a_small_answer() {
    let mut builder = BatchBuilder::new(Compression::Zstd(1));
    for delta in 0..100_000 {
        builder.append(delta, NOW, None, None, &[]).unwrap();
    }
    let bytes = builder.build().unwrap();
    let error = refused(&bytes, &ProducePolicy { compacted: true, ..policy() });
    assert_eq!(error.record_errors.len(), RECORD_VIOLATIONS_MAX);
    assert!(error.message.contains("100000 record errors"), "{error}");
}

#[test]
fn codes_are_kafkas() {
    use ValidationErrorKind as Kind;
    let codes = [
        Kind::CorruptMessage,
        Kind::MessageTooLarge,
        Kind::InvalidTimestamp,
        Kind::UnsupportedCompressionType,
        Kind::InvalidRecord,
    ];
    assert_eq!(codes.map(Kind::code), [2, 10, 32, 76, 87]);
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic_and_what_passes_reads(
        body in prop::collection::vec(any::<u8>(), 0..200),
        attributes: i16,
        count in 0_i32..20,
    ) {
        let mut bytes = filled(BatchBuilder::new(Compression::None), &[NOW]).build().unwrap().to_vec();
        bytes.truncate(61);
        bytes.extend_from_slice(&body);
        let length = i32::try_from(bytes.len() - LOG_OVERHEAD).unwrap();
        bytes[LENGTH_POSITION..LENGTH_POSITION + 4].copy_from_slice(&length.to_be_bytes());
        let bytes = tampered(&Bytes::from(bytes), ATTRIBUTES_POSITION, &attributes.to_be_bytes());
        let bytes = tampered(&bytes, RECORDS_COUNT_POSITION, &count.to_be_bytes());
        let bytes =
            tampered(&bytes, LAST_OFFSET_DELTA_POSITION, &(count - 1).to_be_bytes());
        if let Ok(validated) = validate_produce(&bytes, &policy(), NOW) {
            prop_assert_eq!(read(&validated).len(), usize::try_from(count).unwrap());
        }
    }

    #[test]
    fn damaged_records_never_panic_and_what_passes_reads(
        position in 0_usize..200,
        flip: u8,
        which in 0_usize..5,
    ) {
        let good = batch(ALL[which], &[NOW, NOW - 1, NOW - 2]);
        let position = 61 + position % (good.len() - 61);
        let bytes = tampered(&good, position, &[good[position] ^ flip]);
        if let Ok(validated) = validate_produce(&bytes, &policy(), NOW) {
            prop_assert_eq!(read(&validated).len(), 3);
        }
    }

    #[test]
    fn a_codec_never_changes_the_verdict(
        position in 0_usize..200,
        bytes in prop::collection::vec(any::<u8>(), 0..4),
        cut in 0_usize..3,
    ) {
        let header = Header { key: b"h", value: Some(b"1") };
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(0, NOW - 1, Some(b"k"), Some(b"first"), &[header, header]).unwrap();
        builder.append(1, NOW, None, Some(b"second"), &[]).unwrap();
        let good = builder.build().unwrap();
        let mut plain = good[61..].to_vec();
        let position = position % plain.len();
        plain.splice(position..(position + cut).min(plain.len()), bytes);
        let verdicts: Vec<_> = ALL
            .iter()
            .map(|compression| {
                let body = compress(*compression, &plain).unwrap();
                let mut bytes = [&good[..61], &body].concat();
                let length = i32::try_from(bytes.len() - LOG_OVERHEAD).unwrap();
                bytes[LENGTH_POSITION..LENGTH_POSITION + 4].copy_from_slice(&length.to_be_bytes());
                let attributes = [0, compression.compression_type().id()];
                let bytes = tampered(&Bytes::from(bytes), ATTRIBUTES_POSITION, &attributes);
                let policy = ProducePolicy { compacted: true, ..policy() };
                validate_produce(&bytes, &policy, NOW)
                    .map(|validated| (read(&validated), validated.max_timestamp))
                    .map_err(|error| (error.kind, error.record_errors))
            })
            .collect();
        for verdict in &verdicts {
            prop_assert_eq!(verdict, &verdicts[0]);
        }
    }
}

//! Batches as Apache Kafka 4.3.1 stored them, from its Java producer and from librdkafka (kcat), one
//! file per codec in `testdata/records`. What real clients write must always read, and pass validation
//! unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;

use super::*;

const LIMIT: DecompressLimit = DecompressLimit { max_bytes: 10_000 };

macro_rules! golden {
    ($name:literal) => {
        Bytes::from_static(include_bytes!(concat!("../../testdata/records/", $name, ".bin")))
    };
}

struct Read {
    offset: i64,
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

fn read_all(log: &Bytes, codec: CompressionType) -> Vec<Read> {
    let mut all = Vec::new();
    for batch in batches(log) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let header = *batch.header();
        assert_eq!(header.compression(), Ok(codec));
        assert_eq!(header.partition_leader_epoch, 0);
        for record in &batch.borrowed().decompressed(LIMIT).unwrap() {
            let record = record.unwrap();
            let headers = record
                .headers
                .map(|header| (header.key.to_vec(), header.value.unwrap().to_vec()))
                .collect();
            all.push(Read {
                offset: header.base_offset + i64::from(record.offset_delta),
                key: record.key.unwrap().to_vec(),
                value: record.value.unwrap().to_vec(),
                headers,
            });
        }
    }
    all
}

/// As the producer sent it: base offset 0, no leader epoch (the CRC covers neither).
fn as_sent(batch: &Batch) -> Bytes {
    let mut bytes = batch.bytes().to_vec();
    set_base_offset(&mut bytes, 0).unwrap();
    set_partition_leader_epoch(&mut bytes, NO_PARTITION_LEADER_EPOCH).unwrap();
    Bytes::from(bytes)
}

fn policy() -> ProducePolicy {
    ProducePolicy {
        produce_version: 12,
        max_message_bytes: 10_000,
        compression: CompressionPolicy::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compacted: true,
        allow_control: false,
        max_decompressed_bytes: LIMIT.max_bytes,
    }
}

fn check_three_records(log: &Bytes, codec: CompressionType) {
    let records = read_all(log, codec);
    assert_eq!(records.len(), 3);
    for (record, offset) in records.iter().zip(0_i64..) {
        let number = offset + 1;
        assert_eq!(record.offset, offset);
        assert_eq!(record.key, format!("key{number}").into_bytes());
        assert_eq!(record.value, format!("value-{number}-{:0150}", 0).into_bytes());
        let header = |value: &[u8]| (b"h1".to_vec(), value.to_vec());
        assert_eq!(record.headers, [header(b"a"), header(b"b")]);
    }
    for batch in batches(log) {
        let batch = batch.unwrap();
        let sent = as_sent(&batch);
        let now_ms = batch.header().max_timestamp;
        let validated = validate_produce(&sent, &policy(), now_ms).unwrap();
        assert_eq!(validated.bytes.as_ptr(), sent.as_ptr());
        assert_eq!(validated.max_timestamp, batch.header().max_timestamp);
        let mut stored = validated.bytes.to_vec();
        validated.stamp(&mut stored, batch.header().base_offset, 0).unwrap();
        assert_eq!(stored, batch.bytes()[..], "stored as Kafka stored it");
    }
}

macro_rules! golden_tests {
    ($($test:ident: $file:literal, $codec:ident;)*) => {$(
        #[test]
        fn $test() {
            check_three_records(&golden!($file), CompressionType::$codec);
        }
    )*};
}

golden_tests! {
    java_none: "java-none", None;
    java_gzip: "java-gzip", Gzip;
    java_snappy: "java-snappy", Snappy;
    java_lz4: "java-lz4", Lz4;
    java_zstd: "java-zstd", Zstd;
    librdkafka_none: "librdkafka-none", None;
    librdkafka_gzip: "librdkafka-gzip", Gzip;
    librdkafka_snappy: "librdkafka-snappy", Snappy;
    librdkafka_lz4: "librdkafka-lz4", Lz4;
    librdkafka_zstd: "librdkafka-zstd", Zstd;
}

#[test]
fn java_transaction_ends_with_the_marker_that_we_would_write() {
    let log = golden!("java-transaction");
    let split: Vec<Batch> = batches(&log).collect::<Result<_, _>>().unwrap();
    let [data, marker] = &split[..] else { panic!("{} batches", split.len()) };
    data.verify_crc().unwrap();
    assert!(data.header().is_transactional() && !data.header().is_control());
    assert_eq!((data.header().base_sequence, data.header().last_sequence()), (0, 1));
    let header = marker.header();
    assert!(header.is_transactional() && header.is_control());

    let plain = marker.borrowed().decompressed(LIMIT).unwrap();
    let record = plain.iter().next().unwrap().unwrap();
    let decoded =
        EndTransactionMarker::decode(record.key.unwrap(), record.value.unwrap()).unwrap().unwrap();
    assert!(decoded.commit);
    let ours = encode_end_transaction_marker(
        header.producer_id,
        header.producer_epoch,
        header.max_timestamp,
        decoded,
    )
    .unwrap();
    let mut ours = ours.to_vec();
    set_base_offset(&mut ours, header.base_offset).unwrap();
    set_partition_leader_epoch(&mut ours, header.partition_leader_epoch).unwrap();
    assert_eq!(ours, marker.bytes()[..]);
}

#[test]
fn append_time_patch_gives_the_bytes_that_kafka_stored() {
    let log = golden!("java-log-append-time");
    let batch = Batch::parse(&log).unwrap();
    batch.verify_crc().unwrap();
    let stored = *batch.header();
    assert_eq!(stored.timestamp_type(), TimestampType::LogAppendTime);
    assert!(stored.base_timestamp < stored.max_timestamp);
    let mut sent = as_sent(&batch).to_vec();
    set_max_timestamp(&mut sent, TimestampType::CreateTime, stored.base_timestamp).unwrap();
    let policy = ProducePolicy {
        timestamp_type: TimestampType::LogAppendTime,
        compacted: false,
        ..policy()
    };
    let validated = validate_produce(&Bytes::from(sent), &policy, stored.max_timestamp).unwrap();
    let mut ours = validated.bytes.to_vec();
    validated.stamp(&mut ours, stored.base_offset, stored.partition_leader_epoch).unwrap();
    assert_eq!(ours, batch.bytes()[..]);
}

//! Round trips, and kafka-protocol's encoding of records as an oracle in both directions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use kafka_protocol::{indexmap::IndexMap, protocol::StrBytes, records as oracle};
use proptest::prelude::*;

use super::*;
use crate::records::{BatchRef, DecompressLimit, batch::TimestampType as OurTimestampType};

const LIMIT: DecompressLimit = DecompressLimit { max_bytes: 1 << 20 };

type OwnedHeaders = Vec<(String, Option<Vec<u8>>)>;

#[derive(Debug, Clone)]
struct OwnedRecord {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: OwnedHeaders,
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..200))
}

fn records() -> impl Strategy<Value = Vec<OwnedRecord>> {
    let headers = prop::collection::vec(("[a-c]{0,3}", bytes()), 0..4);
    let record =
        (0_i64..1 << 45, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| {
            OwnedRecord { timestamp, key, value, headers }
        });
    prop::collection::vec(record, 1..20)
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::None),
        (-1..=9_i32).prop_map(Compression::Gzip),
        Just(Compression::Snappy),
        Just(Compression::Lz4(9)),
        (-5..=5_i32).prop_map(Compression::Zstd),
    ]
}

fn build(compression: Compression, records: &[OwnedRecord]) -> Bytes {
    let mut builder = BatchBuilder::new(compression)
        .base_offset(1_000)
        .partition_leader_epoch(3)
        .producer(42, 7, 99);
    for (delta, record) in (0..).zip(records) {
        let headers: Vec<Header<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.append(delta, record.timestamp, key, value, &headers).unwrap();
    }
    builder.build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_reads_back(records in records(), compression in compression()) {
        let bytes = build(compression, &records);
        let batch = BatchRef::parse(&bytes).unwrap();
        prop_assert_eq!(batch.bytes().len(), bytes.len());
        batch.verify_crc().unwrap();
        let plain = batch.decompressed(LIMIT).unwrap();
        let read: Vec<_> = plain.iter().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), records.len());
        for ((delta, record), wrote) in (0..).zip(&read).zip(&records) {
            prop_assert_eq!(record.offset_delta, delta);
            let timestamp = batch.header().record_timestamp(record.timestamp_delta);
            prop_assert_eq!(timestamp, wrote.timestamp);
            prop_assert_eq!(record.key, wrote.key.as_deref());
            prop_assert_eq!(record.value, wrote.value.as_deref());
            let headers: OwnedHeaders = record
                .headers
                .map(|header| {
                    let key = String::from_utf8(header.key.to_vec()).unwrap();
                    (key, header.value.map(<[u8]>::to_vec))
                })
                .collect();
            prop_assert_eq!(&headers, &wrote.headers);
        }
        let total: usize = read.iter().map(|record| record.size_bytes).sum();
        prop_assert_eq!(total, plain.bytes().len());
    }

    #[test]
    fn the_oracle_reads_what_is_built(records in records()) {
        let mut bytes = build(Compression::None, &records);
        let set = oracle::RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert_eq!(set.records.len(), records.len());
        for ((offset, read), wrote) in (1_000..).zip(&set.records).zip(&records) {
            prop_assert_eq!(read.offset, offset);
            prop_assert_eq!(read.timestamp, wrote.timestamp);
            prop_assert_eq!((read.producer_id, read.producer_epoch), (42, 7));
            prop_assert_eq!(read.partition_leader_epoch, 3);
            prop_assert_eq!(read.key.as_deref(), wrote.key.as_deref());
            prop_assert_eq!(read.value.as_deref(), wrote.value.as_deref());
        }
    }

    #[test]
    fn what_the_oracle_writes_reads_back(records in records()) {
        let bytes = oracle_batch(&records);
        let batch = BatchRef::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        prop_assert_eq!(batch.header().base_sequence, 99);
        prop_assert_eq!(batch.header().timestamp_type(), OurTimestampType::CreateTime);
        let plain = batch.decompressed(LIMIT).unwrap();
        let read: Vec<_> = plain.iter().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (record, wrote) in read.iter().zip(&records) {
            let timestamp = batch.header().record_timestamp(record.timestamp_delta);
            prop_assert_eq!(timestamp, wrote.timestamp);
            prop_assert_eq!(record.key, wrote.key.as_deref());
            prop_assert_eq!(record.value, wrote.value.as_deref());
        }
    }
}

fn oracle_batch(records: &[OwnedRecord]) -> Bytes {
    let oracle_records: Vec<oracle::Record> = (0_i32..)
        .zip(records)
        .map(|(delta, record)| oracle::Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 3,
            producer_id: 42,
            producer_epoch: 7,
            timestamp_type: oracle::TimestampType::Creation,
            offset: 1_000 + i64::from(delta),
            sequence: 99 + delta,
            timestamp: record.timestamp,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| {
                    (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from))
                })
                .collect::<IndexMap<_, _>>(),
        })
        .collect();
    let mut out = bytes::BytesMut::new();
    let options =
        oracle::RecordEncodeOptions { version: 2, compression: oracle::Compression::None };
    oracle::RecordBatchEncoder::encode(&mut out, &oracle_records, &options).unwrap();
    out.freeze()
}

#[test]
fn an_empty_batch_keeps_the_offset_range_it_is_told() {
    let builder = BatchBuilder::new(Compression::None).base_offset(10).last_offset_delta(4);
    let bytes = builder.build().unwrap();
    let batch = BatchRef::parse(&bytes).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!((batch.header().last_offset(), batch.header().records_count), (14, 0));
    assert_eq!(batch.decompressed(LIMIT).unwrap().iter().count(), 0);
}

#[test]
fn a_compacted_batch_keeps_its_last_offset() {
    let mut builder = BatchBuilder::new(Compression::None).last_offset_delta(9);
    builder.append(3, 1, Some(b"k"), None, &[]).unwrap();
    assert_eq!(BatchRef::parse(&builder.build().unwrap()).unwrap().header().last_offset_delta, 9);
}

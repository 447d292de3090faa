//! What stays of single batches, rule by rule.

#![allow(clippy::unwrap_used)]

use protocol::records::{
    ATTRIBUTES_POSITION, BatchHeader, EndTransactionMarker, Header, encode_end_transaction_marker,
    set_base_offset,
};

use super::*;

const NOW_MS: i64 = 1_000_000;
const RETENTION_MS: i64 = 500;

/// A batch at `base_offset` with these keys and values.
fn batch(base_offset: i64, records: &[(&str, Option<&str>)]) -> Bytes {
    with(BatchBuilder::new(Compression::None).base_offset(base_offset), records)
}

fn with(mut builder: BatchBuilder, records: &[(&str, Option<&str>)]) -> Bytes {
    for (delta, (key, value)) in records.iter().enumerate() {
        let key = (!key.is_empty()).then_some(key.as_bytes());
        let value = value.map(str::as_bytes);
        let header = Header { key: b"h", value: Some(b"v") };
        builder.append(delta as i32, 100 + delta as i64, key, value, &[header]).unwrap();
    }
    builder.build().unwrap()
}

fn map(newest: &[(&str, i64)], latest_offset: i64) -> OffsetMap {
    let mut map = OffsetMap::new(1 << 16, (1, 2));
    for (key, offset) in newest {
        assert!(map.put(key.as_bytes(), *offset));
    }
    map.cover(latest_offset);
    map
}

fn filter(newest: &[(&str, i64)], latest_offset: i64) -> Filter {
    Filter::new(map(newest, latest_offset), Transactions::default(), NOW_MS, RETENTION_MS)
}

fn next(filter: &mut Filter, batch: &Bytes) -> Fate {
    filter.next(&BatchRef::parse(batch).unwrap(), false).unwrap()
}

fn rebuilt(fate: Fate) -> Bytes {
    match fate {
        Fate::Becomes(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

/// Offset, timestamp, key and whether there is a value.
fn records(bytes: &Bytes) -> Vec<(i64, i64, String, bool)> {
    let batch = BatchRef::parse(bytes).unwrap();
    batch.verify_crc().unwrap();
    let header = *batch.header();
    let plain = batch.decompressed(DECOMPRESS_LIMIT).unwrap();
    let read = |record: Record<'_>| {
        assert_eq!(record.headers.count(), 1);
        (
            header.base_offset + i64::from(record.offset_delta),
            header.record_timestamp(record.timestamp_delta),
            String::from_utf8(record.key.unwrap_or_default().to_vec()).unwrap(),
            record.value.is_some(),
        )
    };
    plain.iter().map(|record| read(record.unwrap())).collect()
}

#[test]
fn only_the_newest_record_of_a_key_stays_and_offsets_do_not_change() {
    let mut filter = filter(&[("a", 12), ("b", 11), ("c", 30)], 40);
    let bytes =
        batch(10, &[("a", Some("1")), ("b", Some("2")), ("a", Some("3")), ("c", Some("4"))]);
    let kept = rebuilt(next(&mut filter, &bytes));
    let expected = [(11, 101, "b".to_owned(), true), (12, 102, "a".to_owned(), true)];
    assert_eq!(records(&kept), expected);
    let header = BatchHeader::parse(&kept).unwrap();
    assert_eq!((header.base_offset, header.last_offset()), (10, 13));
}

#[test]
fn a_batch_of_newest_records_stays_as_it_is() {
    let mut filter = filter(&[("a", 10), ("b", 11)], 40);
    assert_eq!(next(&mut filter, &batch(10, &[("a", Some("1")), ("b", Some("2"))])), Fate::Stays);
}

#[test]
fn a_batch_of_superseded_records_goes_unless_it_is_the_last() {
    let mut filter = filter(&[("a", 30)], 40);
    let builder = BatchBuilder::new(Compression::Zstd(3)).base_offset(10).producer(7, 2, 55);
    let bytes = with(builder, &[("a", Some("1")), ("a", Some("2"))]);
    assert_eq!(next(&mut filter, &bytes), Fate::Goes);
    let kept = rebuilt(filter.next(&BatchRef::parse(&bytes).unwrap(), true).unwrap());
    let header = BatchHeader::parse(&kept).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.records_count), (10, 11, 0));
    let producer = (header.producer_id, header.producer_epoch, header.last_sequence());
    assert_eq!((producer, header.max_timestamp), ((7, 2, 56), 101));
    // What has become a header goes with the next pass that finds it elsewhere.
    assert_eq!(next(&mut filter, &kept), Fate::Goes);
}

#[test]
fn what_the_map_does_not_account_for_stays() {
    let mut filter = filter(&[("a", 30)], 30);
    assert_eq!(next(&mut filter, &batch(31, &[("a", Some("1")), ("", Some("2"))])), Fate::Stays);
    assert_eq!(next(&mut filter, &batch(5, &[("z", Some("1"))])), Fate::Stays);
}

#[test]
fn records_without_a_key_go() {
    let mut filter = filter(&[], 40);
    let kept = rebuilt(next(&mut filter, &batch(10, &[("", Some("1")), ("b", Some("2"))])));
    assert_eq!(records(&kept), [(11, 101, "b".to_owned(), true)]);
}

#[test]
fn a_tombstone_waits_for_the_deadline_that_the_first_pass_set() {
    let newest = [("a", 10), ("b", 11)];
    let bytes = batch(10, &[("a", None), ("b", Some("2"))]);
    let kept = rebuilt(next(&mut filter(&newest, 40), &bytes));
    let header = BatchHeader::parse(&kept).unwrap();
    assert!(header.has_delete_horizon());
    assert_eq!(header.base_timestamp, NOW_MS + RETENTION_MS);
    let both = [(10, 100, "a".to_owned(), false), (11, 101, "b".to_owned(), true)];
    assert_eq!(records(&kept), both);

    let at = |now_ms| Filter::new(map(&newest, 40), Transactions::default(), now_ms, RETENTION_MS);
    assert_eq!(next(&mut at(NOW_MS + RETENTION_MS - 1), &kept), Fate::Stays);
    let after = rebuilt(next(&mut at(NOW_MS + RETENTION_MS), &kept));
    assert_eq!(records(&after), [(11, 101, "b".to_owned(), true)]);
    // The deadline stays with the batch, as in Kafka.
    assert_eq!(BatchHeader::parse(&after).unwrap().base_timestamp, NOW_MS + RETENTION_MS);
}

#[test]
fn codec_producer_and_append_time_survive_a_rebuild() {
    let codecs =
        [Compression::Gzip(6), Compression::Snappy, Compression::Lz4(9), Compression::Zstd(3)];
    for codec in codecs {
        let builder = BatchBuilder::new(codec)
            .base_offset(10)
            .producer(7, 2, 55)
            .partition_leader_epoch(9)
            .log_append_time(777);
        let bytes = with(builder, &[("a", Some("1")), ("b", Some("2"))]);
        let kept = rebuilt(next(&mut filter(&[("a", 30)], 40), &bytes));
        let (before, after) =
            (BatchHeader::parse(&bytes).unwrap(), BatchHeader::parse(&kept).unwrap());
        let facts = |h: &BatchHeader| {
            (
                h.attributes,
                h.partition_leader_epoch,
                (h.producer_id, h.producer_epoch, h.base_sequence, h.last_sequence()),
                h.max_timestamp,
            )
        };
        assert_eq!(facts(&after), facts(&before));
        assert_eq!(records(&kept), [(11, 777, "b".to_owned(), true)]);
    }
}

fn transactional(base_offset: i64, producer_id: i64, key: &str) -> Bytes {
    let builder = BatchBuilder::new(Compression::None)
        .base_offset(base_offset)
        .producer(producer_id, 0, 0)
        .transactional(true);
    with(builder, &[(key, Some("1"))])
}

fn marker(base_offset: i64, producer_id: i64, commit: bool) -> Bytes {
    let marker = EndTransactionMarker { commit, coordinator_epoch: 0 };
    let bytes = encode_end_transaction_marker(producer_id, 0, 1, marker).unwrap();
    let mut bytes = bytes.to_vec();
    set_base_offset(&mut bytes, base_offset).unwrap();
    bytes.into()
}

fn pass(aborted: &[AbortedRange], now_ms: i64) -> Filter {
    let transactions = Transactions::new(aborted.to_vec());
    Filter::new(map(&[], 100), transactions, now_ms, RETENTION_MS)
}

#[test]
fn aborted_records_go_first_then_the_index_forgets_then_the_marker_goes() {
    let range = AbortedRange { first_offset: 1, last_offset: 2, producer_id: 7 };
    let abort = marker(2, 7, false);
    // The records go, the marker stays for their readers.
    let mut first = pass(&[range], NOW_MS);
    assert_eq!(next(&mut first, &transactional(1, 7, "a")), Fate::Goes);
    assert_eq!(next(&mut first, &abort), Fate::Stays);
    assert_eq!(next(&mut first, &transactional(3, 7, "b")), Fate::Stays);
    assert_eq!(first.into_forgotten(), []);
    // Nothing of it was met: the marker begins to wait, and the index forgets.
    let mut second = pass(&[range], NOW_MS);
    let waiting = rebuilt(next(&mut second, &abort));
    assert_eq!(BatchHeader::parse(&waiting).unwrap().base_timestamp, NOW_MS + RETENTION_MS);
    assert_eq!(second.into_forgotten(), [range]);
    // While the index still names it, it stays however late it is.
    let late_ms = NOW_MS + RETENTION_MS;
    assert_eq!(next(&mut pass(&[range], late_ms), &waiting), Fate::Stays);
    assert_eq!(next(&mut pass(&[], late_ms - 1), &waiting), Fate::Stays);
    assert_eq!(next(&mut pass(&[], late_ms), &waiting), Fate::Goes);
}

#[test]
fn a_commit_marker_stays_as_long_as_a_batch_of_its_transaction() {
    let mut with_records = pass(&[], NOW_MS);
    assert_eq!(next(&mut with_records, &transactional(1, 7, "a")), Fate::Stays);
    assert_eq!(next(&mut with_records, &marker(2, 7, true)), Fate::Stays);
    let waiting = rebuilt(next(&mut pass(&[], NOW_MS), &marker(2, 7, true)));
    assert_eq!(next(&mut pass(&[], NOW_MS + RETENTION_MS), &waiting), Fate::Goes);
    let control = BatchHeader::parse(&waiting).unwrap();
    assert!(control.is_control() && control.is_transactional());
    assert_ne!(waiting[ATTRIBUTES_POSITION + 1] & 0x40, 0);
}

#[test]
fn only_the_producer_and_the_stretch_of_an_aborted_transaction_are_meant() {
    let range = AbortedRange { first_offset: 5, last_offset: 7, producer_id: 7 };
    let mut filter = pass(&[range], NOW_MS);
    assert_eq!(next(&mut filter, &transactional(3, 7, "a")), Fate::Stays);
    assert_eq!(next(&mut filter, &marker(4, 7, true)), Fate::Stays);
    assert_eq!(next(&mut filter, &transactional(5, 7, "b")), Fate::Goes);
    assert_eq!(next(&mut filter, &transactional(6, 8, "c")), Fate::Stays);
    assert_eq!(next(&mut filter, &marker(7, 7, false)), Fate::Stays);
    assert_eq!(next(&mut filter, &transactional(8, 7, "d")), Fate::Stays);
}

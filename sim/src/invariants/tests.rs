//! The checker catches fish: each wrong history breaks the rule that it should, and legal
//! look-alikes pass.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::BytesMut;
use common::TopicId;
use protocol::records::{Compression, set_base_offset, set_partition_leader_epoch};
use uuid::Uuid;

use super::*;
use crate::{
    model::Batch,
    payload::{self, Shape},
};

const KEY: PartitionKey = PartitionKey { topic_id: TopicId(Uuid::from_u128(1)), partition: 0 };
const RECORDS: i32 = 2;

/// A model that knows batches 1..=5 of two records each, sent once by one idempotent producer.
fn world() -> Model {
    let mut model = Model::new();
    model.add_partition(KEY);
    for id in 1..=5 {
        let base_sequence = (i32::try_from(id).unwrap() - 1) * RECORDS;
        send(&mut model, id, Some(Sequence { producer_id: 7, producer_epoch: 0, base_sequence }));
    }
    model
}

fn send(model: &mut Model, id: BatchId, sequence: Option<Sequence>) {
    let bytes = bytes(id, sequence);
    let records = i64::from(RECORDS);
    let fate = Fate::Unknown;
    let damaged = false;
    model.add_batch(id, Batch { key: KEY, bytes, records, damaged, sequence, attempts: 0, fate });
    model.sending(id);
}

fn bytes(id: BatchId, sequence: Option<Sequence>) -> Bytes {
    let compression = if id.is_multiple_of(2) { Compression::Lz4(9) } else { Compression::None };
    let shape = Shape { records: RECORDS, value_bytes: 10, compression, timestamp_ms: 1000 };
    payload::build(id, &shape, sequence).unwrap()
}

/// What a broker would store: the sent batches at these offsets.
fn stored(model: &Model, batches: &[(BatchId, i64)]) -> BytesMut {
    let mut log = BytesMut::new();
    for (id, offset) in batches {
        let mut batch = BytesMut::from(&model.batch(*id).unwrap().bytes[..]);
        set_base_offset(&mut batch, *offset).unwrap();
        set_partition_leader_epoch(&mut batch, 3).unwrap();
        log.extend_from_slice(&batch);
    }
    log
}

fn answered(records: BytesMut, high_watermark: i64) -> Answered {
    Answered {
        log_start: 0,
        last_stable: high_watermark,
        high_watermark,
        records: records.freeze(),
    }
}

fn read_at(model: &Model, offset: i64) -> Read {
    Read { key: KEY, offset, floors: model.floors(&KEY) }
}

fn read(model: &mut Model, batches: &[(BatchId, i64)]) -> Result<Vec<Found>, Violation> {
    let from = batches.first().map_or(0, |(_, offset)| *offset);
    let end = batches.last().map_or(0, |(_, offset)| *offset + i64::from(RECORDS));
    let answer = answered(stored(model, batches), end.max(model.floors(&KEY).high_watermark));
    let read = read_at(model, from);
    check_read(model, &read, &answer)
}

fn broken<T: fmt::Debug>(result: Result<T, Violation>) -> InvariantId {
    match result.unwrap_err().invariant {
        Broken::Invariant(id) => id,
        other => panic!("{other:?} is not an invariant"),
    }
}

#[test]
fn a_right_history_passes() {
    let mut model = world();
    model.acked(1, 0).unwrap();
    model.acked(2, 2).unwrap();
    let found = read(&mut model, &[(1, 0), (2, 2), (3, 4)]).unwrap();
    assert_eq!(found.len(), 3);
    check_whole(&model, &KEY, 0, &found).unwrap();
}

#[test]
fn an_unknown_batch_may_be_missing_and_a_late_one_may_appear() {
    let mut model = world();
    model.acked(1, 0).unwrap();
    let found = read(&mut model, &[(1, 0)]).unwrap();
    check_whole(&model, &KEY, 0, &found).unwrap();
    let found = read(&mut model, &[(1, 0), (2, 2)]).unwrap();
    check_whole(&model, &KEY, 0, &found).unwrap();
}

#[test]
fn a_lost_acknowledged_batch_breaks_log_1() {
    let mut model = world();
    model.acked(1, 0).unwrap();
    model.acked(2, 2).unwrap();
    let found = [Found { id: 1, base_offset: 0, last_offset: 1 }];
    assert_eq!(broken(check_whole(&model, &KEY, 0, &found)), InvariantId::Log1);
}

#[test]
fn a_batch_that_was_read_and_is_gone_breaks_log_1() {
    let mut model = world();
    read(&mut model, &[(1, 0)]).unwrap();
    assert_eq!(broken(check_whole(&model, &KEY, 0, &[])), InvariantId::Log1);
}

#[test]
fn deleted_records_may_be_gone_and_only_they() {
    let mut model = world();
    model.acked(1, 0).unwrap();
    model.acked(2, 2).unwrap();
    model.deleting_records(&KEY, 2);
    let found = [Found { id: 2, base_offset: 2, last_offset: 3 }];
    check_whole(&model, &KEY, 2, &found).unwrap();
    let floors = model.floors(&KEY);
    model.observe_offsets(&KEY, floors, Some(2), Some(4)).unwrap();
    let past = model.observe_offsets(&KEY, floors, Some(3), Some(4));
    assert_eq!(broken(past), InvariantId::Log1);
}

#[test]
fn an_acknowledged_offset_out_of_range_breaks_log_1() {
    let mut model = world();
    model.acked(1, 0).unwrap();
    let inside = read_at(&model, 1);
    assert_eq!(broken(check_out_of_range(&model, &inside)), InvariantId::Log1);
    check_out_of_range(&model, &read_at(&model, 3)).unwrap();
    model.deleting_records(&KEY, 2);
    check_out_of_range(&model, &inside).unwrap();
}

#[test]
fn an_acknowledgement_without_an_offset_breaks_log_1() {
    assert_eq!(broken(world().acked(1, -1)), InvariantId::Log1);
}

#[test]
fn two_batches_at_one_offset_break_log_2() {
    let mut model = world();
    model.acked(1, 0).unwrap();
    assert_eq!(broken(model.acked(2, 0)), InvariantId::Log2);
    let mut model = world();
    model.acked(1, 0).unwrap();
    assert_eq!(broken(model.acked(2, 1)), InvariantId::Log2);
    let mut model = world();
    model.acked(1, 1).unwrap();
    assert_eq!(broken(model.acked(2, 0)), InvariantId::Log2);
}

#[test]
fn another_value_than_the_acknowledged_one_breaks_log_2() {
    let mut model = world();
    model.acked(1, 0).unwrap();
    assert_eq!(broken(read(&mut model, &[(2, 0)])), InvariantId::Log2);
}

#[test]
fn a_gap_between_batches_breaks_log_5() {
    let mut model = world();
    assert_eq!(broken(read(&mut model, &[(1, 0), (2, 3)])), InvariantId::Log5);
}

#[test]
fn an_overlap_of_batches_breaks_log_5() {
    let mut model = world();
    assert_eq!(broken(read(&mut model, &[(1, 0), (2, 1)])), InvariantId::Log5);
}

#[test]
fn a_read_that_skips_its_offset_breaks_log_5() {
    let mut model = world();
    let answer = answered(stored(&model, &[(1, 4)]), 10);
    let read = read_at(&model, 2);
    assert_eq!(broken(check_read(&mut model, &read, &answer)), InvariantId::Log5);
}

#[test]
fn a_read_inside_a_batch_begins_with_that_batch() {
    let mut model = world();
    let answer = answered(stored(&model, &[(1, 0), (2, 2)]), 4);
    let read = read_at(&model, 1);
    assert_eq!(check_read(&mut model, &read, &answer).unwrap().len(), 2);
}

#[test]
fn offsets_that_move_back_break_log_4() {
    let mut model = world();
    model.acked(1, 0).unwrap();
    let floors = model.floors(&KEY);
    assert_eq!(floors.high_watermark, 2);
    let back = model.observe_offsets(&KEY, floors, None, Some(1));
    assert_eq!(broken(back), InvariantId::Log4);
    model.deleting_records(&KEY, 2);
    model.observe_offsets(&KEY, floors, Some(2), Some(2)).unwrap();
    let floors = model.floors(&KEY);
    let back = model.observe_offsets(&KEY, floors, Some(0), Some(2));
    assert_eq!(broken(back), InvariantId::Log4);
}

#[test]
fn an_answer_older_than_the_request_may_say_less_than_a_newer_one() {
    let mut model = world();
    let before = model.floors(&KEY);
    model.acked(1, 0).unwrap();
    model.observe_offsets(&KEY, before, None, Some(0)).unwrap();
    assert_eq!(model.floors(&KEY).high_watermark, 2);
}

#[test]
fn records_above_the_high_watermark_break_log_4() {
    let mut model = world();
    let answer = answered(stored(&model, &[(1, 0), (2, 2)]), 3);
    let read = read_at(&model, 0);
    assert_eq!(broken(check_read(&mut model, &read, &answer)), InvariantId::Log4);
}

#[test]
fn a_last_stable_offset_above_the_high_watermark_breaks_log_4() {
    let mut model = world();
    let answer = Answered { last_stable: 5, ..answered(stored(&model, &[(1, 0)]), 2) };
    let read = read_at(&model, 0);
    assert_eq!(broken(check_read(&mut model, &read, &answer)), InvariantId::Log4);
}

#[test]
fn a_changed_byte_breaks_log_6() {
    let model = world();
    let log = stored(&model, &[(1, 0)]);
    for at in CRC_POSITION..log.len() {
        let mut model = world();
        let mut log = log.clone();
        log[at] ^= 0x40;
        let read = read_at(&model, 0);
        let result = check_read(&mut model, &read, &answered(log, 2));
        assert!(result.is_err(), "byte {at}");
    }
}

#[test]
fn another_batch_with_a_right_crc_breaks_log_6() {
    let mut model = world();
    let mut forged = BytesMut::from(&bytes(1, None)[..]);
    set_base_offset(&mut forged, 0).unwrap();
    let read = read_at(&model, 0);
    let result = check_read(&mut model, &read, &answered(forged, 2));
    assert_eq!(broken(result), InvariantId::Log6);
}

#[test]
fn a_batch_that_nobody_sent_breaks_log_6() {
    let mut model = world();
    let foreign = BytesMut::from(&bytes(99, None)[..]);
    let read = read_at(&model, 0);
    let result = check_read(&mut model, &read, &answered(foreign, 2));
    assert_eq!(broken(result), InvariantId::Log6);
}

#[test]
fn a_refused_batch_that_is_read_breaks_log_6() {
    let mut model = world();
    model.refused(1);
    assert_eq!(broken(read(&mut model, &[(1, 0)])), InvariantId::Log6);
    let mut model = world();
    model.sending(1);
    model.refused(1);
    read(&mut model, &[(1, 0)]).unwrap();
}

#[test]
fn a_duplicate_of_an_idempotent_producer_breaks_idm_1() {
    let mut model = world();
    model.sending(1);
    assert_eq!(broken(read(&mut model, &[(1, 0), (1, 2)])), InvariantId::Idm1);
    let mut model = world();
    model.acked(1, 0).unwrap();
    assert_eq!(broken(model.acked(1, 2)), InvariantId::Idm1);
}

#[test]
fn a_plain_producers_retry_may_duplicate_but_not_more_often_than_it_was_sent() {
    let mut model = world();
    send(&mut model, 6, None);
    model.sending(6);
    read(&mut model, &[(6, 0), (6, 2)]).unwrap();
    assert_eq!(broken(read(&mut model, &[(6, 4)])), InvariantId::Idm1);
}

#[test]
fn a_reordered_producer_breaks_idm_2() {
    let mut model = world();
    let found = read(&mut model, &[(1, 0), (3, 2), (2, 4)]).unwrap();
    let result = check_whole(&model, &KEY, 0, &found[1..]);
    // Reading from the second batch on, the pinned first one is below the log start.
    assert!(result.is_err());
    let mut model = world();
    let found = read(&mut model, &[(2, 0), (1, 2)]).unwrap();
    assert_eq!(broken(check_whole(&model, &KEY, 0, &found)), InvariantId::Idm2);
}

#[test]
fn a_skipped_sequence_breaks_idm_3() {
    let mut model = world();
    let found = read(&mut model, &[(1, 0), (3, 2)]).unwrap();
    assert_eq!(broken(check_whole(&model, &KEY, 0, &found)), InvariantId::Idm3);
}

#[test]
fn a_new_epoch_begins_a_new_sequence() {
    let mut model = world();
    send(&mut model, 6, Some(Sequence { producer_id: 7, producer_epoch: 1, base_sequence: 0 }));
    let found = read(&mut model, &[(1, 0), (6, 2)]).unwrap();
    check_whole(&model, &KEY, 0, &found).unwrap();
}

#[test]
fn leader_epochs_that_fall_break_log_3() {
    let mut model = world();
    let mut log = stored(&model, &[(1, 0)]);
    let mut older = stored(&model, &[(2, 2)]);
    set_partition_leader_epoch(&mut older, 2).unwrap();
    log.extend_from_slice(&older);
    let read = read_at(&model, 0);
    assert_eq!(broken(check_read(&mut model, &read, &answered(log, 4))), InvariantId::Log3);
}

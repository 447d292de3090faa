//! Hand-written histories: each anomaly in at least two forms, and legal histories that look like one.

#![allow(clippy::unwrap_used)]

use super::super::event::value;
use super::AnomalyKind::*;
use super::*;

/// Sends of sender 1 are values 1, 2, 3 … as seen here.
fn v(counter: u64) -> u64 {
    value(1, counter)
}

fn invoke(values: &[u64]) -> Event {
    Event::new(1, Kind::Invoke, Function::Send, values, &[])
}

fn sent(values: &[u64], offsets: &[i64]) -> Event {
    Event::new(1, Kind::Ok, Function::Send, values, offsets)
}

fn failed(value: u64, error: &str) -> Event {
    let mut event = Event::new(1, Kind::Error, Function::Send, &[value], &[]);
    event.error = Some(error.to_owned());
    event
}

fn polled(values: &[u64], offsets: &[i64]) -> Event {
    polled_by(9, values, offsets)
}

fn polled_by(process: u32, values: &[u64], offsets: &[i64]) -> Event {
    Event::new(process, Kind::Ok, Function::Poll, values, offsets)
}

fn watermarks(process: u32, log_start: i64, high: i64) -> Event {
    let mut event = Event::new(process, Kind::Ok, Function::ListOffsets, &[], &[]);
    event.log_start = Some(log_start);
    event.high_watermark = Some(high);
    event
}

fn judge(idempotent: bool, events: &[Event]) -> Vec<AnomalyKind> {
    let mut checker = Checker::new(idempotent);
    for event in events {
        checker.observe(event);
    }
    let mut kinds: Vec<_> = checker.finish().anomalies.iter().map(|a| a.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[track_caller]
fn legal(events: &[Event]) {
    assert_eq!(judge(true, events), []);
}

#[track_caller]
fn shows(kind: AnomalyKind, events: &[Event]) {
    assert_eq!(judge(true, events), [kind]);
}

#[test]
fn a_log_read_back_as_acknowledged_is_legal() {
    legal(&[
        invoke(&[v(1), v(2)]),
        sent(&[v(1)], &[0]),
        sent(&[v(2)], &[1]),
        polled(&[v(1), v(2)], &[0, 1]),
    ]);
}

#[test]
fn an_unknown_outcome_may_be_there_or_not() {
    legal(&[
        invoke(&[v(1), v(2), v(3)]),
        failed(v(1), "_MSG_TIMED_OUT"),
        failed(v(2), "_MSG_TIMED_OUT"),
        sent(&[v(3)], &[1]),
        polled(&[v(2), v(3)], &[0, 1]),
    ]);
}

#[test]
fn a_send_that_was_never_answered_may_be_there() {
    legal(&[invoke(&[v(1)]), polled(&[v(1)], &[0])]);
}

#[test]
fn lost_write_below_what_was_read() {
    let events = [sent(&[v(1), v(2)], &[0, 1]), polled(&[v(2)], &[1])];
    shows(LostWrite, &events);
}

#[test]
fn lost_write_in_a_hole_that_a_second_reader_starts_behind() {
    shows(
        LostWrite,
        &[
            sent(&[v(1), v(2), v(3)], &[0, 1, 2]),
            polled_by(8, &[v(1)], &[0]),
            polled_by(9, &[v(3)], &[2]),
        ],
    );
}

#[test]
fn a_value_that_only_one_of_two_readers_saw_is_not_lost() {
    legal(&[
        sent(&[v(1), v(2)], &[0, 1]),
        polled_by(8, &[v(1)], &[0]),
        polled_by(9, &[v(2)], &[1]),
    ]);
}

#[test]
fn unseen_at_the_end_of_the_log() {
    shows(Unseen, &[sent(&[v(1), v(2)], &[0, 1]), polled(&[v(1)], &[0])]);
}

#[test]
fn unseen_when_nothing_was_read_at_all() {
    shows(Unseen, &[sent(&[v(1)], &[0])]);
}

#[test]
fn a_record_removed_below_the_log_start_is_neither_lost_nor_skipped() {
    legal(&[
        sent(&[v(1), v(2), v(3)], &[0, 1, 2]),
        polled(&[v(1)], &[0]),
        watermarks(9, 2, 3),
        polled(&[v(3)], &[2]),
    ]);
}

#[test]
fn duplicate_of_an_idempotent_producer() {
    shows(Duplicate, &[sent(&[v(1)], &[0]), polled(&[v(1), v(1)], &[0, 1])]);
}

#[test]
fn duplicate_seen_by_two_readers_apart() {
    shows(
        Duplicate,
        &[sent(&[v(1)], &[0]), polled_by(8, &[v(1)], &[0]), polled_by(9, &[v(1)], &[1])],
    );
}

#[test]
fn without_idempotence_duplicates_and_retries_out_of_order_are_legal() {
    let events =
        [sent(&[v(2)], &[0]), sent(&[v(1)], &[1]), polled(&[v(2), v(1), v(1)], &[0, 1, 2])];
    assert_eq!(judge(false, &events), []);
}

#[test]
fn reading_the_same_offset_twice_by_two_readers_is_no_duplicate() {
    legal(&[sent(&[v(1)], &[0]), polled_by(8, &[v(1)], &[0]), polled_by(9, &[v(1)], &[0])]);
}

#[test]
fn the_same_offset_in_two_partitions_is_no_inconsistency() {
    let mut elsewhere = sent(&[v(2)], &[0]);
    elsewhere.partition = 1;
    let mut read_elsewhere = polled(&[v(2)], &[0]);
    read_elsewhere.partition = 1;
    legal(&[sent(&[v(1)], &[0]), elsewhere, polled(&[v(1)], &[0]), read_elsewhere]);
}

#[test]
fn inconsistent_offsets_between_two_polls() {
    shows(InconsistentOffsets, &[polled_by(8, &[v(1)], &[0]), polled_by(9, &[v(2)], &[0])]);
}

#[test]
fn inconsistent_offsets_between_two_acknowledgements() {
    let kinds = judge(true, &[sent(&[v(1)], &[0]), sent(&[v(2)], &[0]), polled(&[v(1)], &[0])]);
    assert_eq!(kinds, [InconsistentOffsets]);
}

#[test]
fn inconsistent_offsets_after_a_crash_reused_an_acknowledged_offset() {
    let crash = Event::new(0, Kind::Info, Function::Crash, &[], &[]);
    let events = [sent(&[v(1)], &[0]), crash, sent(&[v(2)], &[0]), polled(&[v(2)], &[0])];
    assert!(judge(true, &events).contains(&InconsistentOffsets));
}

#[test]
fn spurious_offset_of_minus_one() {
    shows(SpuriousOffset, &[sent(&[v(1)], &[-1]), polled(&[v(1)], &[0])]);
}

#[test]
fn spurious_offset_that_is_missing() {
    shows(SpuriousOffset, &[sent(&[v(1)], &[]), polled(&[v(1)], &[0])]);
}

#[test]
fn spurious_offset_that_is_not_where_the_value_lies() {
    shows(SpuriousOffset, &[sent(&[v(1)], &[7]), polled(&[v(1)], &[0])]);
}

#[test]
fn offset_zero_is_not_spurious_when_the_value_lies_there() {
    legal(&[sent(&[v(1)], &[0]), polled(&[v(1)], &[0])]);
}

#[test]
fn failed_read_of_a_record_that_was_refused() {
    shows(
        FailedRead,
        &[invoke(&[v(1)]), failed(v(1), "MSG_SIZE_TOO_LARGE"), polled(&[v(1)], &[0])],
    );
}

#[test]
fn failed_read_of_a_record_that_never_left_the_client() {
    shows(FailedRead, &[invoke(&[v(1)]), failed(v(1), "_PURGE_QUEUE"), polled(&[v(1)], &[0])]);
}

#[test]
fn a_timed_out_send_that_is_read_did_not_fail() {
    legal(&[invoke(&[v(1)]), failed(v(1), "REQUEST_TIMED_OUT"), polled(&[v(1)], &[0])]);
}

#[test]
fn unknown_value_of_a_sender_whose_sends_are_recorded() {
    shows(UnknownValue, &[invoke(&[v(1)]), sent(&[v(1)], &[0]), polled(&[v(1), v(5)], &[0, 1])]);
}

#[test]
fn a_value_of_a_sender_that_recorded_nothing_is_not_unknown() {
    legal(&[invoke(&[v(1)]), sent(&[v(1)], &[0]), polled(&[v(1), value(2, 5)], &[0, 1])]);
}

#[test]
fn nonmonotonic_send_of_acknowledged_records() {
    shows(
        NonmonotonicSend,
        &[sent(&[v(2)], &[0]), sent(&[v(1)], &[1]), polled(&[v(2), v(1)], &[0, 1])],
    );
}

#[test]
fn nonmonotonic_send_around_an_unknown_outcome() {
    shows(
        NonmonotonicSend,
        &[
            invoke(&[v(1), v(2)]),
            failed(v(1), "_MSG_TIMED_OUT"),
            sent(&[v(2)], &[0]),
            polled(&[v(2), v(1)], &[0, 1]),
        ],
    );
}

#[test]
fn two_senders_interleave_legally() {
    let other = value(2, 1);
    legal(&[
        sent(&[v(5)], &[0]),
        Event::new(2, Kind::Ok, Function::Send, &[other], &[1]),
        sent(&[v(6)], &[2]),
        polled(&[v(5), other, v(6)], &[0, 1, 2]),
    ]);
}

#[test]
fn nonmonotonic_poll_goes_back() {
    shows(NonmonotonicPoll, &[polled(&[v(1), v(2)], &[0, 1]), polled(&[v(1)], &[0])]);
}

#[test]
fn nonmonotonic_poll_repeats_the_last_offset() {
    shows(NonmonotonicPoll, &[polled(&[v(1)], &[0]), polled(&[v(1), v(2)], &[0, 1])]);
}

#[test]
fn going_back_after_a_seek_is_legal() {
    let seek = Event::new(9, Kind::Ok, Function::Seek, &[], &[]);
    legal(&[polled(&[v(1), v(2)], &[0, 1]), seek, polled(&[v(1)], &[0])]);
}

#[test]
fn int_nonmonotonic_poll_inside_one_answer() {
    let kinds = judge(true, &[polled(&[v(2), v(1)], &[1, 0])]);
    assert!(kinds.contains(&InternalNonmonotonicPoll));
}

#[test]
fn int_nonmonotonic_poll_repeats_an_offset() {
    shows(InternalNonmonotonicPoll, &[polled(&[v(1), v(1)], &[0, 0])]);
}

#[test]
fn poll_skip_between_two_polls() {
    shows(
        PollSkip,
        &[
            polled_by(8, &[v(1), v(2), v(3)], &[0, 1, 2]),
            polled_by(9, &[v(1)], &[0]),
            polled_by(9, &[v(3)], &[2]),
        ],
    );
}

#[test]
fn poll_skip_inside_one_poll_of_a_record_known_later() {
    shows(PollSkip, &[polled_by(9, &[v(1), v(3)], &[0, 2]), polled_by(8, &[v(1), v(2)], &[0, 1])]);
}

#[test]
fn a_hole_that_nobody_ever_saw_a_record_in_is_legal() {
    // Control batches and compacted records take offsets that no reader gets.
    legal(&[
        sent(&[v(1)], &[0]),
        sent(&[v(2)], &[2]),
        polled(&[v(1)], &[0]),
        polled(&[v(2)], &[2]),
    ]);
}

#[test]
fn high_watermark_regress_of_one_client() {
    shows(HighWatermarkRegress, &[watermarks(9, 0, 5), watermarks(9, 0, 4)]);
}

#[test]
fn high_watermark_regress_between_poll_and_list_offsets() {
    let mut poll = polled(&[v(1)], &[0]);
    poll.high_watermark = Some(3);
    shows(HighWatermarkRegress, &[poll, watermarks(9, 0, 2)]);
}

#[test]
fn two_clients_may_see_the_high_watermark_in_either_order() {
    legal(&[watermarks(8, 0, 5), watermarks(9, 0, 4)]);
}

#[test]
fn log_start_regress_of_one_client() {
    shows(LogStartRegress, &[watermarks(9, 3, 5), watermarks(9, 2, 5)]);
    shows(LogStartRegress, &[watermarks(9, 1, 1), watermarks(9, 0, 1)]);
}

#[test]
fn the_report_counts_what_was_judged() {
    let mut checker = Checker::new(true);
    for event in [
        invoke(&[v(1), v(2), v(3)]),
        sent(&[v(1)], &[0]),
        failed(v(2), "_MSG_TIMED_OUT"),
        polled(&[v(1), v(2)], &[0, 1]),
    ] {
        checker.observe(&event);
    }
    let report = checker.finish();
    assert!(report.is_legal(), "{report}");
    assert_eq!((report.acknowledged, report.read), (1, 2));
    assert_eq!((report.unknown, report.unknown_found), (2, 1));
}

#[test]
fn events_read_back_from_their_lines() {
    let line = r#"{"process":1,"kind":"ok","f":"send","partition":2,"values":[7],"offsets":[3]}"#;
    let event: Event = serde_json::from_str(line).unwrap();
    assert_eq!((event.partition, event.f, event.offsets[0]), (2, Function::Send, 3));
    let again: Event = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
    assert_eq!(again, event);
}

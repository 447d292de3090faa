//! Windows, roll-backs, expiry; every step against a model.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::{append::AppendOrigin, error::AppendError};

mod model;
mod transactional;

const PID: ProducerId = ProducerId(9);
/// Nothing that these tests append is taken back for its offset.
const END: i64 = i64::MAX;

fn last_sequence(base: i32, count: i32) -> i32 {
    protocol::records::increment_sequence(base, count - 1)
}

fn append(epoch: i16, base: i32, count: i32) -> ProducerAppend {
    ProducerAppend {
        producer_id: PID,
        producer_epoch: epoch,
        base_sequence: base,
        last_sequence: last_sequence(base, count),
        transactional: false,
        origin: AppendOrigin::Client,
    }
}

/// A check that only sequences can fail.
fn check(state: &ProducerState, append: &ProducerAppend) -> Result<SequenceCheck, SequenceError> {
    state.check(append, None).map_err(|refused| match refused {
        AppendError::Sequence(refused) => refused,
        other => panic!("{other}"),
    })
}

/// A durable batch.
fn restore(state: &mut ProducerState, producer_id: ProducerId, batch: ProducerBatch) {
    state.append_tentative(producer_id, batch, false);
    state.mark_durable(i64::MAX);
}

fn batch(epoch: i16, base: i32, offset: i64) -> ProducerBatch {
    ProducerBatch {
        producer_epoch: epoch,
        base_sequence: base,
        last_sequence: base,
        base_offset: offset,
        last_offset: offset,
        timestamp: offset,
    }
}

#[test]
fn a_producer_without_state_may_start_anywhere() {
    assert_eq!(check(&ProducerState::default(), &append(3, 77, 1)), Ok(SequenceCheck::InOrder));
}

#[test]
fn rejects_a_stale_epoch_and_a_new_epoch_that_does_not_start_at_zero() {
    let mut state = ProducerState::default();
    restore(&mut state, PID, batch(2, 0, 0));
    assert!(matches!(check(&state, &append(1, 1, 1)), Err(SequenceError::StaleEpoch { .. })));
    assert!(matches!(check(&state, &append(3, 1, 1)), Err(SequenceError::OutOfOrder { .. })));
    assert_eq!(check(&state, &append(3, 0, 1)), Ok(SequenceCheck::InOrder));
}

#[test]
fn sequences_wrap_after_the_largest() {
    let mut state = ProducerState::default();
    restore(&mut state, PID, batch(0, i32::MAX, 0));
    assert_eq!(check(&state, &append(0, 0, 1)), Ok(SequenceCheck::InOrder));
    assert_eq!(last_sequence(i32::MAX, 2), 0);
}

#[test]
fn the_sixth_batch_back_is_out_of_order_not_a_duplicate() {
    let mut state = ProducerState::default();
    for n in 0..6 {
        state.append_tentative(PID, batch(0, n, i64::from(n)), false);
    }
    assert!(matches!(check(&state, &append(0, 0, 1)), Err(SequenceError::OutOfOrder { .. })));
    assert!(matches!(check(&state, &append(0, 1, 1)), Ok(SequenceCheck::Duplicate(_))));
}

#[test]
fn a_roll_back_returns_to_the_durable_window() {
    let mut state = ProducerState::default();
    for n in 0..5 {
        restore(&mut state, PID, batch(0, n, i64::from(n)));
    }
    for n in 5..12 {
        state.append_tentative(PID, batch(0, n, i64::from(n)), false);
    }
    state.append_tentative(PID, batch(1, 0, 12), false);
    state.roll_back(END);
    assert_eq!(check(&state, &append(0, 5, 1)), Ok(SequenceCheck::InOrder));
    assert!(matches!(check(&state, &append(0, 0, 1)), Ok(SequenceCheck::Duplicate(_))));
}

#[test]
fn a_producer_seen_only_tentatively_is_forgotten_by_a_roll_back() {
    let mut state = ProducerState::default();
    state.append_tentative(PID, batch(0, 0, 0), false);
    assert!(state.active().is_empty());
    state.roll_back(END);
    assert!(state.producers.is_empty());
}

#[test]
fn what_was_behind_a_producers_lost_first_batch_does_not_become_its_first() {
    let mut state = ProducerState::default();
    state.append_tentative(PID, batch(0, 0, 0), false);
    state.append_tentative(PID, batch(0, 1, 1), false);
    state.roll_back(END);
    assert!(matches!(check(&state, &append(0, 2, 1)), Err(SequenceError::OutOfOrder { .. })));
    assert_eq!(check(&state, &append(0, 0, 1)), Ok(SequenceCheck::InOrder));
    state.append_tentative(PID, batch(0, 0, 0), false);
    assert_eq!(check(&state, &append(0, 1, 1)), Ok(SequenceCheck::InOrder));
}

#[test]
fn what_is_behind_a_producers_refused_first_batch_does_not_become_its_first() {
    let mut state = ProducerState::default();
    state.note_refused(&append(0, 7, 1));
    state.note_refused(&append(0, 8, 1));
    assert!(matches!(check(&state, &append(0, 8, 1)), Err(SequenceError::OutOfOrder { .. })));
    assert_eq!(check(&state, &append(0, 7, 1)), Ok(SequenceCheck::InOrder));
    assert_eq!(check(&state, &append(1, 0, 1)), Ok(SequenceCheck::InOrder));
    state.expire(10, 5);
    state.expire(15, 5);
    assert!(matches!(check(&state, &append(0, 8, 1)), Err(SequenceError::OutOfOrder { .. })));
    state.expire(16, 5);
    assert_eq!(check(&state, &append(0, 8, 1)), Ok(SequenceCheck::InOrder));
}

#[test]
fn expiry_spares_tentative_and_recent_producers() {
    let mut state = ProducerState::default();
    restore(&mut state, PID, batch(0, 0, 5));
    restore(&mut state, ProducerId(3), batch(0, 0, 6));
    state.expire(100, 50);
    restore(&mut state, ProducerId(3), batch(0, 1, 7));
    state.append_tentative(ProducerId(2), batch(0, 0, 8), false);
    state.expire(150, 50);
    assert_eq!(state.active().len(), 2, "the first was idle for no longer than that");
    state.expire(151, 50);
    assert_eq!(state.producers.len(), 2);
    assert_eq!(state.active().len(), 1);
    state.mark_durable(100);
    state.expire(200, 50);
    state.expire(201, 50);
    assert!(state.active().is_empty());
}

#[test]
fn a_snapshot_says_when_producers_were_used_however_old_their_records_are() {
    let mut state = ProducerState::default();
    restore(&mut state, PID, batch(0, 0, 5));
    restore(&mut state, ProducerId(3), batch(0, 0, 6));
    state.expire(100, 50);
    restore(&mut state, PID, batch(0, 1, 7));
    let snapshot = state.snapshot(140);
    assert_eq!(snapshot.iter().map(|p| p.last_timestamp).collect::<Vec<_>>(), [100, 140]);

    let mut again = ProducerState::default();
    let restored =
        RestoredProducers { end_offset: 8, producers: snapshot, ..RestoredProducers::default() };
    again.restore_snapshot(restored, 8);
    again.expire(151, 50);
    assert_eq!(again.active().len(), 1, "the idle one had its time before the restart");
    again.expire(191, 50);
    assert!(again.active().is_empty());
}

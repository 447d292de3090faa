//! Kafka's rules for transactional batches, markers and verification, one by one.

use super::*;

fn transactional(epoch: i16, base: i32) -> ProducerAppend {
    ProducerAppend { transactional: true, ..append(epoch, base, 1) }
}

fn end(epoch: i16, commit: bool, coordinator_epoch: i32, version: i16) -> EndTransaction {
    EndTransaction {
        producer_id: PID,
        producer_epoch: epoch,
        commit,
        coordinator_epoch,
        transaction_version: version,
    }
}

fn verify(state: &mut ProducerState, epoch: i16, base: i32, bumps: bool) -> VerificationGuard {
    try_verify(state, epoch, base, bumps).unwrap().expect("nothing is open")
}

fn try_verify(
    state: &mut ProducerState,
    producer_epoch: i16,
    base_sequence: i32,
    supports_epoch_bump: bool,
) -> Result<Option<VerificationGuard>, AppendError> {
    let request = VerificationRequest {
        producer_id: PID,
        producer_epoch,
        base_sequence,
        supports_epoch_bump,
    };
    state.begin_verification(&request, 1_000)
}

/// A producer with a durable transaction of one batch at offset 0.
fn open(epoch: i16) -> ProducerState {
    let mut state = ProducerState::default();
    state.append_tentative(PID, batch(epoch, 0, 0), true);
    state.mark_durable(1);
    state
}

fn is_invalid_txn_state<T>(result: &Result<T, AppendError>) -> bool {
    matches!(result, Err(AppendError::InvalidTxnState { .. }))
}

fn is_stale<T>(result: &Result<T, AppendError>) -> bool {
    matches!(result, Err(AppendError::Sequence(SequenceError::StaleEpoch { .. })))
}

fn is_out_of_order<T>(result: &Result<T, AppendError>) -> bool {
    matches!(result, Err(AppendError::Sequence(SequenceError::OutOfOrder { .. })))
}

#[test]
fn the_first_batch_of_a_transaction_needs_the_guard_under_way() {
    let mut state = ProducerState::default();
    assert!(is_invalid_txn_state(&state.check(&transactional(0, 0), None)));
    let guard = verify(&mut state, 0, 0, true);
    assert_eq!(verify(&mut state, 0, 1, true), guard, "joined");
    assert!(is_invalid_txn_state(&state.check(&transactional(0, 0), None)));
    assert!(state.check(&transactional(0, 0), Some(guard)).is_ok());
    state.append_tentative(PID, batch(0, 0, 0), true);
    assert!(try_verify(&mut state, 0, 1, true).unwrap().is_none());
    assert!(state.check(&transactional(0, 1), None).is_ok());
}

#[test]
fn a_late_answer_does_not_open_the_next_transaction() {
    let mut state = ProducerState::default();
    let late = verify(&mut state, 0, 0, false);
    // The coordinator gives up on the transaction before the answer arrives.
    state.end_tentative(&end(0, false, 0, 1), 0, 0);
    assert!(is_invalid_txn_state(&state.check(&transactional(0, 0), Some(late))));
    let next = verify(&mut state, 0, 0, false);
    assert_ne!(late, next);
    assert!(is_invalid_txn_state(&state.check(&transactional(0, 0), Some(late))));
    assert!(state.check(&transactional(0, 0), Some(next)).is_ok());
}

#[test]
fn a_marker_leaves_the_next_transactions_verification_alone_where_epochs_are_bumped() {
    let mut state = open(0);
    let next = verify(&mut state, 1, 0, true);
    state.end_tentative(&end(1, true, 0, 2), 1, 0);
    assert!(state.check(&transactional(1, 0), Some(next)).is_ok());
    let mut state = open(0);
    let next = verify(&mut state, 1, 0, false);
    state.end_tentative(&end(1, true, 0, 1), 1, 0);
    assert!(is_invalid_txn_state(&state.check(&transactional(1, 0), Some(next))));
}

#[test]
fn a_verification_of_a_stale_epoch_is_refused() {
    assert!(is_stale(&try_verify(&mut open(3), 2, 0, true)));
}

#[test]
fn a_producer_without_state_that_bumps_epochs_begins_at_sequence_0() {
    let mut state = ProducerState::default();
    let guard = verify(&mut state, 0, 5, true);
    assert!(is_out_of_order(&state.check(&transactional(0, 5), Some(guard))));
    let mut state = ProducerState::default();
    let guard = verify(&mut state, 0, 5, false);
    assert!(state.check(&transactional(0, 5), Some(guard)).is_ok());
}

#[test]
fn what_is_above_the_lowest_sequence_verified_waits_for_it() {
    let mut state = ProducerState::default();
    let guard = verify(&mut state, 0, 7, false);
    verify(&mut state, 0, 5, false);
    assert!(is_out_of_order(&state.check(&transactional(0, 7), Some(guard))));
    assert!(state.check(&transactional(0, 5), Some(guard)).is_ok());
    // A new epoch begins anew.
    verify(&mut state, 1, 6, false);
    assert!(state.check(&transactional(1, 6), Some(guard)).is_ok());
}

#[test]
fn verifications_expire() {
    let mut state = ProducerState::default();
    let guard = verify(&mut state, 0, 0, true);
    state.expire(1_050, 50);
    assert!(state.check(&transactional(0, 0), Some(guard)).is_ok());
    state.expire(1_051, 50);
    assert!(is_invalid_txn_state(&state.check(&transactional(0, 0), Some(guard))));
}

#[test]
fn a_plain_batch_in_an_open_transaction_is_refused() {
    let mut state = open(0);
    assert!(is_invalid_txn_state(&state.check(&append(0, 1, 1), None)));
    state.end_tentative(&end(0, true, 0, 1), 1, 0);
    assert!(state.check(&append(0, 1, 1), None).is_ok());
}

#[test]
fn a_batch_of_a_newer_epoch_joins_the_transaction_that_is_open() {
    let mut state = open(0);
    let guard = verify(&mut state, 1, 0, false);
    assert!(state.check(&transactional(1, 0), Some(guard)).is_ok());
    state.append_tentative(PID, batch(1, 0, 1), true);
    assert_eq!(state.first_unstable(), Some(0));
}

#[test]
fn a_coordinators_batch_has_no_sequence_and_needs_a_guard() {
    let mut state = ProducerState::default();
    let coordinator = ProducerAppend {
        base_sequence: -1,
        last_sequence: -1,
        origin: AppendOrigin::Coordinator { log_end: 0 },
        ..transactional(0, 0)
    };
    assert!(is_invalid_txn_state(&state.check(&coordinator, None)));
    let guard = verify(&mut state, 0, -1, true);
    for offset in 0..2 {
        assert!(matches!(state.check(&coordinator, Some(guard)), Ok(SequenceCheck::InOrder)));
        state.append_tentative(PID, batch(0, -1, offset), true);
    }
    assert_eq!(state.first_unstable(), Some(0));
}

#[test]
fn a_marker_bumps_the_epoch_and_resets_sequences_from_version_2_on() {
    let mut state = open(4);
    assert!(state.check_end(&end(5, true, 0, 2)).is_ok());
    state.end_tentative(&end(5, true, 0, 2), 1, 0);
    assert!(is_stale(&state.check(&transactional(4, 1), None)));
    assert!(is_out_of_order(&state.check(&append(5, 1, 1), None)));
    assert!(state.check(&append(5, 0, 1), None).is_ok());
}

#[test]
fn a_marker_of_an_older_version_keeps_epoch_and_sequences() {
    let mut state = open(4);
    assert!(state.check_end(&end(4, true, 0, 1)).is_ok());
    state.end_tentative(&end(4, true, 0, 1), 1, 0);
    assert!(state.check(&append(4, 1, 1), None).is_ok());
    assert!(is_stale(&state.check_end(&end(3, true, 0, 1))));
}

#[test]
fn a_marker_of_version_2_in_the_open_transactions_epoch_is_late() {
    let mut state = open(4);
    assert!(is_stale(&state.check_end(&end(4, true, 0, 2))));
    assert!(is_stale(&state.check_end(&end(3, true, 0, 2))));
    state.end_tentative(&end(5, false, 0, 2), 1, 0);
    assert!(state.check_end(&end(5, false, 0, 2)).is_ok(), "the retry of a marker");
    assert!(open(i16::MAX).check_end(&end(i16::MAX, true, 0, 2)).is_ok(), "there is no next epoch");
}

#[test]
fn an_older_coordinator_is_fenced() {
    let mut state = open(0);
    state.end_tentative(&end(1, true, 7, 2), 1, 0);
    let fenced = state.check_end(&end(2, true, 6, 2));
    assert!(matches!(fenced, Err(AppendError::CoordinatorFenced { epoch: 6, current: 7, .. })));
    assert!(state.check_end(&end(2, true, 7, 2)).is_ok());
}

#[test]
fn a_marker_for_an_unknown_producer_gives_it_state() {
    let mut state = ProducerState::default();
    state.end_tentative(&end(3, false, 2, 2), 0, 50);
    assert!(state.active().is_empty(), "nothing is durable");
    state.mark_durable(1);
    let active = &state.active()[0];
    assert_eq!((active.producer_epoch, active.coordinator_epoch), (3, 2));
    assert!(active.batches.is_empty() && active.txn_first_offset.is_none());
    assert_eq!(state.first_unstable(), None);
    assert!(is_out_of_order(&state.check(&append(3, 4, 1), None)));
}

#[test]
fn a_roll_back_of_a_marker_reopens_the_transaction() {
    let mut state = open(0);
    state.end_tentative(&end(1, false, 3, 2), 1, 0);
    state.append_tentative(PID, batch(1, 0, 2), true);
    state.settle(1);
    state.roll_back(1);
    assert_eq!(state.first_unstable(), Some(0));
    assert!(state.check(&transactional(0, 1), None).is_ok());
    assert_eq!(state.active()[0].coordinator_epoch, -1);
    state.settle(i64::MAX);
    assert!(!state.transactions().has_aborted());
}

#[test]
fn a_roll_back_of_a_first_batch_closes_what_it_opened() {
    let mut state = ProducerState::default();
    restore(&mut state, PID, batch(0, 0, 0));
    state.append_tentative(PID, batch(0, 1, 1), true);
    state.roll_back(1);
    assert_eq!(state.first_unstable(), None);
    assert!(is_invalid_txn_state(&state.check(&transactional(0, 1), None)));
    assert!(state.check(&append(0, 1, 1), None).is_ok());
}

#[test]
fn a_producer_with_an_open_transaction_never_expires() {
    let mut state = open(0);
    state.expire(0, 50);
    state.expire(i64::MAX, 50);
    assert_eq!(state.active().len(), 1);
    state.end_tentative(&end(1, true, 0, 2), 1, 5);
    state.mark_durable(2);
    state.expire(0, 50);
    state.expire(i64::MAX, 50);
    assert!(state.active().is_empty());
}

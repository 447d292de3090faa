//! InitProducerId: new, known, resumed, exhausted, fenced, refused.

use super::*;

#[test]
fn a_new_id_gets_a_fresh_producer_id_and_epoch_0() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.init(None), Ok(producer(1001, 0)));
    let known = fixture.known();
    assert_eq!((known.state, known.timeout_ms), (TransactionState::Empty, 60_000));
    assert_eq!(known.previous_producer_id, Some(ProducerId(1001)));
    assert_eq!(known.start_ms, -1);
}

#[test]
fn a_new_id_takes_whoever_says_to_have_been_there_before() {
    // Its id has expired meanwhile, or the producer state of a partition was deleted.
    let mut fixture = Fixture::new();
    assert_eq!(fixture.init(Some(producer(5, 7))), Ok(producer(1001, 0)));
}

#[test]
fn each_producer_fences_the_one_before_by_its_epoch() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    assert_eq!(fixture.init(None), Ok(producer(1001, 1)));
    assert_eq!(fixture.add(first, &[0]), Err(ErrorCode::ProducerFenced));
    assert_eq!(fixture.end(first, true), Err(ErrorCode::ProducerFenced));
    assert_eq!(fixture.end_v1(first, true), Err(ErrorCode::ProducerFenced));
    assert_eq!(fixture.init(Some(first)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn a_producer_that_names_its_epoch_goes_on_and_may_repeat_that() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    assert_eq!(fixture.init(Some(first)), Ok(producer(1001, 1)));
    // The answer was lost.
    assert_eq!(fixture.init(Some(first)), Ok(producer(1001, 1)));
    assert_eq!(fixture.init(Some(producer(1001, 1))), Ok(producer(1001, 2)));
    assert_eq!(fixture.init(Some(first)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn a_retry_is_fenced_once_another_producer_has_come() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    assert_eq!(fixture.init(Some(first)), Ok(producer(1001, 1)));
    assert_eq!(fixture.init(None), Ok(producer(1001, 2)));
    assert_eq!(fixture.init(Some(first)), Err(ErrorCode::ProducerFenced));
    assert_eq!(fixture.init(Some(producer(1001, 1))), Err(ErrorCode::ProducerFenced));
}

#[test]
fn another_producer_id_is_fenced() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    assert_eq!(fixture.init(Some(producer(77, 0))), Err(ErrorCode::ProducerFenced));
}

#[test]
fn after_the_last_epoch_comes_another_producer_id() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    fixture.force(|known| known.producer_epoch = i16::MAX - 1);
    assert_eq!(fixture.init(None), Ok(producer(1002, 0)));
    // Nobody named the epoch, so nobody may repeat that.
    let exhausted = producer(1001, i16::MAX - 1);
    assert_eq!(fixture.init(Some(exhausted)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn a_producer_that_names_the_last_epoch_gets_another_id_and_may_repeat_that() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    fixture.force(|known| known.producer_epoch = i16::MAX - 1);
    let exhausted = producer(1001, i16::MAX - 1);
    assert_eq!(fixture.init(Some(exhausted)), Ok(producer(1002, 0)));
    assert_eq!(fixture.init(Some(exhausted)), Ok(producer(1002, 0)));
    assert_eq!(fixture.init(Some(producer(1001, 3))), Err(ErrorCode::ProducerFenced));
}

#[test]
fn the_bump_to_the_last_epoch_may_be_repeated() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    fixture.force(|known| known.producer_epoch = i16::MAX - 2);
    let before = producer(1001, i16::MAX - 2);
    assert_eq!(fixture.init(Some(before)), Ok(producer(1001, i16::MAX - 1)));
    assert_eq!(fixture.init(Some(before)), Ok(producer(1001, i16::MAX - 1)));
}

#[test]
fn an_open_transaction_is_aborted_first_and_its_producer_fenced() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0, 1]).unwrap();
    assert_eq!(fixture.init(None), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(fixture.state(), TransactionState::PrepareAbort);
    // Again, until the markers are there.
    assert_eq!(fixture.init(None), Err(ErrorCode::ConcurrentTransactions));
    let markers = fixture.complete();
    assert_eq!(markers.len(), 1);
    assert_eq!(markers[0].partitions, set(&[0, 1]));
    assert_eq!((markers[0].producer_epoch, markers[0].committed), (1, false));
    // The epoch of the abort is given to nobody.
    assert_eq!(fixture.init(None), Ok(producer(1001, 2)));
}

#[test]
fn a_stranger_cannot_abort_an_open_transaction() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    assert_eq!(fixture.init(Some(producer(77, 0))), Err(ErrorCode::ProducerFenced));
    assert_eq!(fixture.state(), TransactionState::Ongoing);
}

#[test]
fn fencing_the_last_epoch_rotates_the_producer_id() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    fixture.force(|known| known.producer_epoch = i16::MAX - 1);
    fixture.add(producer(1001, i16::MAX - 1), &[0]).unwrap();
    assert_eq!(fixture.init(None), Err(ErrorCode::ConcurrentTransactions));
    let markers = fixture.complete();
    assert_eq!((markers[0].producer_id.0, markers[0].producer_epoch), (1001, i16::MAX));
    assert_eq!(fixture.identity(), producer(1002, 0));
    assert_eq!(fixture.init(None), Ok(producer(1002, 1)));
}

#[test]
fn timeouts_must_be_positive_and_within_the_brokers_limit() {
    let mut fixture = Fixture::new();
    for (timeout_ms, expected) in [
        (0, Err(ErrorCode::InvalidTransactionTimeout)),
        (-1, Err(ErrorCode::InvalidTransactionTimeout)),
        (900_001, Err(ErrorCode::InvalidTransactionTimeout)),
        (900_000, Ok(())),
        (1, Ok(())),
    ] {
        let request = InitProducerId { timeout_ms, ..init_request(ID, None) };
        assert_eq!(fixture.init_with(&request).map(|_| ()), expected, "{timeout_ms}");
    }
}

#[test]
fn two_phase_commit_is_refused_unless_it_is_enabled() {
    let mut fixture = Fixture::new();
    let two_phase = InitProducerId { two_phase_commit: true, ..init_request(ID, None) };
    let refused = Err(ErrorCode::TransactionalIdAuthorizationFailed);
    assert_eq!(fixture.init_with(&two_phase), refused);

    let config = TransactionConfig { two_phase_commit: true, ..TransactionConfig::default() };
    let mut fixture = Fixture::with(config);
    let first = fixture.init_with(&two_phase).unwrap();
    fixture.add(first, &[0]).unwrap();
    fixture.driver.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(fixture.state(), TransactionState::Ongoing);
}

#[test]
fn keeping_a_prepared_transaction_and_an_empty_id_are_refused() {
    let mut fixture = Fixture::new();
    let keep = InitProducerId { keep_prepared: true, ..init_request(ID, None) };
    assert_eq!(fixture.init_with(&keep), Err(ErrorCode::UnsupportedVersion));
    assert_eq!(fixture.init_with(&init_request("", None)), Err(ErrorCode::InvalidRequest));
}

#[test]
fn the_epoch_before_an_end_may_be_named_even_after_a_load() {
    // The producer lost the answer of its EndTxn, and begins anew with the epoch that it knows.
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    fixture.end(first, true).unwrap();
    fixture.complete();
    fixture.reload();
    assert_eq!(fixture.init(Some(first)), Ok(producer(1001, 1)));
}

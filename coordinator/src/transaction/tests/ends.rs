//! EndTxn old and new, its repetitions, markers, timeouts, and a load in the middle.

use super::*;
use crate::transaction::markers::TimedOut;

#[test]
fn a_commit_bumps_the_epoch_and_is_complete_with_its_markers() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0, 3]).unwrap();
    assert_eq!(fixture.end(first, true), Ok(producer(1001, 1)));
    assert_eq!(fixture.state(), TransactionState::PrepareCommit);
    let markers = fixture.complete();
    assert_eq!(
        markers,
        [Markers {
            transactional_id: ID.to_owned(),
            decided_at: 2,
            producer_id: ProducerId(1001),
            producer_epoch: 1,
            committed: true,
            version: TransactionVersion::V2,
            partitions: set(&[0, 3]),
        }]
    );
    let known = fixture.known();
    assert_eq!((known.state, known.producer_epoch), (TransactionState::CompleteCommit, 1));
    assert!(known.partitions.is_empty());
}

#[test]
fn an_older_clients_end_keeps_the_epoch() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    for committed in [true, false] {
        fixture.add_with(&Fixture::add_request(first, &[0], TransactionVersion::V0)).unwrap();
        fixture.end_v1(first, committed).unwrap();
        let markers = fixture.complete();
        assert_eq!((markers[0].producer_epoch, markers[0].version), (0, TransactionVersion::V0));
        assert_eq!(fixture.identity(), first);
    }
}

#[test]
fn an_older_client_may_repeat_its_end_and_no_other() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    assert_eq!(fixture.end_v1(first, true), Err(ErrorCode::InvalidTxnState));
    assert_eq!(fixture.end_v1(first, false), Err(ErrorCode::InvalidTxnState));
    for committed in [true, false] {
        fixture.add(first, &[0]).unwrap();
        fixture.end_v1(first, committed).unwrap();
        for again in [true, false] {
            assert_eq!(fixture.end_v1(first, again), Err(ErrorCode::ConcurrentTransactions));
        }
        fixture.complete();
        assert_eq!(fixture.end_v1(first, committed), Ok(()));
        assert_eq!(fixture.end_v1(first, !committed), Err(ErrorCode::InvalidTxnState));
    }
}

#[test]
fn strangers_and_predecessors_end_nothing() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    let second = fixture.init(None).unwrap();
    fixture.add(second, &[0]).unwrap();
    let ahead = ProducerIdAndEpoch { producer_epoch: 2, ..second };
    for version in [TransactionVersion::V0, TransactionVersion::V2] {
        let mut end = |who| fixture.end_as(who, true, version);
        assert_eq!(end(producer(9, 1)), Err(ErrorCode::InvalidProducerIdMapping));
        assert_eq!(end(first), Err(ErrorCode::ProducerFenced));
        assert_eq!(end(ahead), Err(ErrorCode::ProducerFenced));
    }
    assert_eq!(fixture.state(), TransactionState::Ongoing);
}

/// What EndTxn of KIP-890 answers, row by row of the table in `end.rs`.
#[test]
fn a_repeated_end_is_known_by_its_epoch() {
    let fenced = Err(ErrorCode::ProducerFenced);
    let invalid = Err(ErrorCode::InvalidTxnState);
    let arrive = |ended: Option<bool>| {
        let mut fixture = Fixture::new();
        let mut now = fixture.init(None).unwrap();
        now = fixture.init(Some(now)).unwrap();
        if let Some(committed) = ended {
            fixture.add(now, &[0]).unwrap();
            now = fixture.end(now, committed).unwrap();
            fixture.complete();
        }
        (fixture, now)
    };
    // State before, then (committed, repeated) → answer in epochs from the current one.
    let same = Ok(0);
    let bumps = Ok(1);
    for (ended, answers) in [
        (
            None,
            [
                (false, true, fenced),
                (false, false, bumps),
                (true, true, fenced),
                (true, false, invalid),
            ],
        ),
        (
            Some(false),
            [
                (false, true, same),
                (false, false, bumps),
                (true, true, invalid),
                (true, false, invalid),
            ],
        ),
        (
            Some(true),
            [
                (false, true, invalid),
                (false, false, bumps),
                (true, true, same),
                (true, false, invalid),
            ],
        ),
    ] {
        for (committed, repeated, expected) in answers {
            let (mut fixture, now) = arrive(ended);
            let asked = ProducerIdAndEpoch {
                producer_epoch: now.producer_epoch - i16::from(repeated),
                ..now
            };
            let expected = expected.map(|bumped| ProducerIdAndEpoch {
                producer_epoch: now.producer_epoch + bumped,
                ..now
            });
            let case = format!("{ended:?}, commit {committed}, repeated {repeated}");
            assert_eq!(fixture.end(asked, committed), expected, "{case}");
        }
    }
}

#[test]
fn a_repeated_end_that_rotated_the_producer_id_is_known() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    fixture.force(|known| known.producer_epoch = i16::MAX - 1);
    let last = producer(1001, i16::MAX - 1);
    fixture.add(last, &[0]).unwrap();
    assert_eq!(fixture.end(last, true), Ok(producer(1002, 0)));
    assert_eq!(fixture.end(last, true), Err(ErrorCode::ConcurrentTransactions));
    let markers = fixture.complete();
    assert_eq!((markers[0].producer_id.0, markers[0].producer_epoch), (1001, i16::MAX));
    assert_eq!(fixture.end(last, true), Ok(producer(1002, 0)));
    assert_eq!(fixture.end(last, false), Err(ErrorCode::InvalidTxnState));
    fixture.add(producer(1002, 0), &[0]).unwrap();
    // A late request of the transaction before does not end this one.
    assert_eq!(fixture.end(last, true), Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn aborting_nothing_bumps_the_epoch_at_once() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    assert_eq!(fixture.end(first, false), Ok(producer(1001, 1)));
    assert_eq!(fixture.state(), TransactionState::CompleteAbort);
    assert_eq!(fixture.markers(), []);
    assert_eq!(fixture.end(first, false), Ok(producer(1001, 1)));
    fixture.force(|known| known.producer_epoch = i16::MAX - 1);
    assert_eq!(fixture.end(producer(1001, i16::MAX - 1), false), Ok(producer(1002, 0)));
}

/// TXN-4.
#[test]
fn a_late_end_never_ends_the_next_transaction() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    let second = fixture.end(first, true).unwrap();
    fixture.complete();
    fixture.add(second, &[0]).unwrap();
    for committed in [true, false] {
        assert_eq!(fixture.end(first, committed), Err(ErrorCode::ProducerFenced));
    }
    assert_eq!(fixture.state(), TransactionState::Ongoing);
}

#[test]
fn late_reports_of_markers_change_nothing() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    let second = fixture.end(first, true).unwrap();
    let markers = fixture.complete().remove(0);
    let before = fixture.driver.log.len();
    fixture.written(&markers);
    fixture.add(second, &[0]).unwrap();
    fixture.end(second, false).unwrap();
    fixture.written(&markers);
    assert_eq!(fixture.state(), TransactionState::PrepareAbort);
    assert_eq!(fixture.driver.log.len(), before + 2);
}

#[test]
fn a_load_completes_what_was_decided() {
    for committed in [true, false] {
        let mut fixture = Fixture::new();
        let first = fixture.init(None).unwrap();
        fixture.add(first, &[0, 1]).unwrap();
        let second = fixture.end(first, committed).unwrap();
        let asked = fixture.markers();
        fixture.reload();
        assert_eq!(fixture.complete(), asked);
        assert_eq!(fixture.identity(), second);
        fixture.reload();
        assert_eq!(fixture.markers(), []);
    }
}

/// TXN-3.
#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    fixture.driver.advance(TIMEOUT - Duration::from_millis(1));
    fixture.add(first, &[1]).unwrap();
    assert_eq!(fixture.state(), TransactionState::Ongoing);
    fixture.driver.advance(Duration::from_millis(1));
    assert_eq!(fixture.state(), TransactionState::PrepareAbort);
    let markers = fixture.complete();
    assert_eq!(markers[0].partitions, set(&[0, 1]));
    assert_eq!(fixture.end(first, true), Err(ErrorCode::InvalidTxnState));
    assert_eq!(fixture.add(first, &[0]), Err(ErrorCode::ProducerFenced));
    // Its abort is what has been done; and so it learns the epoch to go on with.
    assert_eq!(fixture.end(first, false), Ok(producer(1001, 1)));
}

#[test]
fn a_transaction_that_has_ended_does_not_time_out() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    let second = fixture.end(first, true).unwrap();
    fixture.driver.advance(TIMEOUT / 2);
    fixture.complete();
    fixture.add(second, &[0]).unwrap();
    fixture.driver.advance(TIMEOUT / 2);
    assert_eq!(fixture.state(), TransactionState::Ongoing);
    fixture.driver.advance(TIMEOUT / 2);
    assert_eq!(fixture.state(), TransactionState::PrepareAbort);
}

#[test]
fn a_timeout_survives_a_load() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    fixture.driver.advance(TIMEOUT / 2);
    fixture.reload();
    fixture.driver.advance(TIMEOUT / 2 - Duration::from_millis(1));
    assert_eq!(fixture.state(), TransactionState::Ongoing);
    fixture.driver.advance(Duration::from_millis(1));
    assert_eq!(fixture.state(), TransactionState::PrepareAbort);
}

#[test]
fn a_clock_that_jumps_does_not_stretch_a_timeout_over_a_load() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    // As if the transaction had begun in the future, by a clock that was put back since.
    fixture.force(|known| known.start_ms += 3_600_000);
    fixture.reload();
    fixture.driver.advance(TIMEOUT);
    assert_eq!(fixture.state(), TransactionState::PrepareAbort);
}

#[test]
fn a_timeout_that_takes_a_producer_id_asks_for_one_until_it_has_it() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    fixture.force(|known| known.producer_epoch = i16::MAX - 1);
    fixture.add(producer(1001, i16::MAX - 1), &[0]).unwrap();
    fixture.driver.advance(TIMEOUT);
    let timed_out = TimedOut {
        transactional_id: ID.to_owned(),
        producer_id: ProducerId(1001),
        producer_epoch: i16::MAX - 1,
    };
    assert_eq!(fixture.work.try_recv(), Ok(Work::Abort(timed_out.clone())));
    fixture.driver.advance(Duration::from_secs(10));
    assert_eq!(fixture.work.try_recv(), Ok(Work::Abort(timed_out.clone())));
    let fresh = fixture.fresh();
    for _ in 0..2 {
        fixture.driver.run(|shard, context| shard.abort_timed_out(context, &timed_out, fresh));
    }
    assert_eq!(fixture.complete().len(), 1);
    assert_eq!(fixture.identity(), producer(fresh.0, 0));
    assert_eq!(fixture.state(), TransactionState::CompleteAbort);
}

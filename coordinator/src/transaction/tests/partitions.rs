//! AddPartitionsToTxn and verification.

use super::*;

#[test]
fn the_first_partition_begins_the_transaction() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    let began_ms = fixture.driver.now_ms();
    fixture.add(first, &[0]).unwrap();
    fixture.driver.advance(Duration::from_secs(1));
    fixture.add(first, &[1, 2]).unwrap();
    let known = fixture.known();
    assert_eq!((known.state, known.partitions), (TransactionState::Ongoing, set(&[0, 1, 2])));
    assert_eq!((known.start_ms, known.last_update_ms), (began_ms, began_ms + 1000));
}

#[test]
fn partitions_that_are_in_already_cost_no_record() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0, 1]).unwrap();
    let before = fixture.driver.log.len();
    fixture.add(first, &[1]).unwrap();
    assert_eq!(fixture.driver.log.len(), before);
}

#[test]
fn only_the_current_producer_adds_partitions() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.add(producer(1, 0), &[0]), Err(ErrorCode::InvalidProducerIdMapping));
    let first = fixture.init(None).unwrap();
    assert_eq!(fixture.add(producer(1, 0), &[0]), Err(ErrorCode::InvalidProducerIdMapping));
    let ahead = ProducerIdAndEpoch { producer_epoch: 1, ..first };
    assert_eq!(fixture.add(ahead, &[0]), Err(ErrorCode::ProducerFenced));
    let nameless = AddPartitions {
        transactional_id: String::new(),
        ..Fixture::add_request(first, &[0], TransactionVersion::V0)
    };
    assert_eq!(fixture.add_with(&nameless), Err(ErrorCode::InvalidRequest));
}

#[test]
fn a_transaction_that_is_being_completed_comes_first_whoever_asks() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0]).unwrap();
    let second = fixture.end(first, true).unwrap();
    for anybody in [first, second, producer(1, 0)] {
        assert_eq!(fixture.add(anybody, &[0]), Err(ErrorCode::ConcurrentTransactions));
    }
    fixture.complete();
    assert_eq!(fixture.add(first, &[0]), Err(ErrorCode::ProducerFenced));
    assert_eq!(fixture.add(second, &[0]), Ok(()));
    assert_eq!(fixture.known().partitions, set(&[0]));
}

#[tokio::test]
async fn who_waits_for_a_completion_is_woken_by_it() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    assert!(fixture.driver.shard.completion(ID).is_none());
    fixture.add(first, &[0]).unwrap();
    assert!(fixture.driver.shard.completion(ID).is_none());
    fixture.end(first, true).unwrap();
    let mut completion = fixture.driver.shard.completion(ID).unwrap();
    assert_eq!(completion.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty));
    fixture.complete();
    assert_eq!(completion.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed));
}

#[test]
fn verification_names_each_partition() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    let request = Fixture::add_request(first, &[0, 1], TransactionVersion::V0);
    let verify = |fixture: &Fixture, request: &AddPartitions| {
        fixture.driver.shard.verify_partitions(request)
    };
    let missing = Err(ErrorCode::TransactionAbortable);
    let expected = |zero, one| Ok([(partition(0), zero), (partition(1), one)].into());
    assert_eq!(verify(&fixture, &request), expected(missing, missing));
    fixture.add(first, &[1]).unwrap();
    assert_eq!(verify(&fixture, &request), expected(missing, Ok(())));

    let other = AddPartitions { producer_id: ProducerId(1), ..request.clone() };
    assert_eq!(verify(&fixture, &other), Err(ErrorCode::InvalidProducerIdMapping));
    let behind = AddPartitions { producer_epoch: -1, ..request.clone() };
    assert_eq!(verify(&fixture, &behind), Err(ErrorCode::ProducerFenced));
    let unknown = AddPartitions { transactional_id: "other".to_owned(), ..request.clone() };
    assert_eq!(verify(&fixture, &unknown), Err(ErrorCode::InvalidProducerIdMapping));
    let nameless = AddPartitions { transactional_id: String::new(), ..request.clone() };
    assert_eq!(verify(&fixture, &nameless), Err(ErrorCode::InvalidRequest));

    fixture.end_v1(first, true).unwrap();
    assert_eq!(verify(&fixture, &request), Err(ErrorCode::ConcurrentTransactions));
    fixture.complete();
    // What belonged to the last transaction does not belong to the next.
    assert_eq!(verify(&fixture, &request), expected(missing, missing));
}

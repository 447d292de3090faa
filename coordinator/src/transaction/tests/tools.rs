//! What DescribeTransactions and ListTransactions see.

use super::*;
use crate::transaction::TransactionFilter;

fn filter(
    producer_ids: &[i64],
    states: &[&str],
    duration_ms: i64,
    pattern: Option<&str>,
) -> TransactionFilter {
    let states: Vec<_> = states.iter().map(|&state| state.to_owned()).collect();
    let producer_ids = producer_ids.iter().copied().map(ProducerId);
    TransactionFilter::new(producer_ids, &states, duration_ms, pattern).unwrap()
}

fn listed(fixture: &Fixture, filter: &TransactionFilter) -> Vec<String> {
    let listed = fixture.driver.shard.list(filter, fixture.driver.now_ms());
    listed.into_iter().map(|listing| listing.transactional_id).collect()
}

#[test]
fn lists_are_filtered_by_every_criterion() {
    let mut fixture = Fixture::new();
    let first = fixture.init(None).unwrap();
    fixture.init_with(&init_request("app-2", None)).unwrap();
    fixture.init_with(&init_request("other", None)).unwrap();
    fixture.add(first, &[0]).unwrap();
    fixture.driver.advance(Duration::from_secs(5));

    let all = ["app-1", "app-2", "other"];
    assert_eq!(listed(&fixture, &TransactionFilter::default()), all);
    assert_eq!(listed(&fixture, &filter(&[], &[], -1, Some(""))), all);
    assert_eq!(listed(&fixture, &filter(&[1002], &[], -1, None)), ["app-2"]);
    assert_eq!(listed(&fixture, &filter(&[], &["Ongoing"], -1, None)), ["app-1"]);
    assert_eq!(listed(&fixture, &filter(&[], &[], -1, Some("app-.*"))), ["app-1", "app-2"]);
    // The pattern is for the whole id.
    assert_eq!(listed(&fixture, &filter(&[], &[], -1, Some("app"))), [""; 0]);
    assert_eq!(listed(&fixture, &filter(&[], &[], -1, Some("app-1|other"))), ["app-1", "other"]);
    assert_eq!(listed(&fixture, &filter(&[], &["Ongoing"], 5000, None)), [""; 0]);
    assert_eq!(listed(&fixture, &filter(&[], &["Ongoing"], 4999, None)), ["app-1"]);
    assert_eq!(listed(&fixture, &filter(&[1002], &["Ongoing"], -1, None)), [""; 0]);
}

#[test]
fn unknown_states_are_named_and_match_nothing() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    let odd = filter(&[], &["Odd"], -1, None);
    assert_eq!(odd.unknown_states(), ["Odd"]);
    assert_eq!(listed(&fixture, &odd), [""; 0]);
    let both = filter(&[], &["Odd", "Empty"], -1, None);
    assert_eq!(listed(&fixture, &both), ["app-1"]);
}

#[test]
fn a_pattern_must_be_an_expression_by_itself() {
    for pattern in ["(", ")(", "[", "a**b("] {
        let error = TransactionFilter::new([], &[], -1, Some(pattern)).unwrap_err();
        assert_eq!(error, ErrorCode::InvalidRegularExpression, "{pattern}");
    }
}

#[test]
fn a_description_follows_the_transaction_and_its_markers() {
    let mut fixture = Fixture::new();
    let describe = |fixture: &Fixture| fixture.driver.shard.describe(ID);
    assert_eq!(describe(&fixture), Err(ErrorCode::TransactionalIdNotFound));
    let first = fixture.init(None).unwrap();
    fixture.add(first, &[0, 1]).unwrap();
    fixture.end(first, true).unwrap();
    let markers = fixture.markers().remove(0);
    let shown = describe(&fixture).unwrap();
    assert_eq!((shown.state, shown.partitions), (TransactionState::PrepareCommit, set(&[0, 1])));
    let left = Markers { partitions: set(&[1]), ..markers.clone() };
    fixture.driver.shard.markers_progressed(&left);
    assert_eq!(describe(&fixture).unwrap().partitions, set(&[1]));
    // Late news of another transaction say nothing of this one.
    let stale = Markers { decided_at: 1, partitions: set(&[]), ..markers.clone() };
    fixture.driver.shard.markers_progressed(&stale);
    assert_eq!(describe(&fixture).unwrap().partitions, set(&[1]));
    fixture.written(&markers);
    let shown = describe(&fixture).unwrap();
    assert_eq!((shown.state, shown.partitions), (TransactionState::CompleteCommit, set(&[])));
    assert_eq!((shown.producer_epoch, shown.timeout_ms), (1, 60_000));
}

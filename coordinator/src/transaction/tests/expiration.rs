//! Ids that nobody uses are forgotten.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn an_unused_id_is_forgotten_after_seven_days() {
    let mut fixture = Fixture::new();
    fixture.init(None).unwrap();
    fixture.driver.advance(7 * DAY - HOUR);
    assert!(fixture.driver.shard.metadata(ID).is_some());
    fixture.driver.advance(2 * HOUR);
    assert!(fixture.driver.shard.metadata(ID).is_none());
    fixture.reload();
    assert!(fixture.driver.shard.metadata(ID).is_none());
    assert_eq!(fixture.init(None), Ok(producer(1002, 0)));
}

#[test]
fn an_open_transaction_keeps_its_id() {
    let config = TransactionConfig { two_phase_commit: true, ..TransactionConfig::default() };
    let mut fixture = Fixture::with(config);
    let request = InitProducerId { two_phase_commit: true, ..init_request(ID, None) };
    let first = fixture.init_with(&request).unwrap();
    fixture.add(first, &[0]).unwrap();
    fixture.driver.advance(8 * DAY);
    assert_eq!(fixture.state(), TransactionState::Ongoing);
    let markers = {
        fixture.end(first, true).unwrap();
        fixture.markers()
    };
    fixture.driver.advance(8 * DAY);
    assert_eq!(fixture.state(), TransactionState::PrepareCommit);
    fixture.written(&markers[0]);
    fixture.driver.advance(8 * DAY);
    assert!(fixture.driver.shard.metadata(ID).is_none());
}

//! Retention and DeleteRecords: what goes, what stays, what a restart remembers.

use metadata::MetadataStore;
use streamhouse_storage::{Acks, Hold};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn delete_records_moves_the_log_start_for_good() {
    let mut machine = Machine::new(31);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce_numbered(&partition, 10).await;
    assert_eq!(partition.delete_records(4).await.unwrap(), 4);
    assert_eq!(partition.delete_records(2).await.unwrap(), 4);
    assert!(partition.delete_records(11).await.is_err());
    assert_eq!(read_all(&partition, 4, 1 << 20).await, numbered(4, 6));
    machine.kill(broker);
    let broker = machine.start(1).await;
    assert_eq!(broker.partition(0).offsets().log_start, 4);
    assert_eq!(broker.partition(0).delete_records(-1).await.unwrap(), 10);
    assert!(read_all(&broker.partition(0), 10, 1 << 20).await.is_empty());
    machine.kill(broker);
    let broker = machine.start(1).await;
    produce_numbered(&broker.partition(0), 1).await;
    assert_eq!(read_all(&broker.partition(0), 10, 1 << 20).await, numbered(10, 1));
}

#[tokio::test(start_paused = true)]
async fn records_expire_by_their_own_timestamp() {
    let mut machine = Machine::new(32);
    machine.topic_config.retention_ms = Some(3_600_000);
    machine.config.retention_interval = std::time::Duration::from_secs(10);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce_numbered(&partition, 5).await;
    pause(1_800_000).await;
    assert_eq!(partition.offsets().log_start, 0);
    pause(2_000_000).await;
    assert_eq!(partition.offsets().log_start, 5);
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_still_needs_is_held_back_up_to_a_bound() {
    let mut machine = Machine::new(35);
    machine.topic_config.retention_ms = Some(3_600_000);
    machine.config.retention_interval = std::time::Duration::from_secs(10);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce_numbered(&partition, 5).await;
    partition.hold(1, Some(Hold { from: 3, bound_ms: 3_600_000 }));
    pause(3_700_000).await;
    assert_eq!(partition.offsets().log_start, 3);
    // What is asked for explicitly is done.
    assert_eq!(partition.delete_records(4).await.unwrap(), 4);
    pause(3_600_000).await;
    assert_eq!(partition.offsets().log_start, 5);
    // A hold on what is gone, or on nothing, holds nothing.
    produce_numbered(&partition, 2).await;
    partition.hold(1, None);
    pause(3_700_000).await;
    assert_eq!(partition.offsets().log_start, 7);
}

#[tokio::test(start_paused = true)]
async fn a_hold_keeps_at_most_as_much_again_as_size_retention() {
    let mut machine = Machine::new(36);
    machine.topic_config.retention_bytes = Some(3_000);
    machine.config.retention_interval = std::time::Duration::from_secs(10);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    partition.hold(1, Some(Hold { from: 0, bound_ms: 3_600_000 }));
    produce_numbered(&partition, 50).await;
    pause(60_000).await;
    let held = partition.offsets().log_start;
    partition.hold(1, None);
    pause(60_000).await;
    let start = partition.offsets().log_start;
    assert!(held > 0 && held < start, "held from {held}, start {start}");
}

#[tokio::test(start_paused = true)]
async fn size_retention_keeps_the_newest() {
    let mut machine = Machine::new(33);
    machine.topic_config.retention_bytes = Some(3_000);
    machine.config.retention_interval = std::time::Duration::from_secs(10);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce_numbered(&partition, 50).await;
    pause(60_000).await;
    let start = partition.offsets().log_start;
    assert!(start > 20 && start < 50, "log start {start}");
    assert_eq!(read_all(&partition, start, 1 << 20).await, numbered(start, 50 - start));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_recognised_after_its_records_were_deleted() {
    let mut machine = Machine::new(34);
    machine.config.retention_interval = std::time::Duration::from_secs(10);
    machine.config.seal_age = std::time::Duration::from_secs(10);
    let broker = machine.start(1).await;
    let bytes = batch(Some((5, 3, 0)), START_MS, &["a", "b"]);
    produce(&broker.partition(0), &bytes).await.unwrap();
    pause(60_000).await;
    assert_eq!(broker.partition(0).delete_records(-1).await.unwrap(), 2);
    pause(60_000).await;
    assert!(machine.metadata.committed_objects().await.unwrap().is_empty());
    machine.kill(broker);
    let broker = machine.start(1).await;
    let again = append(&broker.partition(0), Acks::All, &bytes).unwrap();
    assert!(again.duplicate && again.base_offset == 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_timestamp_goes_with_what_follows_it() {
    let mut machine = Machine::new(34);
    machine.topic_config.retention_ms = Some(3_600_000);
    machine.config.retention_interval = std::time::Duration::from_secs(10);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce(&partition, &batch(None, -1, &["undated"])).await.unwrap();
    pause(4_000_000).await;
    assert_eq!(partition.offsets().log_start, 0);
    produce(&partition, &batch(None, START_MS, &["old"])).await.unwrap();
    pause(60_000).await;
    assert_eq!(partition.offsets().log_start, 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_producer_is_forgotten_at_the_interval_of_its_own() {
    let mut machine = Machine::new(35);
    machine.config.live.producer_expiration_ms = 10_000;
    machine.config.producer_expiration_interval = std::time::Duration::from_millis(500);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce(&partition, &batch(Some((5, 3, 0)), START_MS, &["a"])).await.unwrap();
    pause(9_000).await;
    assert_eq!(partition.producers().len(), 1);
    pause(3_000).await;
    assert!(partition.producers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_producer_of_old_records_is_known_over_a_crash_and_its_batch_again_is_a_duplicate() {
    let mut machine = Machine::new(36);
    let broker = machine.start(1).await;
    let old_ms = START_MS - 400 * 86_400_000;
    let sent = batch(Some((5, 3, 0)), old_ms, &["a"]);
    produce(&broker.partition(0), &sent).await.unwrap();
    machine.kill(broker);
    let broker = machine.start(1).await;
    assert_eq!(broker.partition(0).producers().len(), 1);
    produce(&broker.partition(0), &sent).await.unwrap();
    assert_eq!(broker.partition(0).offsets().log_end, 1);
}

//! Appends: offsets, acknowledgements, duplicates, roll-back.

use std::sync::atomic::Ordering;

use streamhouse_storage::{Acks, AppendError, SequenceError, wal::sim_fs::Faults};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn offsets_are_dense_and_invisible_before_the_sync() {
    let mut machine = Machine::new(1);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    let first = append(&partition, Acks::All, &batch(None, START_MS, &["a", "b"])).unwrap();
    let second = append(&partition, Acks::All, &batch(None, START_MS, &["c"])).unwrap();
    assert_eq!((first.base_offset, first.last_offset, second.base_offset), (0, 1, 2));
    let offsets = partition.offsets();
    assert_eq!((offsets.high_watermark, offsets.log_end), (0, 3));
    assert!(read_all(&partition, 0, 1 << 20).await.is_empty());
    second.ticket.wait().await.unwrap();
    first.ticket.wait().await.unwrap();
    assert_eq!(partition.offsets().high_watermark, 3);
    let values: Vec<_> = read_all(&partition, 0, 1 << 20).await.into_iter().map(|r| r.1).collect();
    assert_eq!(values, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_answered_with_the_first_offset_when_that_is_durable() {
    let mut machine = Machine::new(2);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    let bytes = batch(Some((7, 0, 0)), START_MS, &["a", "b"]);
    let original = append(&partition, Acks::All, &bytes).unwrap();
    let again = append(&partition, Acks::All, &bytes).unwrap();
    assert!(again.duplicate && again.base_offset == 0 && again.last_offset == 1);
    assert_eq!(partition.offsets().log_end, 2);
    let mut early = Box::pin(again.ticket.wait());
    assert!(futures::poll!(early.as_mut()).is_pending());
    original.ticket.wait().await.unwrap();
    early.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sequence_gaps_and_stale_epochs_are_refused_and_cost_nothing() {
    let mut machine = Machine::new(3);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce(&partition, &batch(Some((7, 1, 0)), START_MS, &["a"])).await.unwrap();
    let gap = append(&partition, Acks::All, &batch(Some((7, 1, 2)), START_MS, &["c"]));
    assert!(matches!(gap, Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))));
    let stale = append(&partition, Acks::All, &batch(Some((7, 0, 1)), START_MS, &["b"]));
    assert!(matches!(stale, Err(AppendError::Sequence(SequenceError::StaleEpoch { .. }))));
    assert_eq!(partition.offsets().log_end, 1);
    assert_eq!(partition.producers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_takes_back_offsets_and_sequences_and_the_retry_succeeds() {
    let mut machine = Machine::new(4);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce(&partition, &batch(Some((7, 0, 0)), START_MS, &["a"])).await.unwrap();
    machine.disk.set_faults(Faults { fail_write_after: Some(0), ..Faults::default() });
    let failed = append(&partition, Acks::All, &batch(Some((7, 0, 1)), START_MS, &["b"])).unwrap();
    let behind = append(&partition, Acks::All, &batch(Some((7, 0, 2)), START_MS, &["c"])).unwrap();
    assert!(failed.ticket.wait().await.is_err());
    assert!(behind.ticket.wait().await.is_err());
    pause(5_000).await;
    assert_eq!(partition.offsets().log_end, 1);
    produce(&partition, &batch(Some((7, 0, 1)), START_MS, &["b"])).await.unwrap();
    produce(&partition, &batch(Some((7, 0, 2)), START_MS, &["c"])).await.unwrap();
    let values: Vec<_> = read_all(&partition, 0, 1 << 20).await.into_iter().map(|r| r.1).collect();
    assert_eq!(values, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_stops_the_broker_and_acknowledges_nothing() {
    let mut machine = Machine::new(5);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    machine.disk.set_faults(Faults { fail_sync_after: Some(0), ..Faults::default() });
    let appended = append(&partition, Acks::All, &batch(None, START_MS, &["a"])).unwrap();
    let mut ticket = Box::pin(appended.ticket.wait());
    pause(1_000).await;
    assert!(broker.fatal.load(Ordering::SeqCst));
    assert!(!matches!(futures::poll!(ticket.as_mut()), std::task::Poll::Ready(Ok(()))));
    assert_eq!(partition.offsets().high_watermark, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let mut machine = Machine::new(6);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce(&partition, &batch(None, START_MS, &["a"])).await.unwrap();
    machine.disk.set_faults(Faults { capacity: Some(0), ..Faults::default() });
    let big = "x".repeat(300_000);
    let mut refused = 0;
    for _ in 0..40 {
        refused += i32::from(produce(&partition, &batch(None, START_MS, &[&big])).await.is_err());
    }
    assert!(refused > 0, "the disk never filled");
    let end = partition.offsets().high_watermark;
    machine.disk.set_faults(Faults::default());
    pause(5_000).await;
    assert_eq!(produce(&partition, &batch(None, START_MS, &["b"])).await.unwrap(), end);
}

#[tokio::test(start_paused = true)]
async fn acks_1_is_answered_once_written() {
    let mut machine = Machine::new(7);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    let appended = append(&partition, Acks::Leader, &batch(None, START_MS, &["a"])).unwrap();
    appended.ticket.wait().await.unwrap();
    pause(100).await;
    assert_eq!(partition.offsets().high_watermark, 1);
}

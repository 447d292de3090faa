//! Reads: hot, warm and cold give the same batches; bounds; look-ups by time; waiters.

use std::sync::Arc;

use protocol::{Piece, Records};
use streamhouse_storage::{Acks, IsolationLevel, ReadError, ReadRequest, ReadWaiter};

use crate::harness::*;

fn at(offset: i64, max_bytes: usize, min_one_batch: bool) -> ReadRequest {
    let isolation = IsolationLevel::ReadUncommitted;
    ReadRequest { offset, max_bytes, min_one_batch, isolation }
}

#[tokio::test(start_paused = true)]
async fn every_offset_reads_the_same_hot_warm_and_cold() {
    let mut machine = Machine::new(11);
    machine.config.tail_bytes = 4_000;
    machine.config.wal_file_bytes = 1 << 18;
    let broker = machine.start(2).await;
    let partition = broker.partition(0);
    for _ in 0..10 {
        produce_numbered(&partition, 20).await;
        produce_numbered(&broker.partition(1), 3).await;
    }
    pause(60_000).await;
    for offset in 0..200 {
        let expected = numbered(offset, 200 - offset);
        assert_eq!(read_all(&partition, offset, 700).await, expected, "from {offset}");
    }
    assert_eq!(read_all(&broker.partition(1), 0, 1 << 20).await, numbered(0, 30));
}

#[tokio::test(start_paused = true)]
async fn offsets_outside_the_log_are_refused() {
    let mut machine = Machine::new(12);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce_numbered(&partition, 3).await;
    for offset in [-1, 4] {
        let result = partition.read(at(offset, 100, true)).await;
        assert!(matches!(result, Err(ReadError::OffsetOutOfRange { .. })), "{offset}");
    }
    assert!(partition.read(at(3, 100, true)).await.unwrap().records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn max_bytes_bounds_whole_batches_but_for_the_first() {
    let mut machine = Machine::new(13);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce_numbered(&partition, 10).await;
    let one = partition.read(at(0, 1, true)).await.unwrap().records.len();
    assert!(one > 100);
    assert!(partition.read(at(0, 1, false)).await.unwrap().records.is_empty());
    assert_eq!(partition.read(at(0, 3 * one + 5, true)).await.unwrap().records.len(), 3 * one);
}

#[tokio::test(start_paused = true)]
async fn look_ups_by_time_find_the_first_record_at_or_after() {
    let mut machine = Machine::new(14);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce(&partition, &batch(None, START_MS + 100, &["a", "b", "c"])).await.unwrap();
    produce(&partition, &batch(None, START_MS + 50, &["d"])).await.unwrap();
    produce(&partition, &batch(None, START_MS + 200, &["e", "f"])).await.unwrap();
    let isolation = IsolationLevel::ReadUncommitted;
    for (timestamp, offset) in [(0, 0), (101, 1), (103, 4), (201, 5)] {
        let found = partition.offset_for_timestamp(START_MS + timestamp, isolation).await.unwrap();
        assert_eq!(found.map(|f| f.offset), Some(offset), "timestamp +{timestamp}");
    }
    let late = partition.offset_for_timestamp(START_MS + 999, isolation).await.unwrap();
    assert_eq!(late, None);
    let max = partition.max_timestamp_offset(isolation).await.unwrap().unwrap();
    assert_eq!((max.offset, max.timestamp), (5, START_MS + 201));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_by_its_partition_only() {
    let mut machine = Machine::new(15);
    let broker = machine.start(2).await;
    let waiter = Arc::new(ReadWaiter::new());
    broker.partition(0).watch(&waiter);
    produce_numbered(&broker.partition(1), 1).await;
    let mut woken = Box::pin(waiter.woken());
    assert!(futures::poll!(woken.as_mut()).is_pending());
    produce_numbered(&broker.partition(0), 1).await;
    woken.await;
}

/// All bytes, those in files too, and how many of them are in files.
fn joined(records: &Records) -> (Vec<u8>, usize) {
    let mut bytes = Vec::with_capacity(records.len());
    for piece in records.pieces() {
        match piece {
            Piece::Bytes(memory) => bytes.extend_from_slice(memory),
            Piece::Slice(slice) => {
                bytes.extend_from_slice(&slice.source.read_at(slice.position, slice.len).unwrap());
            }
        }
    }
    (bytes, records.len() - records.memory_len())
}

#[tokio::test(start_paused = true)]
async fn a_socket_gets_the_same_batches_from_files_as_from_memory() {
    let mut machine = Machine::new(16);
    machine.config.tail_bytes = 200_000;
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    // Batches of many sizes, several of them in one run.
    for group in 0..6_usize {
        let appended: Vec<_> = (0..8)
            .map(|n| {
                let value = "v".repeat(1 + (n * 7919 + group * 131) % 40_000);
                let bytes = batch(None, START_MS, &[&value, &value]);
                append(&partition, Acks::All, &bytes).unwrap()
            })
            .collect();
        for appended in appended {
            appended.ticket.wait().await.unwrap();
        }
    }
    let end = partition.offsets().high_watermark;
    let mut in_files = 0;
    for offset in 0..end {
        for (max_bytes, min_one_batch) in [(1, true), (1, false), (100_000, true), (1 << 20, false)]
        {
            let request = at(offset, max_bytes, min_one_batch);
            let expected = partition.read(request).await.unwrap().records;
            let found = partition.read_for_socket(request).await.unwrap().records;
            let (bytes, sliced) = joined(&found);
            assert!(bytes == expected.to_bytes(), "from {offset}, {max_bytes}, {min_one_batch}");
            in_files += sliced;
        }
    }
    assert!(in_files > 1 << 20, "{in_files}");
}

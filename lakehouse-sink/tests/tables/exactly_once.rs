//! Every committed record is one row, whatever fails, restarts or competes.

use std::time::Duration;

use deltalake::kernel::transaction::CommitProperties;
use storage::object_store::faulty::{Fault, Operation};
use tokio::time::sleep;

use crate::support::{Lake, Row, row};

/// Values `{"n": from}` up to `to`.
fn numbers(from: i64, to: i64) -> Vec<String> {
    (from..to).map(|n| format!("{{\"n\":{n}}}")).collect()
}

/// The rows of `numbers(0, end)` in one partition.
fn rows(partition: i32, end: i64) -> Vec<Row> {
    (0..end).map(|n| row(partition, n, &[&format!("n={n}")])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_what_its_topic_has() {
    let lake = Lake::new(3, &[]).await;
    for partition in 0..3 {
        lake.produce(partition, &numbers(0, 50)).await;
    }
    let running = lake.sink();
    lake.caught_up(&running).await;
    lake.produce(1, &numbers(50, 80)).await;
    let status = lake.caught_up(&running).await;
    let expected = [rows(0, 50), rows(1, 80), rows(2, 50)].concat();
    assert_eq!(lake.rows(&running).await, expected);
    assert_eq!((status.rows, status.dead), (180, 0));
    lake.until(&running, |status| status.lag == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_aborted_is_no_row() {
    let lake = Lake::new(1, &[]).await;
    lake.transact(0, 7, &numbers(0, 2), true).await;
    lake.transact(0, 8, &numbers(90, 93), false).await;
    lake.produce(0, &numbers(2, 3)).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    // Offsets 2 and 6 are markers, 3 to 5 were aborted.
    let expected = [row(0, 0, &["n=0"]), row(0, 1, &["n=1"]), row(0, 7, &["n=2"])];
    assert_eq!(lake.rows(&running).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_open_transaction_precedes_waits_for_its_end() {
    let lake = Lake::new(1, &[]).await;
    lake.produce(0, &numbers(0, 1)).await;
    lake.append(0, Some(7), &numbers(1, 2)).await;
    lake.produce(0, &numbers(2, 3)).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, rows(0, 1));
    lake.end(0, 7, true).await;
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, rows(0, 3));
}

/// Each request to the store fails in turn, before or after it took effect.
#[tokio::test(flavor = "multi_thread")]
async fn no_failed_request_loses_or_repeats_a_row() {
    for fault in [Fault::ResetBefore, Fault::ResetAfter] {
        for operation in [Operation::Put, Operation::Multipart, Operation::Get, Operation::List] {
            for point in 0..3 {
                let lake = Lake::new(2, &[]).await;
                let script = std::iter::repeat_n(None, point).chain([Some(fault)]);
                lake.faults.script(operation, script);
                let running = lake.sink();
                for from in [0, 10, 20] {
                    lake.produce(0, &numbers(from, from + 10)).await;
                    lake.produce(1, &numbers(from, from + 10)).await;
                    lake.caught_up(&running).await;
                }
                let expected = [rows(0, 30), rows(1, 30)].concat();
                assert_eq!(lake.rows(&running).await, expected, "{fault:?} {operation:?} {point}");
            }
        }
    }
}

/// A sink is killed at some moment of its work, over and over; the next goes on.
#[tokio::test(flavor = "multi_thread")]
async fn killed_sinks_lose_and_repeat_nothing() {
    let lake = Lake::new(2, &[]).await;
    for round in 0..12 {
        let running = lake.sink();
        for partition in 0..2 {
            lake.produce(partition, &numbers(round * 20, round * 20 + 20)).await;
        }
        sleep(Duration::from_millis(30 * u64::try_from(round).unwrap())).await;
        drop(running);
    }
    let running = lake.sink();
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, [rows(0, 240), rows(1, 240)].concat());
}

/// A zombie writes on while its successor does.
#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_of_one_table_write_each_row_once() {
    let lake = Lake::new(2, &[]).await;
    lake.produce(0, &numbers(0, 1)).await;
    let (one, other) = (lake.sink(), lake.sink());
    lake.caught_up(&one).await;
    lake.caught_up(&other).await;
    for round in 0..10 {
        lake.produce(round % 2, &numbers(i64::from(round) * 5, i64::from(round) * 5 + 5)).await;
        sleep(Duration::from_millis(70)).await;
    }
    lake.caught_up(&one).await;
    let found = lake.rows(&one).await;
    let offsets: Vec<_> =
        found.iter().map(|(partition, offset, _)| (*partition, *offset)).collect();
    let expected: Vec<_> = (0..26).map(|n| (0, n)).chain((0..25).map(|n| (1, n))).collect();
    assert_eq!(offsets, expected);
}

/// Others rewrite the table's files meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn optimize_and_vacuum_beside_the_sink_keep_every_row_and_the_progress() {
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    for round in 0..6 {
        lake.produce(0, &numbers(round * 10, round * 10 + 10)).await;
        lake.caught_up(&running).await;
        let log = lake.log(&running).await;
        let optimized =
            log.table().clone().optimize().with_commit_properties(CommitProperties::default());
        // It may lose to a commit of the sink; then it has changed nothing.
        if let Ok((table, _)) = optimized.await {
            table.vacuum().await.unwrap();
        }
    }
    drop(running);
    let running = lake.sink();
    lake.produce(0, &numbers(60, 70)).await;
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, rows(0, 70));
}

//! A table is built anew beside what readers see, and takes its place.

use std::sync::Arc;

use common::clock::{Clock as _, SharedClock, SystemClock, TokioClock};
use lakehouse_sink::TableLog;

use crate::support::{Lake, Record, Running, row};

/// Waits until the rebuild has taken the table's place.
async fn rebuilt(lake: &Lake, running: &Running, incarnation: u32) {
    for _ in 0..3000 {
        if lake.table(running).await.incarnation() == incarnation {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no incarnation {incarnation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_columns_the_types_of_all_values() {
    let lake = Lake::new(1, &[]).await;
    lake.produce(0, &[r#"{"a":1}"#]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    lake.produce(0, &[r#"{"a":"text"}"#]).await;
    lake.caught_up(&running).await;
    let old = lake.table(&running).await.directory();
    let expected = [row(0, 0, &["a=1"]), row(0, 1, &[r#"kafka_rescued={"a":"text"}"#])];
    assert_eq!(lake.rows(&running).await, expected);

    running.catalog.rebuild("t", false, 0).await.unwrap();
    let again = running.catalog.rebuild("t", false, 0).await.unwrap_err();
    assert!(again.to_string().contains("being rebuilt already"), "{again}");
    rebuilt(&lake, &running, 2).await;
    let expected = [row(0, 0, &["a=1"]), row(0, 1, &["a=text"])];
    assert_eq!(lake.rows(&running).await, expected);
    lake.produce(0, &[r#"{"a":true}"#]).await;
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await.len(), 3);
    // Who still reads the old files can.
    assert_eq!(lake.rows_of(&old).await.len(), 2);
    drop(running);

    // The next process knows, and deletes the old files when they were kept long enough.
    let later = SystemClock::new().now_ms() + 8 * 86_400_000;
    let later: SharedClock = Arc::new(TokioClock::starting_at(later));
    let running = lake.sink_by(&later);
    lake.produce(0, &[r#"{"a":null}"#]).await;
    lake.caught_up(&running).await;
    assert_eq!(lake.table(&running).await.incarnation(), 2);
    for _ in 0..500 {
        if lake.table(&running).await.replaced().is_empty() {
            assert!(TableLog::open(&lake.store, &old).await.unwrap().is_none());
            assert_eq!(lake.rows(&running).await.len(), 4);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the old files were not deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_new_tables_obey_is_obeyed_by_a_rebuild() {
    let lake = Lake::new(1, &[("table.value.convert", "string")]).await;
    let records: [Record<'_>; 3] =
        [(0, Some(b"a"), Some(b"1")), (0, Some(b"b"), Some(b"1")), (0, Some(b"a"), Some(b"2"))];
    lake.append_records(0, None, &records).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await.len(), 3);
    lake.set(&[("table.mode", "upsert"), ("table.partition.by", "bucket(4, kafka_key)")]).await;
    running.catalog.rebuild("t", false, 0).await.unwrap();
    rebuilt(&lake, &running, 2).await;
    let expected = [row(0, 1, &["value=1"]), row(0, 2, &["value=2"])];
    assert_eq!(lake.rows(&running).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_goes_on_after_its_process_was_killed() {
    let lake = Lake::new(1, &[("table.value.convert", "string")]).await;
    let running = lake.sink();
    let values: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    lake.produce(0, &values).await;
    lake.caught_up(&running).await;
    running.catalog.rebuild("t", false, 0).await.unwrap();
    for _ in 0..5 {
        drop(lake.sink());
    }
    drop(running);
    let running = lake.sink();
    rebuilt(&lake, &running, 2).await;
    lake.produce(0, &["50"]).await;
    lake.caught_up(&running).await;
    let expected: Vec<_> = (0..=50).map(|n| row(0, n, &[&format!("value={n}")])).collect();
    assert_eq!(lake.rows(&running).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_would_lose_rows_has_to_be_allowed() {
    let lake = Lake::new(1, &[("table.value.convert", "string")]).await;
    lake.produce(0, &["0", "1", "2"]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    lake.partition(0).delete_records(2).await.unwrap();
    let refused = running.catalog.rebuild("t", false, 5).await.unwrap_err();
    assert!(refused.to_string().contains("begins at offset 2"), "{refused}");
    assert_eq!(lake.table(&running).await.incarnation(), 1);
    running.catalog.rebuild("t", true, 5).await.unwrap();
    rebuilt(&lake, &running, 2).await;
    assert_eq!(lake.rows(&running).await, [row(0, 2, &["value=2"])]);
    let gaps = lake.table(&running).await.gaps();
    assert_eq!((gaps[0].from, gaps[0].to, gaps[0].found_ms), (0, 2, 5));
    let nobody = running.catalog.rebuild("nobody", true, 5).await.unwrap_err();
    assert!(nobody.to_string().contains("no table nobody"));
}

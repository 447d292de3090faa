//! Tables that go with their topics, and those that stay.

use std::time::Duration;

use lakehouse_sink::TableLog;
use storage::object_store::faulty::{Fault, Operation};
use tokio::time::sleep;

use crate::support::{Lake, Running};

/// Waits until no deleted table is left.
async fn all_gone(running: &Running) {
    for _ in 0..3000 {
        if running.catalog.deletion_notes().await.unwrap().is_empty() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("left: {:?}", running.catalog.deletion_notes().await);
}

async fn is_there(lake: &Lake, directory: &str) -> bool {
    TableLog::open(&lake.store, directory).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_goes_with_its_topic_where_that_is_asked_for() {
    let keys = [("table.delete.with.topic", "true"), ("table.value.convert", "json")];
    let lake = Lake::new(1, &keys).await;
    lake.produce(0, &[r#"{"n":1}"#, "nonsense"]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    let table = lake.table(&running).await;
    // What a rebuild left behind goes, too.
    let first = table.directory();
    running.catalog.rebuild("t", false, 0).await.unwrap();
    lake.until(&running, |_| running.catalog.tables().iter().all(|table| table.incarnation() == 2))
        .await;
    lake.caught_up(&running).await;
    let second = lake.table(&running).await.directory();
    assert!(is_there(&lake, &first).await && is_there(&lake, &format!("{second}__dlq")).await);
    drop(running);
    lake.delete().await;
    // It is the next process that finds it, and whose first request fails.
    let faults = [Fault::ResetBefore, Fault::ResetAfter];
    lake.faults.script(Operation::Delete, faults.map(Some));
    let running = lake.sink();
    all_gone(&running).await;
    assert_eq!(lake.objects().await, [""; 0]);
    assert!(lake.pointers("table/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_written_goes_with_its_topic() {
    let lake = Lake::new(1, &[("table.delete.with.topic", "true")]).await;
    lake.create("other", &[("table.enable", "true"), ("table.delete.with.topic", "true")]).await;
    let running = lake.sink();
    for n in 0..20 {
        lake.produce(0, &[format!("{{\"n\":{n}}}")]).await;
        sleep(Duration::from_millis(5)).await;
    }
    lake.delete().await;
    all_gone(&running).await;
    assert_eq!(lake.objects().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_being_asked_for_it_a_table_stays() {
    let lake = Lake::new(1, &[("table.delete.with.topic", "true")]).await;
    lake.produce(0, &[r#"{"n":1}"#]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    let directory = lake.table(&running).await.directory();
    // What the configuration says at the very moment counts.
    lake.set(&[("table.delete.with.topic", "false")]).await;
    lake.delete().await;
    running.catalog.refresh().await.unwrap();
    assert!(running.catalog.deletion_notes().await.unwrap().is_empty());
    assert!(running.catalog.tables().is_empty());
    assert_eq!(lake.rows_of(&directory).await.len(), 1);
}

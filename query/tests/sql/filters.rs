//! Conditions reach the files and the log: what they exclude is not read.

use broker::testing::EPOCH_MS;
use futures::TryStreamExt as _;
use streamhouse_query::QueryEngine;

use crate::{
    ask, engine, numbers,
    support::{Lake, Running},
};

/// Five commits, each a file, of ten records in each of three partitions, and ten more in the log.
async fn five_files(spill: &tempfile::TempDir) -> (Lake, Running, QueryEngine) {
    let lake = Lake::new(3, &[]).await;
    let running = lake.sink();
    for file in 0..5 {
        for partition in 0..3 {
            lake.produce(partition, &numbers(file * 10, file * 10 + 10)).await;
        }
        lake.caught_up(&running).await;
    }
    drop(running);
    let running = lake.sink();
    running.sink.stop();
    for partition in 0..3 {
        lake.produce(partition, &numbers(50, 60)).await;
    }
    let engine = engine(&lake, &running, spill);
    (lake, running, engine)
}

/// How many rows a statement reads and how many it answers.
async fn counts(engine: &QueryEngine, sql: &str) -> (u64, u64) {
    let mut answer = engine.query(sql).await.unwrap();
    let mut last = (0, 0);
    while answer.rows.try_next().await.unwrap().is_some() {
        let info = engine.queries().get(answer.id).unwrap();
        last = (info.rows_read, info.rows);
    }
    assert!(engine.queries().get(answer.id).is_none());
    last
}

/// The plan of a statement, without spaces at the ends of its lines.
async fn plan(engine: &QueryEngine, sql: &str) -> String {
    ask(engine, &format!("explain {sql}")).await.unwrap().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_skip_files_and_ranges_of_the_log() {
    let spill = tempfile::tempdir().unwrap();
    let (_lake, _running, engine) = five_files(&spill).await;
    assert_eq!(counts(&engine, "select n from t").await, (180, 180));
    // Of the last file the end of one partition's rows, and that partition's log.
    let sql = "select n from t where kafka_partition = 2 and kafka_offset >= 45";
    assert_eq!(counts(&engine, sql).await, (15, 15));
    let sql = "select n from t where kafka_partition in (0, 1) and kafka_offset between 8 and 12";
    assert_eq!(counts(&engine, sql).await, (10, 10));
    let sql = "select n from t as of offset '1:3'";
    assert_eq!(counts(&engine, sql).await, (3, 3));
    let sql = "select n from t where kafka_offset >= 52 and kafka_partition = 0";
    assert_eq!(counts(&engine, sql).await, (8, 8));
    assert!(plan(&engine, sql).await.contains("EmptyExec"), "no file has such rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_skip_files_and_the_log() {
    let spill = tempfile::tempdir().unwrap();
    let (lake, _running, engine) = five_files(&spill).await;
    lake.append_records(1, None, &[(EPOCH_MS + 60_000, None, Some(br#"{"n":7}"#))]).await;
    for time in ["timestamp '2050-01-01 00:00:00'", "'2050-01-01'", "now() + interval '1 day'"] {
        let sql = format!("select n from t where kafka_timestamp > {time}");
        assert_eq!(counts(&engine, &sql).await, (0, 0), "{time}");
        let plan = plan(&engine, &sql).await;
        assert!(plan.contains("EmptyExec") && !plan.contains("StreamingTableExec"), "{plan}");
    }
    let since = EPOCH_MS + 30_000;
    let sql = format!("select n from t where kafka_timestamp >= to_timestamp_millis({since})");
    assert_eq!(counts(&engine, &sql).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_nobody_asks_for_are_not_read() {
    let spill = tempfile::tempdir().unwrap();
    let (_lake, _running, engine) = five_files(&spill).await;
    let plan = plan(&engine, "select sum(n) from t where kafka_partition < 2").await;
    assert!(plan.contains("projection=[kafka_partition, n, __delta_rs_file_id__]"), "{plan}");
    assert!(plan.contains("projection=[kafka_partition, n]"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_skip_files() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[("table.partition.by", "bucket(2, kafka_key)")]).await;
    let running = lake.sink();
    for (key, text) in [(b"a", "apple"), (b"a", "melon"), (b"b", "zebra")] {
        let value = format!("{{\"s\":\"{text}\"}}");
        let records: Vec<_> =
            (0..10).map(|_| (EPOCH_MS, Some(&key[..]), Some(value.as_bytes()))).collect();
        lake.append_records(0, None, &records).await;
        lake.caught_up(&running).await;
    }
    let engine = engine(&lake, &running, &spill);
    for (condition, read, found) in [
        ("s = 'melon'", 10, 10),
        ("s > 'n'", 10, 10),
        ("s in ('apple', 'zebra')", 20, 20),
        ("s like 'm%'", 10, 10),
        ("s <> 'melon' and kafka_key = 'a'::bytea", 10, 10),
        ("kafka_key = 'b'::bytea", 10, 10),
    ] {
        let sql = format!("select s from t where {condition}");
        let rows = ask(&engine, &sql).await.unwrap().len();
        assert_eq!(rows, found, "{condition}");
        let (seen, _) = counts(&engine, &sql).await;
        assert_eq!(seen, read, "{condition}");
    }
}

//! SQL over a broker's topics, while the sink writes their tables.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(missing_docs)]

mod filters;
mod moments;
mod running;
#[path = "../../../lakehouse-sink/tests/tables/support.rs"]
#[allow(dead_code, reason = "the sink's tests use the rest")]
mod support;
mod topics;
mod upserts;

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt as _;
use streamhouse_query::{QueryEngine, QueryError, QueryOptions};

use self::support::{Lake, Running};

fn engine(lake: &Lake, running: &Running, spill: &tempfile::TempDir) -> QueryEngine {
    let options = QueryOptions {
        memory_bytes: 64 << 20,
        spill_directory: spill.path().to_owned(),
        queries_max: 4,
        parallelism: 2,
    };
    QueryEngine::new(Arc::clone(&running.catalog), lake.store.clone(), options).unwrap()
}

/// The rows, each as its cells joined by `|`, without the frame.
async fn ask(engine: &QueryEngine, sql: &str) -> Result<Vec<String>, QueryError> {
    let answer = engine.query(sql).await?;
    let batches: Vec<_> = answer.rows.try_collect().await.map_err(QueryError::Execution)?;
    let text = pretty_format_batches(&batches)?.to_string();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
    let cells = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join("|")
    };
    Ok(rows.map(cells).collect())
}

fn numbers(from: i64, to: i64) -> Vec<String> {
    (from..to).map(|n| format!("{{\"n\":{n}}}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_seen_at_once_and_once_however_far_the_table_is() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(2, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    for round in 0..12 {
        lake.produce(0, &numbers(round * 10, round * 10 + 10)).await;
        lake.produce(1, &numbers(round * 10, round * 10 + 10)).await;
        let end = round * 10 + 10;
        let found =
            ask(&engine, "select count(*), sum(n), count(distinct n) from t").await.unwrap();
        assert_eq!(found, [format!("{}|{}|{end}", end * 2, end * (end - 1))], "round {round}");
    }
    lake.caught_up(&running).await;
    let found = ask(&engine, "select max(kafka_offset), count(*) from t").await.unwrap();
    assert_eq!(found, ["119|240"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_on_partitions_and_offsets_reach_table_and_tail() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(3, &[]).await;
    let running = lake.sink();
    for partition in 0..3 {
        lake.produce(partition, &numbers(0, 20)).await;
    }
    lake.caught_up(&running).await;
    drop(running);
    let running = lake.sink();
    running.sink.stop();
    for partition in 0..3 {
        lake.produce(partition, &numbers(20, 40)).await;
    }
    let engine = engine(&lake, &running, &spill);
    let sql = "select kafka_partition, kafka_offset, n from t \
               where kafka_partition = 2 and kafka_offset between 18 and 21 order by 2";
    assert_eq!(ask(&engine, sql).await.unwrap(), ["2|18|18", "2|19|19", "2|20|20", "2|21|21"]);
    let both = "select a.n from t a join t b on a.n = b.n + 39 and a.kafka_partition = 0 \
                and b.kafka_partition = 0";
    assert_eq!(ask(&engine, both).await.unwrap(), ["39"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_field_has_its_column_in_the_first_query_that_sees_it() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[("table.commit.interval.ms", "900000")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &[r#"{"a":1}"#]).await;
    assert_eq!(ask(&engine, "select a from t").await.unwrap(), ["1"]);
    lake.until(&running, |status| status.version.is_some()).await;
    lake.produce(0, &[r#"{"a":2,"b":{"c":"x"}}"#]).await;
    assert_eq!(ask(&engine, "select a, b['c'] from t order by a").await.unwrap(), ["1|", "2|x"]);
    assert_eq!(ask(&engine, "select a from t where b['c'] = 'x'").await.unwrap(), ["2"]);
    assert_eq!(ask(&engine, "select count(*) from t where b is null").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_field_of_a_structure_is_null_in_the_rows_before_it() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[("table.commit.interval.ms", "100")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &[r#"{"o":{"x":1},"l":[{"y":1}]}"#]).await;
    lake.until(&running, |status| status.rows == 1).await;
    lake.produce(0, &[r#"{"o":{"x":2,"z":"new"},"l":[{"y":2,"w":true}]}"#]).await;
    let sql = "select o['x'], o['z'], l[1]['y'], l[1]['w'] from t order by 1";
    let expected = ["1||1|", "2|new|2|true"];
    assert_eq!(ask(&engine, sql).await.unwrap(), expected);
    lake.until(&running, |status| status.rows == 2).await;
    assert_eq!(ask(&engine, sql).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_listed_and_what_is_not_there_is_said() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &numbers(0, 1)).await;
    let tables = "select table_catalog, table_schema, table_name from information_schema.tables \
                  where table_schema = 'public'";
    let expected = ["streamhouse|public|t", "streamhouse|public|t__dlq"];
    assert_eq!(ask(&engine, tables).await.unwrap(), expected);
    assert_eq!(ask(&engine, "select n from T").await.unwrap(), ["0"]);
    assert_eq!(ask(&engine, "select n from streamhouse.public.t").await.unwrap(), ["0"]);
    let error = ask(&engine, "select * from nowhere").await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    let error = ask(&engine, "insert into t values (1)").await.unwrap_err();
    assert_eq!(error.sql_state(), "25006");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_bound_on_queries_at_once() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(engine.query("select 1").await.unwrap());
    }
    assert!(matches!(engine.query("select 1").await, Err(QueryError::Busy(4))));
    held.pop();
    engine.query("select 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_has_everything_is_sorted_and_cut_off() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(2, &[]).await;
    lake.produce(0, &numbers(0, 3)).await;
    lake.produce(1, &numbers(3, 5)).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.caught_up(&running).await;
    let sorted = "select n from t order by n desc";
    assert_eq!(ask(&engine, sorted).await.unwrap(), ["4", "3", "2", "1", "0"]);
    assert_eq!(ask(&engine, "select n from t order by n limit 2").await.unwrap(), ["0", "1"]);
    let over = "select n, row_number() over (order by n) from t order by n limit 1";
    assert_eq!(ask(&engine, over).await.unwrap(), ["0|1"]);
    let none = "select n from t where kafka_partition = 9 order by n";
    assert!(ask(&engine, none).await.unwrap().is_empty());
}

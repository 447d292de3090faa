//! Queries that run are seen and cancelled.

use std::time::Duration;

use futures::TryStreamExt as _;
use streamhouse_query::QueryError;

use crate::{ask, engine, numbers, support::Lake};

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_seen_while_it_runs_and_can_be_cancelled() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &numbers(0, 5)).await;
    let queries = engine.queries();
    let mut answer = engine.query("select n from t").await.unwrap();
    let info = queries.list().remove(0);
    assert_eq!((info.id, info.sql.as_str(), info.rows), (answer.id, "select n from t", 0));
    assert_eq!(answer.rows.try_next().await.unwrap().unwrap().num_rows(), 5);
    assert_eq!(queries.get(answer.id).unwrap().rows, 5);
    assert!(queries.cancel(answer.id));
    let error = QueryError::Execution(answer.rows.try_next().await.unwrap_err());
    assert_eq!(
        (error.sql_state(), error.to_string().as_str()),
        ("57014", "the query was cancelled")
    );
    let id = answer.id;
    drop(answer);
    assert!(!queries.cancel(id) && queries.list().is_empty());
    // One that nobody reads any more does not run.
    drop(engine.query("select n from t").await.unwrap());
    assert!(queries.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_records_can_be_cancelled() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    let cancel = async {
        let id = loop {
            match engine.queries().list().first() {
                Some(info) => break info.id,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        assert!(engine.queries().cancel(id));
    };
    let sql = "select * from t at least offset '0:0'";
    let (answer, ()) = tokio::join!(ask(&engine, sql), cancel);
    assert_eq!(answer.unwrap_err().sql_state(), "57014");
    assert!(engine.queries().list().is_empty());
}

/// On one thread, where a query that does not yield leaves nobody else a turn.
#[test]
fn joins_that_find_nothing_for_long_give_way() {
    let one_thread = tokio::runtime::Builder::new_current_thread()
        .event_interval(1)
        .enable_all()
        .build()
        .unwrap();
    one_thread.block_on(joins_give_way());
}

async fn joins_give_way() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    let series = "generate_series(1, 20000)";
    for sql in [
        format!("select count(*) from {series} a, {series} b where a.value * b.value % 7 = 8"),
        format!(
            "select count(*) from {series} a, {series} b where a.value + b.value > 0 or a.value is null"
        ),
        format!(
            "select a.value, b.value from {series} a left join {series} b on a.value * b.value < 0"
        ),
        format!(
            "select count(*) from (select value % 2 as k, value as v from {series}) a \
                 join (select value % 2 as k, value as v from {series}) b on a.k = b.k and a.v + b.v < 0"
        ),
        format!(
            "select count(*) from (select value % 2 as k from {series}) a \
                 join (select value % 2 as k from {series}) b on a.k = b.k"
        ),
        format!("select sum(a.value + b.value) from {series} a cross join {series} b"),
    ] {
        let answer = engine.query(&sql).await.unwrap();
        let id = answer.id;
        let rows = tokio::spawn(answer.rows.try_collect::<Vec<_>>());
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(!rows.is_finished(), "{sql}");
        assert!(engine.queries().cancel(id), "{sql}");
        let error = QueryError::Execution(rows.await.unwrap().unwrap_err());
        assert_eq!(error.sql_state(), "57014", "{sql}");
    }
}

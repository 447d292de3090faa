//! Tables at other moments than now, and waiting for records.

use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::ObjectStore as _;
use streamhouse_query::QueryError;

use crate::{ask, engine, numbers, support::Lake};

/// The error of a statement: its SQLSTATE and what it says.
async fn fails(engine: &streamhouse_query::QueryEngine, sql: &str) -> (&'static str, String) {
    let error = ask(engine, sql).await.unwrap_err();
    (error.sql_state(), error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_versions_show_what_was_committed_then() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    let none = fails(&engine, "select * from t version as of 0").await;
    assert!(none.0 == "22023" && none.1.contains("no version yet"), "{none:?}");

    lake.produce(0, &numbers(0, 10)).await;
    let first = lake.caught_up(&running).await.version.unwrap();
    lake.produce(0, &[r#"{"n":10,"new":true}"#]).await;
    let second = lake.caught_up(&running).await.version.unwrap();
    drop(running);
    lake.produce(0, &numbers(11, 13)).await;
    let running = lake.sink();
    running.sink.stop();
    let engine = crate::engine(&lake, &running, &spill);

    let count = async |table: String| {
        let sql = format!("select count(*), max(n) from {table}");
        ask(&engine, &sql).await.unwrap().remove(0)
    };
    assert_eq!(count("t".to_owned()).await, "13|12");
    assert_eq!(count(format!("t version as of {first}")).await, "10|9");
    assert_eq!(count(format!("\"T\" VERSION AS OF {second}")).await, "11|10");
    // By the times of the commits' files.
    let directory = lake.table(&running).await.directory();
    let log = lakehouse_sink::TableLog::open(&lake.store, &directory).await.unwrap().unwrap();
    let committed = log.table().snapshot().unwrap().version_timestamp(first).unwrap();
    let then = format!("select cast(to_timestamp_millis({committed}) as varchar)");
    let then = ask(&engine, &then).await.unwrap().remove(0);
    assert_eq!(count(format!("t timestamp as of '{then}'")).await, "10|9");
    assert_eq!(count("t timestamp as of '9999-01-01'".to_owned()).await, "11|10");
    assert_eq!(count(format!("\"t@version={first}\"")).await, "10|9");

    let columns = format!("select * from t version as of {first} limit 1");
    assert_eq!(ask(&engine, &columns).await.unwrap()[0].split('|').count(), 9);
    let joined = format!(
        "with old as (select n from streamhouse.public.t version as of {first}) \
         select count(*) from t version as of {second} b left join old on old.n = b.n \
         where old.n is null and b.new"
    );
    assert_eq!(ask(&engine, &joined).await.unwrap(), ["1"]);
    let own = format!("select t.n from t version as of {first} where t.n = 3");
    assert_eq!(ask(&engine, &own).await.unwrap(), ["3"]);

    let later = fails(&engine, "select * from t version as of 99").await;
    assert!(later.0 == "22023" && later.1.contains("the last is"), "{later:?}");
    let before = fails(&engine, "select * from t timestamp as of '2001-01-01'").await;
    assert!(before.0 == "72000" && before.1.contains("begins later"), "{before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_files_were_deleted_is_an_error() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &numbers(0, 10)).await;
    let first = lake.caught_up(&running).await.version.unwrap();
    let directory = lake.table(&running).await.directory();
    drop(running);
    // As OPTIMIZE and VACUUM do: the file's rows are elsewhere, and the file is deleted.
    let log = lakehouse_sink::TableLog::open(&lake.store, &directory).await.unwrap().unwrap();
    let (_, removed) = log.table().clone().delete().await.unwrap();
    assert_eq!(removed.num_removed_files, 1);
    let sql = format!("select count(*) from t version as of {first}");
    assert_eq!(ask(&engine, &sql).await.unwrap(), ["10"]);
    let store = log.table().object_store();
    let files: Vec<_> = store.list(None).try_collect().await.unwrap();
    for file in files.iter().filter(|file| file.location.extension() == Some("parquet")) {
        if !file.location.as_ref().contains("_delta_log") {
            object_store::ObjectStoreExt::delete(&store, &file.location).await.unwrap();
        }
    }
    let gone = fails(&engine, &sql).await;
    assert!(gone.0 == "72000" && gone.1.contains("was vacuumed"), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_cut_table_and_tail_alike() {
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
    lake.produce(0, &numbers(20, 30)).await;
    lake.produce(2, &numbers(20, 30)).await;
    let engine = engine(&lake, &running, &spill);
    for (offsets, expected) in [
        ("0:25,2:7", "32|25|7"),
        ("0:25,1:20,2:30", "75|25|30"),
        ("0:30,1:20,2:30", "80|30|30"),
        ("1:1", "1||"),
        ("0:0", "0||"),
    ] {
        let sql = format!(
            "select count(*), max(n + 1) filter (where kafka_partition = 0), \
             max(n + 1) filter (where kafka_partition = 2) from t as of offset '{offsets}'"
        );
        assert_eq!(ask(&engine, &sql).await.unwrap(), [expected], "{offsets}");
    }
    let some =
        "select n from t as of offset '0:25,2:7' where kafka_partition = 2 order by 1 desc limit 2";
    assert_eq!(ask(&engine, some).await.unwrap(), ["6", "5"]);
    let beyond = fails(&engine, "select * from t as of offset '1:21'").await;
    assert!(beyond.0 == "22023" && beyond.1.contains("partition 1 is at 20 yet"), "{beyond:?}");
    let none = fails(&engine, "select * from t as of offset '3:1'").await;
    assert!(none.0 == "22023" && none.1.contains("no partition 3"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_the_record_that_its_client_produced() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(2, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &numbers(0, 3)).await;
    let sql = "select count(*), max(n) from t at least offset '0:2'";
    assert_eq!(ask(&engine, sql).await.unwrap(), ["3|2"]);

    // Appended is not enough: the transaction has to be committed.
    lake.append(1, Some(7), &numbers(100, 102)).await;
    let sql = "select count(*), max(n) from t at least offset '1:1'";
    let (answer, ()) = tokio::join!(ask(&engine, sql), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        lake.end(1, 7, true).await;
    });
    assert_eq!(answer.unwrap(), ["5|101"]);

    let sql = "select 1 from t at least offset '0:3'";
    let error = engine.query_within(sql, Duration::from_millis(30)).await.unwrap_err();
    assert_eq!(error.sql_state(), "57014");
    let text = error.to_string();
    assert!(
        text.contains("'0:3' was not reached within 30 ms") && text.contains("'0:3'"),
        "{text}"
    );
    let error = engine.query("select 1 from t at least offset '5:0'").await.unwrap_err();
    assert_eq!(error.sql_state(), "22023");
    let error = engine.query("select 1 from nowhere at least offset '5:0'").await.unwrap_err();
    assert!(matches!(error, QueryError::Plan(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_take_no_place_from_those_who_run() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &numbers(0, 1)).await;
    let waiting: Vec<_> =
        (0..8).map(|_| engine.query("select n from t at least offset '0:1'")).collect();
    let waiting = futures::future::join_all(waiting);
    let (found, ()) = tokio::join!(waiting, async {
        assert_eq!(ask(&engine, "select n from t").await.unwrap(), ["0"]);
        lake.produce(0, &numbers(1, 2)).await;
    });
    // All are woken together, and there are four places.
    assert_eq!(found.iter().filter(|answer| answer.is_ok()).count(), 4);
    assert!(found.iter().all(|a| matches!(a, Ok(_) | Err(QueryError::Busy(4)))));
}

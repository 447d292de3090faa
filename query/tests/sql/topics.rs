//! Topics without a table, and dead letters.

use crate::{ask, engine, numbers, support::Lake};

#[tokio::test(flavor = "multi_thread")]
async fn topics_without_a_table_are_read_from_the_log() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(2, &[("table.enable", "false")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    assert_eq!(ask(&engine, "select count(*), count(value) from t").await.unwrap(), ["0|0"]);
    lake.produce(0, &numbers(0, 10)).await;
    lake.produce(1, &[r#"{"n":10,"tags":["a"]}"#, "no json"]).await;
    lake.transact(1, 7, &[r#"{"n":99}"#], false).await;
    let sql = "select count(*), sum(n), count(tags), count(kafka_rescued) from \"t\"";
    assert_eq!(ask(&engine, sql).await.unwrap(), ["12|55|1|1"]);
    let sql = "select kafka_rescued, n from t where kafka_partition = 1 and kafka_offset = 1";
    assert_eq!(ask(&engine, sql).await.unwrap(), ["\"no json\"|"]);
    let sql = "select count(*) from t as of offset '0:4,1:1'";
    assert_eq!(ask(&engine, sql).await.unwrap(), ["5"]);
    let sql = "select count(*) from t at least offset '1:1'";
    assert_eq!(ask(&engine, sql).await.unwrap(), ["12"]);
    let error = ask(&engine, "select 1 from t version as of 1").await.unwrap_err();
    assert_eq!(error.sql_state(), "22023");
    let tables = "select count(*) from information_schema.tables where table_schema = 'public'";
    assert_eq!(ask(&engine, tables).await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_no_objects_are_bytes() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[("table.enable", "false")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &[b"one".as_slice(), b"{\"a\":1}", b"\xff"]).await;
    let sql = "select encode(value, 'hex') from t order by kafka_offset";
    assert_eq!(ask(&engine, sql).await.unwrap(), ["6f6e65", "7b2261223a317d", "ff"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_text_are_text() {
    let spill = tempfile::tempdir().unwrap();
    let keys = [("table.enable", "false"), ("table.mode", "upsert")];
    let lake = Lake::new(1, &keys).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &["one", "two"]).await;
    let sql = "select upper(value) from t where value <> 'two'";
    assert_eq!(ask(&engine, sql).await.unwrap(), ["ONE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_known_by_their_own_names_and_by_those_of_tables() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[("table.enable", "false")]).await;
    lake.create("my.topic", &[]).await;
    lake.create("__hidden", &[]).await;
    lake.create("has.table", &[("table.enable", "true"), ("table.name", "other")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.create("Shop.Orders", &[("table.enable", "true"), ("table.namespace", "shop")]).await;
    for name in ["\"Shop.Orders\"", "shop_orders", "shop.shop_orders", "has_table"] {
        let sql = format!("select count(*) from {name} version as of 0");
        let error = ask(&engine, &sql).await.unwrap_err();
        // A topic without a table would have no versions.
        assert!(error.to_string().contains("has no version yet"), "{name}: {error}");
    }
    for name in ["\"my.topic\"", "my_topic", "MY_TOPIC", "\"has.table\"", "other"] {
        let sql = format!("select count(*) from {name}");
        assert_eq!(ask(&engine, &sql).await.unwrap(), ["0"], "{name}");
    }
    for name in ["__hidden", "\"MY.TOPIC\"", "nowhere"] {
        ask(&engine, &format!("select count(*) from {name}")).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_a_table_from_the_first_on() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    let sql =
        "select kafka_offset, encode(value, 'hex'), reason is not null from t__dlq order by 1";
    assert!(ask(&engine, sql).await.unwrap().is_empty());
    let sums = "select (select count(*) from t) as rows, (select count(*) from t__dlq) as dead";
    for round in 0..6_i64 {
        lake.produce(0, &[r#"{"n":1}"#, "no"]).await;
        // In the log or in the table: there once.
        let found = ask(&engine, sums).await.unwrap();
        assert_eq!(found, [format!("{0}|{0}", round + 1)]);
    }
    assert_eq!(ask(&engine, sql).await.unwrap()[..2], ["1|6e6f|true", "3|6e6f|true"]);
    lake.caught_up(&running).await;
    assert_eq!(ask(&engine, "select count(*) from T__DLQ").await.unwrap(), ["6"]);
    let versions = ask(&engine, "select count(*) from t__dlq version as of 0").await.unwrap();
    assert_eq!(versions, ["0"]);
    let error = ask(&engine, "select 1 from t__dlq as of offset '0:1'").await.unwrap_err();
    assert_eq!(error.sql_state(), "0A000");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_skipped_is_no_dead_letter() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(1, &[("table.errors", "skip")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    lake.produce(0, &["no"]).await;
    assert_eq!(ask(&engine, "select count(*) from t__dlq").await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_schemas() {
    let spill = tempfile::tempdir().unwrap();
    let keys =
        [("table.namespace", "Sales"), ("table.dlq", "bad"), ("table.value.convert", "json")];
    let lake = Lake::new(1, &keys).await;
    lake.create("u", &[("table.enable", "true")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    // As the first that is looked up: nobody has refreshed the catalog yet.
    assert_eq!(ask(&engine, "select count(*) from sales.t").await.unwrap(), ["0"]);
    lake.produce(0, &[r#"{"n":1}"#, "nonsense"]).await;
    let wait = "select n from \"Sales\".t at least offset '0:1'";
    assert_eq!(ask(&engine, wait).await.unwrap(), ["1"]);
    assert_eq!(ask(&engine, "select n from sales.T as of offset '0:1'").await.unwrap(), ["1"]);
    let dead = "select kafka_offset from sales.bad";
    assert_eq!(ask(&engine, dead).await.unwrap(), ["1"]);
    // The topic is found by its own name wherever its table is.
    assert_eq!(ask(&engine, "select n from t").await.unwrap(), ["1"]);
    for nowhere in ["sales.u", "sales.t__dlq", "public.bad", "other.t", "pg_catalog.t"] {
        let error = ask(&engine, &format!("select 1 from {nowhere}")).await.unwrap_err();
        assert!(error.to_string().contains("not found"), "{nowhere}: {error}");
    }
    let tables = "select table_schema, table_name from information_schema.tables \
                  where table_schema <> 'information_schema' order by 1, 2";
    let expected = ["Sales|bad", "Sales|t", "public|u", "public|u__dlq"];
    assert_eq!(ask(&engine, tables).await.unwrap(), expected);
    lake.caught_up(&running).await;
    assert_eq!(ask(&engine, "select n from sales.t version as of 1").await.unwrap(), ["1"]);
}

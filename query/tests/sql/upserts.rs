//! Tables of the newest record of each key: the answer is the same wherever the records are.

use broker::testing::EPOCH_MS;

use super::{
    ask, engine,
    support::{Lake, Record},
};

fn record<'a>(key: &'a str, value: Option<&'a str>) -> Record<'a> {
    (EPOCH_MS, Some(key.as_bytes()), value.map(str::as_bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_record_of_a_key_counts_in_table_and_tail() {
    let spill = tempfile::tempdir().unwrap();
    let lake = Lake::new(2, &[("table.mode", "upsert")]).await;
    let sql = "select cast(kafka_key as varchar), n, kafka_offset from t order by 1";
    let first = [
        record("a", Some(r#"{"n":1}"#)),
        record("b", Some(r#"{"n":2}"#)),
        record("a", Some(r#"{"n":3}"#)),
        record("c", Some(r#"{"n":4}"#)),
    ];
    lake.append_records(0, None, &first).await;
    {
        let running = lake.sink();
        let engine = engine(&lake, &running, &spill);
        // Nothing is committed yet, or everything is.
        assert_eq!(ask(&engine, sql).await.unwrap(), ["a|3|2", "b|2|1", "c|4|3"]);
        lake.caught_up(&running).await;
        assert_eq!(ask(&engine, sql).await.unwrap(), ["a|3|2", "b|2|1", "c|4|3"]);
    }
    lake.set(&[("table.commit.interval.ms", "900000")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    let second = [
        record("b", Some(r#"{"n":20,"new":"x"}"#)),
        record("c", None),
        record("d", Some(r#"{"n":5}"#)),
        record("e", Some(r#"{"n":6}"#)),
        record("e", None),
    ];
    lake.append_records(0, None, &second).await;
    assert_eq!(ask(&engine, sql).await.unwrap(), ["a|3|2", "b|20|4", "d|5|6"]);
    assert_eq!(ask(&engine, "select count(*), sum(n) from t").await.unwrap(), ["3|28"]);
    // A filter that the replaced row passes finds nothing.
    assert_eq!(ask(&engine, "select count(*) from t where n = 2").await.unwrap(), ["0"]);
    assert_eq!(ask(&engine, "select new from t where n > 4 order by n").await.unwrap(), ["", "x"]);
    let by_key = "select n from t where kafka_key = X'62'";
    assert_eq!(ask(&engine, by_key).await.unwrap(), ["20"]);
    let past = "select * from t as of offset '0:3'";
    let error = ask(&engine, past).await.unwrap_err();
    assert!(error.to_string().contains("newest record of each key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_table_has_no_offsets_to_go_back_to_from_the_first_on() {
    let spill = tempfile::tempdir().unwrap();
    let keys = [("table.mode", "upsert"), ("table.schema.sample.ms", "900000")];
    let lake = Lake::new(1, &keys).await;
    lake.append_records(0, None, &[record("a", Some(r#"{"n":1}"#))]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    let error = ask(&engine, "select * from t as of offset '0:1'").await.unwrap_err();
    assert!(error.to_string().contains("newest record of each key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_told_apart_by_columns_in_table_and_tail() {
    let spill = tempfile::tempdir().unwrap();
    let keys = [
        ("table.mode", "upsert"),
        ("table.key.convert", "string"),
        ("table.schema", "id BIGINT, n BIGINT"),
        ("table.id.columns", "id"),
        ("table.cdc.field", "op"),
    ];
    let lake = Lake::new(2, &keys).await;
    let sql = "select id, n, kafka_key, kafka_partition from t order by id";
    let first = [
        record("x", Some(r#"{"id":1,"n":1}"#)),
        record("x", Some(r#"{"id":2,"n":2}"#)),
        record("x", Some(r#"{"id":3,"n":3}"#)),
    ];
    lake.append_records(0, None, &first).await;
    {
        let running = lake.sink();
        let engine = engine(&lake, &running, &spill);
        let expected = ["1|1|x|0", "2|2|x|0", "3|3|x|0"];
        assert_eq!(ask(&engine, sql).await.unwrap(), expected);
        lake.caught_up(&running).await;
        assert_eq!(ask(&engine, sql).await.unwrap(), expected);
    }
    lake.set(&[("table.commit.interval.ms", "900000")]).await;
    let running = lake.sink();
    let engine = engine(&lake, &running, &spill);
    let nothing = r#"{"id":9,"n":9}"#;
    let second = [
        record("y", Some(nothing)),
        record("y", Some(nothing)),
        record("y", Some(nothing)),
        record("y", Some(r#"{"id":1,"n":10}"#)),
        record("y", Some(r#"{"id":2,"op":"d"}"#)),
        record("y", Some(r#"{"id":9,"op":"d"}"#)),
        record("y", None),
    ];
    lake.append_records(1, None, &second).await;
    assert_eq!(ask(&engine, sql).await.unwrap(), ["1|10|y|1", "3|3|x|0"]);
    let filtered = |filter: &str| format!("select id from t where {filter} order by id");
    for (filter, expected) in [
        ("id = 1", &["1"][..]),
        ("id < 3", &["1"]),
        ("kafka_key = 'x'", &["3"]),
        ("kafka_key = 'y' and id > 0", &["1"]),
        ("n = 1", &[]),
    ] {
        assert_eq!(ask(&engine, &filtered(filter)).await.unwrap(), expected, "{filter}");
    }
}

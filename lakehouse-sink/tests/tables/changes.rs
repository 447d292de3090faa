//! Changes of rows of a database: what Debezium sends, and tables that are what the database is.

use std::time::Duration;

use broker::testing::EPOCH_MS;
use table::rules::ValueFormat;
use tokio::time::sleep;

use crate::support::{Lake, Record, row};

fn record<'a>(key: &'a str, value: Option<&'a str>) -> Record<'a> {
    (EPOCH_MS, Some(key.as_bytes()), value.map(str::as_bytes))
}

/// A change event: what was done, and the row before and after.
fn event(op: &str, before: &str, after: &str) -> String {
    let source = r#"{"db":"shop","schema":"public","table":"orders"}"#;
    format!(r#"{{"op":"{op}","before":{before},"after":{after},"source":{source},"ts_ms":9}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_what_the_database_is() {
    for by_column in [false, true] {
        let mut keys = vec![("table.mode", "upsert"), ("table.transform", "flatten_debezium")];
        if by_column {
            keys.extend([("table.schema", "id BIGINT"), ("table.id.columns", "id")]);
        }
        let lake = Lake::new(2, &keys).await;
        let (one, two) = (r#"{"id":1,"n":"a"}"#, r#"{"id":2,"n":"b"}"#);
        let (read, created) = (event("r", "null", one), event("c", "null", two));
        let first = [record("1", Some(&read)), record("2", Some(&created))];
        lake.append_records(0, None, &first).await;
        let running = lake.sink();
        lake.caught_up(&running).await;
        let op = |op: &str| format!("_cdc={{op: {op}, ts_ms: 9, source: shop.public.orders}}");
        let inserted = op("I");
        assert_eq!(
            lake.rows(&running).await,
            [row(0, 0, &["id=1", "n=a", &inserted]), row(0, 1, &["id=2", "n=b", &inserted])]
        );
        // One is deleted, with the tombstone that follows; the other gets a column.
        let more = r#"{"id":2,"n":"c","m":true}"#;
        let (deleted, updated) = (event("d", one, "null"), event("u", two, more));
        let truncated = event("t", "null", "null");
        let second = [
            record("1", Some(&deleted)),
            record("1", None),
            record("2", Some(&updated)),
            record("x", Some(&truncated)),
        ];
        lake.append_records(0, None, &second).await;
        let status = lake.caught_up(&running).await;
        let updated = op("U");
        assert_eq!(
            lake.rows(&running).await,
            [row(0, 4, &["id=2", "n=c", &updated, "m=true"])],
            "by column: {by_column}"
        );
        assert_eq!(status.dead, 1);
        // A tombstone on its own is progress, too.
        lake.append_records(0, None, &[record("1", None)]).await;
        let status = lake.caught_up(&running).await;
        assert_eq!((status.lag, status.dead), (0, 1), "by column: {by_column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_told_apart_by_columns_across_partitions_and_keys() {
    let keys = [
        ("table.mode", "upsert"),
        ("table.schema", "part STRING, id BIGINT, n BIGINT"),
        ("table.id.columns", "id, part"),
        ("table.cdc.field", "__deleted"),
    ];
    let lake = Lake::new(2, &keys).await;
    let values = |values: &[&'static str]| -> Vec<Record<'static>> {
        values.iter().map(|value| (EPOCH_MS, None, Some(value.as_bytes()))).collect()
    };
    let first = [r#"{"part":"a","id":1,"n":1}"#, r#"{"part":"b","id":1,"n":2}"#];
    lake.append_records(0, None, &values(&first)).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    let second = [
        r#"{"part":"z","id":9,"n":9}"#,
        r#"{"part":"z","id":9,"__deleted":"true"}"#,
        r#"{"part":"a","id":1,"n":3}"#,
        r#"{"part":"b","id":1,"__deleted":true}"#,
        r#"{"id":1}"#,
    ];
    lake.append_records(1, None, &values(&second)).await;
    let status = lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, [row(1, 2, &["part=a", "id=1", "n=3"])]);
    assert_eq!(status.dead, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_fields_are_columns_where_that_is_asked_for() {
    let lake = Lake::new(1, &[("table.transform", "flatten")]).await;
    lake.produce(0, &[r#"{"a":{"b":1,"c":{"d":"x"}},"l":[{"e":1}]}"#]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    lake.produce(0, &[r#"{"a":{"b":"two","f":true},"a_b":3}"#]).await;
    lake.caught_up(&running).await;
    let rescued = r#"kafka_rescued={"a.b":"two","a_b":3}"#;
    assert_eq!(
        lake.rows(&running).await,
        [row(0, 0, &["a_b=1", "a_c_d=x", "l=[{e: 1}]"]), row(0, 1, &[rescued, "a_f=true"])]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_values_say_how_values_are_understood() {
    let cases: [(&[&[u8]], &[&str]); 3] = [
        (&[b"{\"a\":1}", b"text"], &["a=1"]),
        (&[b"text", b"more", b"{}"], &["value=text"]),
        (&[b"text", b"\xff", b"\xfe"], &["value=74657874"]),
    ];
    for (values, first) in cases {
        let lake = Lake::new(1, &[]).await;
        lake.produce(0, values).await;
        let running = lake.sink();
        let status = lake.caught_up(&running).await;
        assert_eq!(lake.rows(&running).await[0], row(0, 0, first));
        // Once it is settled it stays.
        lake.produce(0, &[r#"{"a":2}"#]).await;
        lake.caught_up(&running).await;
        let rows = lake.rows(&running).await.len();
        assert_eq!(rows + usize::try_from(status.dead).unwrap(), values.len() + 1);
    }
}

/// Tombstones and aborted records say nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_value_settles_no_format() {
    let lake = Lake::new(2, &[("table.schema.sample.records", "2")]).await;
    for _ in 0..3 {
        lake.append_records(0, None, &[record("k", None)]).await;
    }
    lake.transact(0, 7, &[r#"{"n":1}"#], false).await;
    let running = lake.sink();
    let table = lake.table(&running).await;
    for _ in 0..20 {
        sleep(Duration::from_millis(20)).await;
        assert!(table.schema().is_none());
    }
    lake.append_records(1, None, &[record("k", Some("text"))]).await;
    lake.caught_up(&running).await;
    let tombstones = [row(0, 0, &[]), row(0, 1, &[]), row(0, 2, &[])];
    let expected = [&tombstones[..], &[row(1, 0, &["value=text"])]].concat();
    assert_eq!(lake.rows(&running).await, expected);
    // Built anew without a value it keeps its format.
    lake.partition(1).delete_records(1).await.unwrap();
    running.catalog.rebuild("t", true, 0).await.unwrap();
    lake.until(&running, |_| running.catalog.tables().iter().all(|t| t.incarnation() == 2)).await;
    let format = lake.table(&running).await.schema().unwrap().rules.format;
    assert_eq!(format, ValueFormat::String);
}

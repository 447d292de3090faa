//! What becomes of values and records that do not fit.

use lakehouse_sink::Activity;
use table::{rules::ValueFormat, table::Table};

use crate::support::{Lake, Running, row};

/// Something of all tables.
fn sorted(running: &Running, of: impl Fn(&Table) -> String) -> Vec<String> {
    let mut found: Vec<_> = running.catalog.tables().iter().map(|table| of(table)).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn new_fields_become_columns_and_misfits_are_rescued() {
    let lake = Lake::new(1, &[]).await;
    lake.produce(0, &[r#"{"a":1}"#]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    lake.produce(0, &[r#"{"a":"text","b":true}"#, r#"{"b":false,"c":{"d":1.5}}"#]).await;
    lake.caught_up(&running).await;
    lake.produce(0, &[r#"{"c":{"d":2,"e":"x"}}"#]).await;
    let status = lake.caught_up(&running).await;
    assert_eq!(
        lake.rows(&running).await,
        [
            row(0, 0, &["a=1"]),
            row(0, 1, &[r#"kafka_rescued={"a":"text"}"#, "b=true"]),
            row(0, 2, &["b=false", "c={d: 1.5, e: }"]),
            row(0, 3, &["c={d: 2.0, e: x}"]),
        ]
    );
    assert_eq!(status.rescued_values, 1);
    let schema = lake.table(&running).await.schema().unwrap();
    assert_eq!(schema.version, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_strict_evolution_new_fields_are_rescued() {
    let keys = [("table.schema", "a BIGINT"), ("table.schema.evolution", "strict")];
    let lake = Lake::new(1, &keys).await;
    lake.produce(0, &[r#"{"a":1,"b":2}"#]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    let expected = [row(0, 0, &[r#"kafka_rescued={"b":2}"#, "a=1"])];
    assert_eq!(lake.rows(&running).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_in_the_dead_letter_table_once() {
    let lake = Lake::new(1, &[]).await;
    lake.produce(0, &[&b"{\"a\":1}"[..], b"nonsense", b"\xff", b"{\"a\":2}"]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    lake.produce(0, &["[]"]).await;
    let status = lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, [row(0, 0, &["a=1"]), row(0, 3, &["a=2"])]);
    assert_eq!(status.dead, 3);
    let dead = format!("{}__dlq", lake.table(&running).await.directory());
    let found = lake.rows_of(&dead).await;
    let offsets: Vec<_> = found.iter().map(|(_, offset, _)| *offset).collect();
    assert_eq!(offsets, [1, 2, 4]);
    assert!(
        found[0].2[0].starts_with("value=") && found[0].2[1].starts_with("reason=the value is")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_table_stands_before_the_record_until_it_is_told_otherwise() {
    let lake = Lake::new(1, &[("table.errors", "suspend")]).await;
    lake.produce(0, &["{\"a\":1}", "nonsense", "{\"a\":2}"]).await;
    let running = lake.sink();
    let status =
        lake.until(&running, |status| matches!(status.activity, Activity::Suspended { .. })).await;
    let Activity::Suspended { offset, reason, .. } = status.activity else { panic!() };
    assert!(offset == 1 && reason.contains("not JSON"));
    assert_eq!(lake.rows(&running).await, [row(0, 0, &["a=1"])]);
    lake.set(&[("table.errors", "skip")]).await;
    let status = lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, [row(0, 0, &["a=1"]), row(0, 2, &["a=2"])]);
    assert_eq!(status.dead, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_it_was_written_is_a_recorded_gap() {
    let lake = Lake::new(1, &[("table.value.convert", "string")]).await;
    lake.produce(0, &["0", "1"]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    drop(running);
    lake.produce(0, &["2", "3", "4"]).await;
    lake.partition(0).delete_records(4).await.unwrap();
    let running = lake.sink();
    lake.caught_up(&running).await;
    let expected = [row(0, 0, &["value=0"]), row(0, 1, &["value=1"]), row(0, 4, &["value=4"])];
    assert_eq!(lake.rows(&running).await, expected);
    let gaps = lake.table(&running).await.gaps();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].partition, gaps[0].from, gaps[0].to), (0, 2, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_anew_has_a_table_of_its_own() {
    let mut lake = Lake::new(1, &[("table.value.convert", "string")]).await;
    lake.produce(0, &["old", "older"]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    let old = lake.table(&running).await.directory();
    lake.recreate(1).await;
    lake.produce(0, &["new"]).await;
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, [row(0, 0, &["value=new"])]);
    assert_ne!(lake.table(&running).await.directory(), old);
    // What was there stays where it was.
    assert_eq!(lake.rows_of(&old).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_topics_that_claim_one_name_one_has_it_and_the_other_is_told() {
    let lake = Lake::new(1, &[]).await;
    let enabled = [("table.enable", "true")];
    lake.create("a.b", &enabled).await;
    lake.create("a_b", &enabled).await;
    lake.create("A_B", &[("table.enable", "true"), ("table.name", "another")]).await;
    let running = lake.sink();
    running.catalog.refresh().await.unwrap();
    let names = sorted(&running, |table| format!("{} {}", table.topic(), table.name()));
    assert_eq!(names, ["A_B another", "a.b a_b", "t t"]);
    let refused = running.catalog.refused();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].topic, "a_b");
    assert!(refused[0].reason.contains("belongs to topic a.b; set table.name"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_other_products_are_tables() {
    let lake = Lake::new(1, &[("table.enable", "false")]).await;
    let keys = [("redpanda.iceberg.mode", "key_value"), ("redpanda.iceberg.delete", "true")];
    lake.create("migrated", &keys).await;
    let running = lake.sink();
    running.catalog.refresh().await.unwrap();
    let table = running.catalog.table_named("migrated").unwrap();
    assert_eq!(table.config().format, Some(ValueFormat::Raw));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_within_a_namespace_dead_letter_tables_included() {
    let lake = Lake::new(1, &[]).await;
    let enabled = ("table.enable", "true");
    lake.create("eu.t", &[enabled, ("table.name", "t"), ("table.namespace", "eu")]).await;
    lake.create("eu.t2", &[enabled, ("table.name", "T"), ("table.namespace", "EU")]).await;
    lake.create("t__dlq", &[enabled]).await;
    lake.create("u", &[enabled, ("table.dlq", "T")]).await;
    lake.create("v", &[enabled, ("table.dlq", "t")]).await;
    lake.create("w", &[enabled, ("table.dlq", "w")]).await;
    lake.create("x", &[enabled, ("table.dlq", "bad_x")]).await;
    let running = lake.sink();
    running.catalog.refresh().await.unwrap();
    let names = sorted(&running, |table| {
        format!("{} {} {}", table.topic(), table.name(), table.dead_letters())
    });
    assert_eq!(names, ["eu.t eu.t eu.t__dlq", "t t t__dlq", "x x bad_x"]);
    let refused: Vec<_> = running
        .catalog
        .refused()
        .into_iter()
        .map(|refused| format!("{}: {}", refused.topic, refused.reason))
        .collect();
    let belongs = |topic: &str, name: &str, owner: &str, key: &str| {
        format!("{topic}: the table name {name} belongs to topic {owner}; set {key} to another")
    };
    assert_eq!(
        refused,
        [
            belongs("eu.t2", "EU.T", "eu.t", "table.name"),
            belongs("t__dlq", "t__dlq", "t", "table.name"),
            belongs("u", "T", "t", "table.dlq"),
            belongs("v", "t", "t", "table.dlq"),
            belongs("w", "w", "w", "table.dlq"),
        ]
    );
    let eu = running.catalog.table_named("eu.t").unwrap();
    assert!(eu.directory().starts_with("tables/eu/t-"), "{}", eu.directory());
}

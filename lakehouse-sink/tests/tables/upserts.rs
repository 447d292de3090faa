//! Tables of the newest record of each key.

use std::collections::BTreeMap;

use broker::testing::EPOCH_MS;
use common::rng::Rng;
use storage::object_store::faulty::{Fault, Operation};

use crate::support::{Lake, Record, Row, Running, row};

const UPSERT: [(&str, &str); 2] = [("table.mode", "upsert"), ("table.value.convert", "string")];

fn record<'a>(key: &'a str, value: Option<&'a str>) -> Record<'a> {
    (EPOCH_MS, Some(key.as_bytes()), value.map(str::as_bytes))
}

/// Rows in the order of their offsets.
async fn rows(lake: &Lake, running: &Running) -> Vec<Row> {
    let mut rows = lake.rows(running).await;
    rows.sort_by_key(|(partition, offset, _)| (*partition, *offset));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_record_of_a_key_is_its_row_and_tombstones_delete() {
    let lake = Lake::new(1, &UPSERT).await;
    let first = [record("a", Some("1")), record("b", Some("1")), record("a", Some("2"))];
    lake.append_records(0, None, &first).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    assert_eq!(rows(&lake, &running).await, [row(0, 1, &["value=1"]), row(0, 2, &["value=2"])]);
    // Offsets 3 to 5: one key changes, one goes, one comes and goes within the commit.
    let second =
        [record("a", Some("3")), record("b", None), record("c", Some("1")), record("c", None)];
    lake.append_records(0, None, &second).await;
    lake.caught_up(&running).await;
    assert_eq!(rows(&lake, &running).await, [row(0, 3, &["value=3"])]);
    drop(running);
    // Nothing changes, and yet there is progress.
    let running = lake.sink();
    lake.append_records(0, None, &[record("nobody", None)]).await;
    lake.caught_up(&running).await;
    lake.append_records(0, None, &[record("b", Some("4"))]).await;
    lake.caught_up(&running).await;
    assert_eq!(rows(&lake, &running).await, [row(0, 3, &["value=3"]), row(0, 8, &["value=4"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_key_are_dead_letters() {
    let lake = Lake::new(1, &UPSERT).await;
    let records: [Record<'_>; 2] = [(EPOCH_MS, None, Some(b"x")), record("a", Some("1"))];
    lake.append_records(0, None, &records).await;
    let running = lake.sink();
    let status = lake.caught_up(&running).await;
    assert_eq!(rows(&lake, &running).await, [row(0, 1, &["value=1"])]);
    assert_eq!(status.dead, 1);
    let dead = format!("{}__dlq", lake.table(&running).await.directory());
    let found = lake.rows_of(&dead).await;
    assert!(found[0].2[1].contains("no key"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_fields_become_columns_of_upsert_tables_too() {
    let lake = Lake::new(1, &[("table.mode", "upsert")]).await;
    lake.append_records(0, None, &[record("a", Some(r#"{"x":1}"#))]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    let next = [record("b", Some(r#"{"x":2,"y":{"z":"new"}}"#))];
    lake.append_records(0, None, &next).await;
    lake.caught_up(&running).await;
    let expected = [row(0, 0, &["x=1"]), row(0, 1, &["x=2", "y={z: new}"])];
    assert_eq!(rows(&lake, &running).await, expected);
}

/// Random changes of few keys, with faults and restarts: the table is the map that they make.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_the_map_that_its_topic_describes() {
    for fault in [Fault::ResetBefore, Fault::ResetAfter] {
        let lake = Lake::new(2, &UPSERT).await;
        let rng = Rng::seeded(7);
        let mut map: BTreeMap<String, (i32, i64, String)> = BTreeMap::new();
        let mut ends = [0_i64; 2];
        for round in 0..5_usize {
            let script = std::iter::repeat_n(None, round % 4).chain([Some(fault)]);
            lake.faults.script(Operation::Put, script);
            let running = lake.sink();
            for partition in 0..2_i32 {
                let changes: Vec<_> = (0..6)
                    .map(|_| {
                        // A key has its partition.
                        let key = format!("{partition}-{}", rng.below(5));
                        let value = (rng.below(4) > 0).then(|| rng.below(1000).to_string());
                        (key, value)
                    })
                    .collect();
                let records: Vec<_> =
                    changes.iter().map(|(key, value)| record(key, value.as_deref())).collect();
                lake.append_records(partition, None, &records).await;
                let end = &mut ends[usize::try_from(partition).unwrap()];
                for (key, value) in changes {
                    match value {
                        Some(value) => map.insert(key, (partition, *end, value)),
                        None => map.remove(&key),
                    };
                    *end += 1;
                }
            }
            lake.caught_up(&running).await;
            let mut expected: Vec<Row> = map
                .values()
                .map(|(partition, offset, value)| {
                    row(*partition, *offset, &[&format!("value={value}")])
                })
                .collect();
            expected.sort_by_key(|(partition, offset, _)| (*partition, *offset));
            assert_eq!(rows(&lake, &running).await, expected, "{fault:?}, round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_need_no_feature_of_delta() {
    let lake = Lake::new(1, &UPSERT).await;
    lake.append_records(0, None, &[record("a", Some("1")), record("b", Some("1"))]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    lake.append_records(0, None, &[record("a", Some("2"))]).await;
    lake.caught_up(&running).await;
    let log = lake.log(&running).await;
    let state = log.table().snapshot().unwrap();
    assert_eq!(state.protocol().min_reader_version(), 1);
    assert!(state.log_data().iter().all(|file| file.deletion_vector_descriptor().is_none()));
}

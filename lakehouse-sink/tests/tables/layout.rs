//! How a table's files lie, and what becomes of them with time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use broker::testing::EPOCH_MS;
use common::clock::{Clock as _, SharedClock, SystemClock, TokioClock};
use deltalake::arrow::{array::Date32Array, util::display::array_value_to_string};
use table::partition;

use crate::support::{Lake, Record, Running, row};

const DAY_MS: i64 = 86_400_000;

/// The partition columns of each file, as `name=value` joined by `/`.
async fn divisions(lake: &Lake, running: &Running) -> Vec<String> {
    let log = lake.log(running).await;
    let mut found: Vec<String> = log
        .table()
        .snapshot()
        .unwrap()
        .log_data()
        .iter()
        .map(|file| {
            let values: BTreeSet<_> = file
                .partition_values_map()
                .into_iter()
                .map(|(name, value)| format!("{name}={}", value.unwrap_or("null".to_owned())))
                .collect();
            values.into_iter().collect::<Vec<_>>().join("/")
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_divided_by_day_bucket_and_column() {
    let by = "day(kafka_timestamp), bucket(4, kafka_key), carrier";
    let keys = [("table.partition.by", by), ("table.schema", "carrier STRING, delay BIGINT")];
    let lake = Lake::new(1, &keys).await;
    let (ua, aa) = (&br#"{"carrier":"UA","delay":1}"#[..], &br#"{"carrier":"AA","delay":2}"#[..]);
    let records: [Record<'_>; 5] = [
        (EPOCH_MS, Some(b"k"), Some(ua)),
        (EPOCH_MS + 1, Some(b"k"), Some(ua)),
        (EPOCH_MS + DAY_MS, Some(b"k"), Some(aa)),
        (-1, None, Some(aa)),
        (i64::MAX, Some(b"k"), None),
    ];
    lake.append_records(0, None, &records).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    let bucket = partition::bucket(b"k", 4);
    let day = |ms: i64| {
        let days = i64::from(partition::day(ms * 1000));
        let date = Date32Array::from(vec![i32::try_from(days).unwrap()]);
        array_value_to_string(&date, 0).unwrap()
    };
    let mut expected = vec![
        format!("carrier=UA/kafka_bucket={bucket}/kafka_day={}", day(EPOCH_MS)),
        format!("carrier=AA/kafka_bucket={bucket}/kafka_day={}", day(EPOCH_MS + DAY_MS)),
        "carrier=AA/kafka_bucket=null/kafka_day=null".to_owned(),
        format!("carrier=null/kafka_bucket={bucket}/kafka_day=null"),
    ];
    expected.sort();
    assert_eq!(divisions(&lake, &running).await, expected);
    let expected = [
        row(0, 0, &["carrier=UA", "delay=1"]),
        row(0, 1, &["carrier=UA", "delay=1"]),
        row(0, 2, &["carrier=AA", "delay=2"]),
        row(0, 3, &["carrier=AA", "delay=2"]),
        row(0, 4, &[]),
    ];
    assert_eq!(lake.rows(&running).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_writes_to_a_bounded_number_of_partitions() {
    let keys = [
        ("table.partition.by", "day(kafka_timestamp)"),
        ("table.partitions.per.commit.max", "2"),
        ("table.value.convert", "raw"),
    ];
    let lake = Lake::new(3, &keys).await;
    for partition in 0..3 {
        let at = EPOCH_MS + i64::from(partition) * DAY_MS;
        lake.append_records(partition, None, &[(at, None, Some(b"x"))]).await;
    }
    let running = lake.sink();
    let status = lake.caught_up(&running).await;
    assert_eq!(divisions(&lake, &running).await.len(), 3);
    // The table's creation, and two commits.
    assert_eq!(status.version, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_are_merged_and_rows_and_progress_stay() {
    let keys = [("table.value.convert", "string"), ("table.target.file.bytes", "1048576")];
    let lake = Lake::new(1, &keys).await;
    let running = lake.sink();
    let mut expected = Vec::new();
    for round in 0..20 {
        let value = round.to_string();
        lake.produce(0, &[&value]).await;
        lake.caught_up(&running).await;
        expected.push(row(0, round, &[&format!("value={value}")]));
    }
    let status = lake.until(&running, |status| status.merged_files >= 8).await;
    assert!(divisions(&lake, &running).await.len() < 20, "{status:?}");
    drop(running);
    let running = lake.sink();
    lake.produce(0, &["20"]).await;
    expected.push(row(0, 20, &["value=20"]));
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_files_go_when_they_were_kept_long_enough() {
    let keys = [
        ("table.value.convert", "string"),
        ("table.retention.ms", "86400000"),
        ("table.snapshot.retention.ms", "3600000"),
    ];
    let lake = Lake::new(1, &keys).await;
    let now = SystemClock::new().now_ms();
    let records: [Record<'_>; 3] = [
        (now - 5 * DAY_MS, None, Some(b"old")),
        (-1, None, Some(b"timeless")),
        (now, None, Some(b"new")),
    ];
    lake.append_records(0, None, &records).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await.len(), 3);
    drop(running);
    let today: SharedClock = Arc::new(TokioClock::starting_at(now));
    let running = lake.sink_by(&today);
    lake.until(&running, |status| status.expired_rows == 1).await;
    let expected = [row(0, 1, &["value=timeless"]), row(0, 2, &["value=new"])];
    assert_eq!(lake.rows(&running).await, expected);
    drop(running);
    // However old it is, the version with all three rows is one of the newest.
    let later = Duration::from_secs(7200);
    let later: SharedClock =
        Arc::new(TokioClock::starting_at(now + i64::try_from(later.as_millis()).unwrap()));
    let running = lake.sink_by(&later);
    let status = lake.until(&running, |status| status.last_cleaning_ms.is_some()).await;
    assert_eq!(status.vacuumed_files, 0);
    let log = lake.log(&running).await;
    let configuration = log.table().snapshot().unwrap().metadata().configuration().clone();
    assert_eq!(configuration["delta.deletedFileRetentionDuration"], "interval 1 hours");
    drop(running);
    lake.set(&[("table.snapshot.min", "1")]).await;
    let running = lake.sink_by(&later);
    let status = lake.until(&running, |status| status.vacuumed_files > 0).await;
    assert_eq!(status.vacuumed_files, 1);
    assert_eq!(lake.rows(&running).await, expected);
    lake.produce(0, &["more"]).await;
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await.len(), 3);
}

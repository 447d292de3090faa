//! Dead letters become rows once they can be decoded: each once, whatever fails or competes.

use futures::TryStreamExt as _;
use lakehouse_sink::{ReplayError, Replayed};
use storage::object_store::faulty::{Fault, Operation};

use crate::support::{Lake, Row, Running, row};

/// What the values of [`broken`] lack is a prefix less.
const FIX: &str = "substr(text, 2)";

/// JSON with a character before it.
fn broken(from: i64, to: i64) -> Vec<String> {
    (from..to).map(|n| format!("!{{\"n\":{n}}}")).collect()
}

fn rows(partition: i32, offsets: std::ops::Range<i64>) -> Vec<Row> {
    offsets.map(|n| row(partition, n, &[&format!("n={n}")])).collect()
}

async fn dead(lake: &Lake, running: &Running) -> Vec<(i32, i64)> {
    let directory = format!("{}__dlq", lake.table(running).await.directory());
    let rows = lake.rows_of(&directory).await;
    rows.into_iter().map(|(partition, offset, _)| (partition, offset)).collect()
}

/// Most values are none.
const JSON: [(&str, &str); 1] = [("table.value.convert", "json")];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mended_is_a_row_at_its_own_offset() {
    let lake = Lake::new(2, &JSON).await;
    let running = lake.sink();
    for partition in 0..2 {
        lake.produce(partition, &["{\"n\":0}"]).await;
        lake.produce(partition, &broken(1, 4)).await;
        lake.caught_up(&running).await;
        lake.produce(partition, &["nonsense", "{\"n\":5}", "!{\"n\":6}"]).await;
        lake.caught_up(&running).await;
    }
    // The log is not needed.
    lake.partition(0).delete_records(7).await.unwrap();
    let untouched = running.sink.replay("t", None).await.unwrap();
    assert_eq!(untouched, Replayed { rows: 0, left: 10, version: None });
    let mended = running.sink.replay("t", Some(FIX)).await.unwrap();
    assert_eq!((mended.rows, mended.left), (8, 2));
    let expected = [0, 1].map(|p| [rows(p, 0..4), rows(p, 5..7)].concat()).concat();
    assert_eq!(lake.rows(&running).await, expected);
    assert_eq!(dead(&lake, &running).await, [(0, 4), (1, 4)]);
    // Once is enough, and everything else goes on.
    let again = running.sink.replay("t", Some(FIX)).await.unwrap();
    assert_eq!((again.rows, again.left), (0, 2));
    lake.produce(0, &["{\"n\":7}", "!{\"n\":8}"]).await;
    lake.caught_up(&running).await;
    let more = running.sink.replay("t", Some(FIX)).await.unwrap();
    assert_eq!((more.rows, more.left), (1, 2));
    let expected = [rows(0, 0..4), rows(0, 5..9), rows(1, 0..4), rows(1, 5..7)].concat();
    assert_eq!(lake.rows(&running).await, expected);
    assert_eq!(dead(&lake, &running).await, [(0, 4), (1, 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mended_values_may_bring_new_columns() {
    let lake = Lake::new(1, &JSON).await;
    let running = lake.sink();
    lake.produce(0, &["{\"n\":0}", "!{\"n\":1,\"new\":\"x\"}"]).await;
    lake.caught_up(&running).await;
    running.sink.replay("t", Some(FIX)).await.unwrap();
    let expected = [row(0, 0, &["n=0"]), row(0, 1, &["n=1", "new=x"])];
    assert_eq!(lake.rows(&running).await, expected);
    lake.produce(0, &["{\"n\":2,\"new\":\"y\"}"]).await;
    lake.caught_up(&running).await;
    assert_eq!(lake.rows(&running).await[2], row(0, 2, &["n=2", "new=y"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_say_what_was_replayed_and_are_bounded_in_partitions() {
    let keys =
        [("table.partition.by", "bucket(4, kafka_key)"), ("table.partitions.per.commit.max", "1")];
    let lake = Lake::new(1, &[&JSON[..], &keys].concat()).await;
    let running = lake.sink();
    let keys: Vec<_> = (0..6_u8).map(|n| [b'k', n]).collect();
    let value = b"!{\"n\":1}";
    let records: Vec<_> = keys.iter().map(|key| (0, Some(&key[..]), Some(&value[..]))).collect();
    lake.append_records(0, None, &records).await;
    lake.caught_up(&running).await;
    let before = running.sink.replay("t", None).await.unwrap();
    assert_eq!((before.rows, before.version), (0, None));
    let mended = running.sink.replay("t", Some(FIX)).await.unwrap();
    assert_eq!((mended.rows, mended.left), (6, 0));
    assert_eq!(dead(&lake, &running).await, []);
    let log = lake.log(&running).await;
    let history: Vec<_> = log.table().history(None).try_collect().await.unwrap();
    let replays: Vec<_> =
        history.iter().filter_map(|commit| commit.info.get("kafkaReplayed")).collect();
    assert!(replays.len() > 1, "{history:?}");
    let count: u64 = replays.iter().map(|info| info["0"]["records"].as_u64().unwrap()).sum();
    assert_eq!(count, 6);
}

/// Each request to the store fails in turn; then the replay is asked for again.
async fn failing_in_turn(fault: Fault) {
    let mut failed = 0;
    for operation in [Operation::Put, Operation::Multipart, Operation::Get, Operation::List] {
        for point in 0..5 {
            let lake = Lake::new(2, &JSON).await;
            let running = lake.sink();
            for partition in 0..2 {
                lake.produce(partition, &["{\"n\":0}"]).await;
                lake.produce(partition, &broken(1, 3)).await;
                lake.produce(partition, &["nonsense"]).await;
                lake.caught_up(&running).await;
            }
            let script = std::iter::repeat_n(None, point).chain([Some(fault)]);
            lake.faults.script(operation, script);
            failed += usize::from(running.sink.replay("t", Some(FIX)).await.is_err());
            lake.faults.script(operation, []);
            let rest = running.sink.replay("t", Some(FIX)).await.unwrap();
            let case = format!("{fault:?} {operation:?} {point}");
            assert_eq!(rest.left, 2, "{case}");
            let expected = [rows(0, 0..3), rows(1, 0..3)].concat();
            assert_eq!(lake.rows(&running).await, expected, "{case}");
            assert_eq!(dead(&lake, &running).await, [(0, 3), (1, 3)], "{case}");
        }
    }
    assert!(failed >= 5, "only {failed} replays met a fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_whose_request_was_lost_is_finished_by_the_next_one() {
    failing_in_turn(Fault::ResetBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_whose_answer_was_lost_is_finished_by_the_next_one() {
    failing_in_turn(Fault::ResetAfter).await;
}

/// Files of the dead-letter table.
async fn dead_files(lake: &Lake, running: &Running) -> usize {
    let directory = format!("{}__dlq", lake.table(running).await.directory());
    let log = lake.log_of(&directory).await;
    log.table().snapshot().unwrap().log_data().num_files()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_of_dead_letters_are_merged_and_replayed_in_order() {
    let lake = Lake::new(2, &JSON).await;
    let running = lake.sink();
    let mut merged = 0;
    for round in 0..24 {
        lake.produce(round % 2, &broken(0, 2)).await;
        let status = lake.caught_up(&running).await;
        merged = status.merged_files;
    }
    let status = lake.until(&running, |status| status.merged_files >= 16).await;
    assert!(merged <= status.merged_files);
    assert!(dead_files(&lake, &running).await <= 10);
    let expected: Vec<_> = (0..2).flat_map(|p| (0..24).map(move |o| (p, o))).collect();
    assert_eq!(dead(&lake, &running).await, expected);
    let replayed = running.sink.replay("t", Some(FIX)).await.unwrap();
    assert_eq!((replayed.rows, replayed.left), (48, 0));
    assert_eq!(dead(&lake, &running).await, []);
    // Each commit goes on where the one before ended.
    let log = lake.log(&running).await;
    let history: Vec<_> = log.table().history(None).try_collect().await.unwrap();
    for partition in ["0", "1"] {
        let ranges = history.iter().rev().filter_map(|commit| {
            let replayed = commit.info.get("kafkaReplayed")?.get(partition)?;
            Some((replayed["first"].as_i64()?, replayed["last"].as_i64()?))
        });
        let ranges: Vec<_> = ranges.collect();
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
    }
}

/// Merging and replays take the same files; whoever comes second finds them gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_beside_merging_puts_each_row_once() {
    let lake = Lake::new(1, &JSON).await;
    let running = lake.sink();
    let mut rows_replayed = 0;
    for round in 0..40 {
        lake.produce(0, &broken(0, 1)).await;
        lake.caught_up(&running).await;
        if round % 3 == 2 {
            rows_replayed += running.sink.replay("t", Some(FIX)).await.unwrap().rows;
        }
    }
    rows_replayed += running.sink.replay("t", Some(FIX)).await.unwrap().rows;
    assert_eq!(rows_replayed, 40);
    assert_eq!(dead(&lake, &running).await, []);
    let offsets: Vec<_> = lake.rows(&running).await.iter().map(|(_, o, _)| *o).collect();
    assert_eq!(offsets, (0..40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_at_once_put_each_row_once() {
    let lake = Lake::new(2, &JSON).await;
    let (one, other) = (lake.sink(), lake.sink());
    for round in 0..5 {
        lake.produce(round % 2, &broken(0, 3)).await;
        lake.caught_up(&one).await;
    }
    for _ in 0..20 {
        let (first, second) =
            tokio::join!(one.sink.replay("t", Some(FIX)), other.sink.replay("t", Some(FIX)));
        // Who comes second is told, or finds nothing left, or a file that is gone.
        if let (Ok(first), Ok(second)) = (&first, &second)
            && first.left + second.left == 0
            && first.rows + second.rows == 0
        {
            break;
        }
    }
    assert_eq!(dead(&lake, &one).await, []);
    let offsets: Vec<_> = lake.rows(&one).await.iter().map(|(p, o, _)| (*p, *o)).collect();
    let expected: Vec<_> = (0..9).map(|o| (0, o)).chain((0..6).map(|o| (1, o))).collect();
    assert_eq!(offsets, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_is_said() {
    let lake = Lake::new(1, &[("table.mode", "upsert")]).await;
    let running = lake.sink();
    lake.produce(0, &["{\"n\":0}"]).await;
    lake.caught_up(&running).await;
    let error = running.sink.replay("t", None).await.unwrap_err();
    assert!(error.to_string().contains("upsert table"), "{error}");
    let error = running.sink.replay("u", None).await.unwrap_err();
    assert!(matches!(error, ReplayError::NoTable(_)));

    let lake = Lake::new(1, &JSON).await;
    let running = lake.sink();
    lake.produce(0, &["{\"n\":0}", "!"]).await;
    lake.caught_up(&running).await;
    for (fix, reason) in [("nothing", "nothing"), ("1 + 1", "Int64"), ("substr(", "fix: ")] {
        let error = running.sink.replay("t", Some(fix)).await.unwrap_err();
        assert!(matches!(error, ReplayError::Fix(_)), "{fix}: {error:?}");
        assert!(error.to_string().contains(reason), "{fix}: {error}");
    }
    // NULL leaves it alone.
    let left = running.sink.replay("t", Some("nullif(text, '!')")).await.unwrap();
    assert_eq!((left.rows, left.left), (0, 1));
}

//! Looking up offsets by time, over runs and extents and while records are deleted.

use streamhouse_storage::{Acks, Durability, IsolationLevel, Partition};

use crate::harness::*;

const ISOLATION: IsolationLevel = IsolationLevel::ReadUncommitted;

/// Appends batches of records at these times after the start; they become one extent.
async fn extent(partition: &Partition, batches: &[&[i64]]) {
    let mut last = None;
    for times in batches {
        let mut builder =
            protocol::records::BatchBuilder::new(protocol::records::Compression::None);
        for (delta, time) in (0..).zip(*times) {
            builder.append(delta, START_MS + time, None, Some(b"v"), &[]).unwrap();
        }
        last = Some(append(partition, Acks::All, &builder.build().unwrap()).unwrap());
    }
    last.unwrap().ticket.wait().await.unwrap();
}

async fn object_class(seed: u64) -> (Machine, Broker) {
    let mut machine = Machine::new(seed);
    machine.topic_config.durability = Durability::Object;
    let broker = machine.start(1).await;
    (machine, broker)
}

/// (offset, time) of the largest timestamp.
async fn max(partition: &Partition) -> Option<(i64, i64)> {
    let found = partition.max_timestamp_offset(ISOLATION).await.unwrap();
    found.map(|found| (found.offset, found.timestamp - START_MS))
}

/// (offset, time) of the first record at a time or later.
async fn at(partition: &Partition, time: i64) -> Option<(i64, i64)> {
    let found = partition.offset_for_timestamp(START_MS + time, ISOLATION).await.unwrap();
    found.map(|found| (found.offset, found.timestamp - START_MS))
}

#[tokio::test(start_paused = true)]
async fn the_largest_timestamp_is_that_of_the_records_that_are_left() {
    let (_machine, broker) = object_class(61).await;
    let partition = broker.partition(0);
    extent(&partition, &[&[100], &[90, 60, 80, 80], &[50]]).await;
    extent(&partition, &[&[70], &[75]]).await;
    assert_eq!(partition.offsets().committed_end, 8);
    assert_eq!(max(&partition).await, Some((0, 100)));
    // The log start in the middle of the extent, then of a batch, then past the large ones.
    for (log_start, expected) in
        [(1, (1, 90)), (2, (3, 80)), (4, (4, 80)), (5, (7, 75)), (7, (7, 75))]
    {
        partition.delete_records(log_start).await.unwrap();
        assert_eq!(max(&partition).await, Some(expected), "log start {log_start}");
    }
}

#[tokio::test(start_paused = true)]
async fn look_ups_find_the_same_in_memory_and_in_objects() {
    for durability in [Durability::Local, Durability::Object] {
        let mut machine = Machine::new(62);
        machine.topic_config.durability = durability;
        let broker = machine.start(1).await;
        let partition = broker.partition(0);
        for part in 0..3 {
            let batches: Vec<[i64; 2]> =
                (0..200).map(|n| part * 1_000 + n * 3).map(|n| [n, n + 1]).collect();
            let batches: Vec<&[i64]> = batches.iter().map(|times| &times[..]).collect();
            extent(&partition, &batches).await;
        }
        partition.delete_records(101).await.unwrap();
        assert_eq!(at(&partition, 0).await, Some((101, 151)));
        assert_eq!(at(&partition, 302).await, Some((202, 303)));
        assert_eq!(at(&partition, 600).await, Some((400, 1_000)));
        assert_eq!(at(&partition, 2_598).await, Some((1_199, 2_598)));
        assert_eq!(at(&partition, 2_599).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_gets_over_records_that_are_deleted_meanwhile() {
    for from in 1..30 {
        let (_machine, broker) = object_class(63).await;
        let partition = broker.partition(0);
        extent(&partition, &[&[100], &[90], &[95]]).await;
        let looked_up =
            async { tokio::join!(max(&partition), at(&partition, 0), at(&partition, 99)) };
        let deleted = async {
            for _ in 0..from {
                tokio::task::yield_now().await;
            }
            partition.delete_records(1).await.unwrap();
        };
        let ((max, first, none), ()) = tokio::join!(looked_up, deleted);
        assert!([Some((0, 100)), Some((2, 95))].contains(&max), "{max:?}");
        assert!([Some((0, 100)), Some((1, 90))].contains(&first), "{first:?}");
        assert!([Some((0, 100)), None].contains(&none), "{none:?}");
    }
}

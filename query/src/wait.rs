//! Waiting for records: read-your-writes with the offset that a producer got.

use std::{sync::Arc, time::Duration};

use storage::{Partition, ReadWaiter};
use table::table::Offsets;
use tokio::time::{sleep, timeout};

use crate::{error::ViewError, travel::Written};

/// Between two looks: a closed partition wakes whoever waits at once.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until the records at these offsets are below the last stable offsets of their
/// partitions.
///
/// # Errors
/// Where there is no such partition, or after `time`.
pub(crate) async fn reached(
    partitions: &[Arc<Partition>],
    offsets: &Offsets,
    time: Duration,
) -> Result<(), ViewError> {
    let awaited = named(partitions, offsets)?;
    match timeout(time, wait(&awaited)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(ViewError::Unreached {
            offsets: Written(offsets).to_string(),
            found: Written(&stable(awaited.iter().map(|(partition, _)| *partition))).to_string(),
            limit_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}

/// The partitions that offsets name.
///
/// # Errors
/// Where there is no such partition.
pub(crate) fn named<'a>(
    partitions: &'a [Arc<Partition>],
    offsets: &Offsets,
) -> Result<Vec<(&'a Arc<Partition>, i64)>, ViewError> {
    let find = |(index, offset): (&i32, &i64)| {
        let found = partitions.iter().find(|partition| partition.key().partition == *index);
        found.map(|partition| (partition, *offset)).ok_or_else(|| {
            let count = partitions.len();
            ViewError::Parameter(format!(
                "OFFSET '{}': there is no partition {index}, the topic has {count}",
                Written(offsets)
            ))
        })
    };
    offsets.iter().map(find).collect()
}

/// The last stable offsets of partitions.
pub(crate) fn stable<'a>(partitions: impl Iterator<Item = &'a Arc<Partition>>) -> Offsets {
    partitions
        .map(|partition| (partition.key().partition, partition.offsets().last_stable))
        .collect()
}

async fn wait(awaited: &[(&Arc<Partition>, i64)]) {
    let are_there =
        || awaited.iter().all(|(partition, offset)| partition.offsets().last_stable > *offset);
    while !are_there() {
        let waiter = Arc::new(ReadWaiter::new());
        awaited.iter().for_each(|(partition, _)| partition.watch(&waiter));
        // What came between the look and the watch.
        if are_there() {
            return;
        }
        waiter.woken().await;
        sleep(PAUSE).await;
    }
}

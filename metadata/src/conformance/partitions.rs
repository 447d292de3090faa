//! Rules of leases, epoch starts and log start offsets.

use common::LeaderEpoch;

use super::{Subject, key, new_topic, open, open_with_topic, partition};
use crate::{
    EpochStart, Error, Fence, LogStart, MetadataStore, NewEpochStart, ReadableEnd, Result,
};

fn start(partition: i32, epoch: i32, start_offset: i64) -> NewEpochStart {
    NewEpochStart { key: key(1, partition), epoch, start_offset }
}

fn log_start(partition: i32, leader_epoch: i32, log_start_offset: i64) -> LogStart {
    LogStart { key: key(1, partition), leader_epoch, log_start_offset }
}

async fn history(store: &impl MetadataStore, index: i32) -> Vec<(i32, i64)> {
    let pair = |start: &EpochStart| (start.epoch, start.start_offset);
    partition(store, key(1, index)).await.epoch_starts.iter().map(pair).collect()
}

/// Acquires all partitions and records where the new epoch began, as each start of a broker does.
async fn restart(store: &impl MetadataStore, fence: &Fence, start_offset: i64) -> Result<i32> {
    let acquired = store.acquire_partitions(fence).await?;
    let epoch = acquired[0].1.0;
    let starts = acquired.iter().map(|(key, epoch)| NewEpochStart {
        key: *key,
        epoch: epoch.0,
        start_offset,
    });
    store.record_epoch_starts(fence, starts.collect()).await?;
    Ok(epoch)
}

pub(crate) async fn acquiring_bumps_every_epoch(subject: impl Subject) {
    let fence = open_with_topic(subject.store(), 2).await;
    subject.store().create_topic(&fence, new_topic(2, 1)).await.unwrap();
    let acquired = subject.store().acquire_partitions(&fence).await.unwrap();
    let first = LeaderEpoch(1);
    assert_eq!(acquired, [(key(1, 0), first), (key(1, 1), first), (key(2, 0), first)]);
    let acquired = subject.store().acquire_partitions(&fence).await.unwrap();
    assert!(acquired.iter().all(|(_, epoch)| *epoch == LeaderEpoch(2)), "{acquired:?}");
    let subject = subject.reopen().await;
    assert_eq!(partition(subject.store(), key(1, 1)).await.leader_epoch, 2);
}

pub(crate) async fn an_epoch_that_wrote_nothing_leaves_no_entry(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    restart(store, &fence, 10).await.unwrap();
    restart(store, &fence, 10).await.unwrap();
    restart(store, &fence, 25).await.unwrap();
    assert_eq!(history(store, 0).await, [(0, 0), (2, 10), (3, 25)]);
}

pub(crate) async fn one_stale_epoch_keeps_all_epoch_starts_from_being_recorded(
    subject: impl Subject,
) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    store.acquire_partitions(&fence).await.unwrap();
    let refused = store.record_epoch_starts(&fence, vec![start(0, 1, 5), start(1, 0, 5)]).await;
    assert_eq!(refused, Err(Error::StaleEpoch { key: key(1, 1), requested: 0, current: 1 }));
    assert_eq!(history(store, 0).await, [(0, 0)]);
    let negative = store.record_epoch_starts(&fence, vec![start(0, 1, -1)]).await;
    assert!(matches!(negative, Err(Error::InvalidRequest(_))), "{negative:?}");
}

pub(crate) async fn the_log_start_never_moves_back(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    let moves = vec![log_start(0, 0, 10), log_start(1, 0, 7)];
    store.advance_log_start(&fence, moves).await.unwrap();
    let moves = vec![log_start(0, 0, 4), log_start(1, 0, 9)];
    store.advance_log_start(&fence, moves).await.unwrap();
    let subject = subject.reopen().await;
    assert_eq!(partition(subject.store(), key(1, 0)).await.log_start_offset, 10);
    assert_eq!(partition(subject.store(), key(1, 1)).await.log_start_offset, 9);
}

pub(crate) async fn the_log_start_cuts_the_epoch_history_down_to_its_floor(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    restart(store, &fence, 10).await.unwrap();
    let epoch = restart(store, &fence, 20).await.unwrap();
    store.advance_log_start(&fence, vec![log_start(0, epoch, 15)]).await.unwrap();
    assert_eq!(history(store, 0).await, [(1, 15), (2, 20)]);
    store.advance_log_start(&fence, vec![log_start(0, epoch, 30)]).await.unwrap();
    assert_eq!(history(store, 0).await, [(2, 30)]);
}

pub(crate) async fn one_stale_epoch_keeps_all_log_starts_from_moving(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    let refused =
        store.advance_log_start(&fence, vec![log_start(0, 0, 10), log_start(1, 4, 10)]).await;
    assert_eq!(refused, Err(Error::StaleEpoch { key: key(1, 1), requested: 4, current: 0 }));
    assert_eq!(partition(store, key(1, 0)).await.log_start_offset, 0);
}

pub(crate) async fn a_readable_end_is_set_and_taken_away(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    let end = |partition, leader_epoch, readable_end_offset| ReadableEnd {
        key: key(1, partition),
        leader_epoch,
        readable_end_offset,
    };
    let ends = vec![end(0, 0, Some(7)), end(1, 0, Some(0))];
    store.record_readable_ends(&fence, ends).await.unwrap();
    store.record_readable_ends(&fence, vec![end(0, 0, None)]).await.unwrap();
    let stale = store.record_readable_ends(&fence, vec![end(1, 0, None), end(0, 4, None)]).await;
    assert_eq!(stale, Err(Error::StaleEpoch { key: key(1, 0), requested: 4, current: 0 }));
    let negative = store.record_readable_ends(&fence, vec![end(1, 0, Some(-1))]).await;
    assert!(matches!(negative, Err(Error::InvalidRequest(_))), "{negative:?}");
    let subject = subject.reopen().await;
    assert_eq!(partition(subject.store(), key(1, 0)).await.readable_end_offset, None);
    assert_eq!(partition(subject.store(), key(1, 1)).await.readable_end_offset, Some(0));
}

pub(crate) async fn an_unknown_partition_is_refused(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    let unknown = Err(Error::UnknownPartition { key: key(1, 1) });
    assert_eq!(store.advance_log_start(&fence, vec![log_start(1, 0, 1)]).await, unknown);
    assert_eq!(store.record_epoch_starts(&fence, vec![start(1, 0, 1)]).await, unknown);
    assert_eq!(store.trim_objects(&fence, vec![log_start(1, 0, 0)]).await, unknown);
}

pub(crate) async fn ten_thousand_partitions_are_one_call_each(subject: impl Subject) {
    let store = subject.store();
    let fence = open(store).await.fence;
    store.create_topic(&fence, new_topic(1, 10_000)).await.unwrap();
    assert_eq!(restart(store, &fence, 100).await, Ok(1));
    let extents = (0..10_000).map(|index| super::extent(key(1, index), 1, 0, 1 + i64::from(index)));
    let outcomes = super::commit(store, &fence, 1, extents.collect()).await;
    assert!(outcomes.iter().all(|outcome| outcome.is_committed()));
    let moves = (0..10_000).map(|index| log_start(index, 1, 50)).collect();
    store.advance_log_start(&fence, moves).await.unwrap();
    let moves = (0..10_000).map(|index| log_start(index, 1, 50)).collect();
    store.trim_objects(&fence, moves).await.unwrap();

    let subject = subject.reopen().await;
    let topic = subject.store().load().await.unwrap().topics.remove(0);
    assert_eq!(topic.partitions.len(), 10_000);
    for (index, row) in (0..).zip(&topic.partitions) {
        assert_eq!((row.partition, row.leader_epoch, row.log_start_offset), (index, 1, 50));
        assert_eq!(row.committed_end_offset, 1 + i64::from(index));
    }
    assert_eq!(super::ranges(subject.store(), 1).await.len(), 9_950);
}

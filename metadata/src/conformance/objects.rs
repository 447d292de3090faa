//! Rules of objects and L0 commits.

use super::{
    Subject, commit, extent, key, l0_commit, new_object, object, object_id, open, open_with_topic,
    partition, ranges, register, state,
};
use crate::{
    Error,
    ExtentOutcome::{Committed, OffsetMismatch, StaleEpoch, UnknownPartition},
    LogStart, MetadataStore,
    model::{ObjectLevel::L0, ObjectRow, ObjectState, WalRange},
};

pub(crate) async fn an_id_and_a_key_are_refused_in_every_state(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    register(store, &fence, 1, L0).await;
    commit(store, &fence, 2, vec![extent(key(1, 0), 0, 0, 1)]).await;
    register(store, &fence, 3, L0).await;
    store.mark_dead(&fence, &[object_id(3)]).await.unwrap();
    for n in [1, 2, 3] {
        let mut same_id = new_object(n, L0);
        same_id.key = "other".to_owned();
        let mut same_key = new_object(n, L0);
        same_key.id = object_id(9);
        for new in [same_id, same_key] {
            let expected = Error::ObjectExists { id: new.id, key: new.key.clone() };
            assert_eq!(store.register_object(&fence, new).await, Err(expected));
        }
    }
}

pub(crate) async fn a_committed_object_is_read_back_whole(subject: impl Subject) {
    let fence = open_with_topic(subject.store(), 2).await;
    let (first, second) = (extent(key(1, 0), 0, 0, 5), extent(key(1, 1), 0, 0, 7));
    let outcomes = commit(subject.store(), &fence, 1, vec![second, first]).await;
    assert_eq!(outcomes, [Committed, Committed]);
    let subject = subject.reopen().await;
    let expected = ObjectRow {
        id: object_id(1),
        key: "objects/1".to_owned(),
        level: L0,
        state: ObjectState::Committed,
        size: 10_000,
        footer_position: 9_000,
        created_ms: 1,
        origin: Some(WalRange { file_id: 5, from: 4096, to: 8192 }),
        extents: vec![first, second],
    };
    assert_eq!(subject.store().committed_objects().await.unwrap(), [expected]);
}

pub(crate) async fn extents_continue_where_the_partition_ends(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    assert_eq!(commit(store, &fence, 1, vec![extent(key(1, 0), 0, 0, 5)]).await, [Committed]);
    let both = vec![extent(key(1, 0), 0, 5, 6), extent(key(1, 1), 0, 0, 2)];
    assert_eq!(commit(store, &fence, 2, both).await, [Committed, Committed]);
    assert_eq!(partition(store, key(1, 0)).await.committed_end_offset, 6);
    assert_eq!(partition(store, key(1, 1)).await.committed_end_offset, 2);
}

pub(crate) async fn a_gap_and_an_overlap_are_rejected(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 3).await;
    let late_start = commit(store, &fence, 1, vec![extent(key(1, 0), 0, 1, 5)]).await;
    assert_eq!(late_start, [OffsetMismatch { expected: 0 }]);
    commit(store, &fence, 2, (0..3).map(|p| extent(key(1, p), 0, 0, 5)).collect()).await;
    let gap = extent(key(1, 0), 0, 6, 9);
    let overlap = extent(key(1, 1), 0, 4, 9);
    let next = extent(key(1, 2), 0, 5, 9);
    let outcomes = commit(store, &fence, 3, vec![gap, overlap, next]).await;
    let expected = OffsetMismatch { expected: 5 };
    assert_eq!(outcomes, [expected, expected, Committed]);
    assert_eq!(ranges(store, 3).await, [(2, 5, 9)]);
    assert_eq!(partition(store, key(1, 0)).await.committed_end_offset, 5);
    assert_eq!(partition(store, key(1, 2)).await.committed_end_offset, 9);
}

pub(crate) async fn a_stale_epoch_is_rejected(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    store.acquire_partitions(&fence).await.unwrap();
    let extents = vec![extent(key(1, 0), 0, 0, 5), extent(key(1, 1), 1, 0, 5)];
    assert_eq!(commit(store, &fence, 1, extents).await, [StaleEpoch { current: 1 }, Committed]);
    assert_eq!(ranges(store, 1).await, [(1, 0, 5)]);
    assert_eq!(partition(store, key(1, 0)).await.committed_end_offset, 0);
}

pub(crate) async fn an_unknown_partition_fails_alone(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    let extents =
        vec![extent(key(9, 0), 0, 0, 5), extent(key(1, 0), 0, 0, 5), extent(key(1, 1), 0, 0, 5)];
    let outcomes = commit(store, &fence, 1, extents).await;
    assert_eq!(outcomes, [UnknownPartition, Committed, UnknownPartition]);
    assert_eq!(ranges(store, 1).await, [(0, 0, 5)]);
}

pub(crate) async fn an_object_without_any_accepted_extent_is_dead(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    commit(store, &fence, 1, vec![extent(key(1, 0), 0, 3, 5)]).await;
    commit(store, &fence, 2, Vec::new()).await;
    for n in [1, 2] {
        let row = object(store, n).await.unwrap();
        assert_eq!((row.state, row.size, row.extents), (ObjectState::Dead, 10_000, Vec::new()));
    }
}

pub(crate) async fn a_partition_may_appear_twice_in_order(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    let extents =
        vec![extent(key(1, 0), 0, 0, 5), extent(key(1, 0), 0, 5, 9), extent(key(1, 0), 0, 5, 7)];
    let outcomes = commit(store, &fence, 1, extents).await;
    assert_eq!(outcomes, [Committed, Committed, OffsetMismatch { expected: 9 }]);
    assert_eq!(ranges(store, 1).await, [(0, 0, 5), (0, 5, 9)]);
    assert_eq!(partition(store, key(1, 0)).await.committed_end_offset, 9);
}

pub(crate) async fn a_repeated_commit_is_answered_as_the_first(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    let extents = vec![extent(key(1, 0), 0, 0, 5), extent(key(1, 1), 7, 0, 5)];
    let first = commit(store, &fence, 1, extents.clone()).await;
    let before = store.export().await.unwrap();
    let again = store.commit_l0(&fence, l0_commit(1, extents.clone())).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(store.export().await.unwrap(), before);
    let mut other = l0_commit(1, extents);
    other.size += 1;
    let refused = store.commit_l0(&fence, other).await;
    assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{refused:?}");
}

pub(crate) async fn a_repeated_commit_never_takes_what_was_rejected(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    let extents = vec![extent(key(1, 0), 0, 0, 5), extent(key(1, 1), 0, 5, 8)];
    commit(store, &fence, 1, extents.clone()).await;
    commit(store, &fence, 2, vec![extent(key(1, 1), 0, 0, 5)]).await;
    let again = store.commit_l0(&fence, l0_commit(1, extents)).await.unwrap();
    assert_eq!(again, [Committed, OffsetMismatch { expected: 5 }]);
    assert_eq!(partition(store, key(1, 1)).await.committed_end_offset, 5);
}

pub(crate) async fn a_dead_object_is_not_committed(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    register(store, &fence, 1, L0).await;
    store.mark_dead(&fence, &[object_id(1)]).await.unwrap();
    let refused = store.commit_l0(&fence, l0_commit(1, vec![extent(key(1, 0), 0, 0, 5)])).await;
    let (expected, found) = (ObjectState::Registered, ObjectState::Dead);
    assert_eq!(refused, Err(Error::ObjectState { id: object_id(1), expected, found }));
    assert_eq!(partition(store, key(1, 0)).await.committed_end_offset, 0);
}

pub(crate) async fn an_unregistered_object_is_not_committed(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    let refused = store.commit_l0(&fence, l0_commit(1, vec![extent(key(1, 0), 0, 0, 5)])).await;
    assert_eq!(refused, Err(Error::UnknownObject { id: object_id(1) }));
    register(store, &fence, 2, crate::ObjectLevel::L1).await;
    let refused = store.commit_l0(&fence, l0_commit(2, vec![extent(key(1, 0), 0, 0, 5)])).await;
    assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{refused:?}");
}

pub(crate) async fn an_empty_extent_is_refused(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    register(store, &fence, 1, L0).await;
    for (base, end) in [(0, 0), (5, 4), (-1, 3)] {
        let extents = vec![extent(key(1, 0), 0, base, end)];
        let refused = store.commit_l0(&fence, l0_commit(1, extents)).await;
        assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{refused:?}");
    }
    assert_eq!(state(store, 1).await, Some(ObjectState::Registered));
}

fn below(partition: i32, leader_epoch: i32, log_start_offset: i64) -> LogStart {
    LogStart { key: key(1, partition), leader_epoch, log_start_offset }
}

pub(crate) async fn trimming_drops_what_is_wholly_below(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    commit(store, &fence, 1, vec![extent(key(1, 0), 0, 0, 5)]).await;
    let both = vec![extent(key(1, 0), 0, 5, 10), extent(key(1, 1), 0, 0, 10)];
    commit(store, &fence, 2, both).await;
    commit(store, &fence, 3, vec![extent(key(1, 0), 0, 10, 15)]).await;
    let moves = vec![below(0, 0, 12), below(1, 0, 9)];
    store.advance_log_start(&fence, moves.clone()).await.unwrap();
    store.trim_objects(&fence, moves).await.unwrap();
    assert_eq!(state(store, 1).await, Some(ObjectState::Dead));
    assert_eq!(ranges(store, 2).await, [(1, 0, 10)]);
    assert_eq!(ranges(store, 3).await, [(0, 10, 15)]);
    // A trimmed partition goes on where it was.
    assert_eq!(commit(store, &fence, 4, vec![extent(key(1, 0), 0, 15, 16)]).await, [Committed]);
}

pub(crate) async fn trimming_needs_the_log_start_and_the_epoch(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    commit(store, &fence, 1, vec![extent(key(1, 0), 0, 0, 5)]).await;
    let refused = store.trim_objects(&fence, vec![below(0, 0, 5)]).await;
    assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{refused:?}");
    store.advance_log_start(&fence, vec![below(0, 0, 5)]).await.unwrap();
    let refused = store.trim_objects(&fence, vec![below(0, 0, 5), below(1, 3, 0)]).await;
    assert_eq!(refused, Err(Error::StaleEpoch { key: key(1, 1), requested: 3, current: 0 }));
    assert_eq!(ranges(store, 1).await, [(0, 0, 5)]);
}

pub(crate) async fn only_registered_objects_are_declared_dead(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    register(store, &fence, 1, L0).await;
    commit(store, &fence, 2, vec![extent(key(1, 0), 0, 0, 5)]).await;
    let ids = [object_id(1), object_id(2)];
    let (expected, found) = (ObjectState::Registered, ObjectState::Committed);
    let refused = store.mark_dead(&fence, &ids).await;
    assert_eq!(refused, Err(Error::ObjectState { id: object_id(2), expected, found }));
    assert_eq!(state(store, 1).await, Some(ObjectState::Registered));
    for _ in 0..2 {
        store.mark_dead(&fence, &[object_id(1), object_id(77)]).await.unwrap();
        assert_eq!(state(store, 1).await, Some(ObjectState::Dead));
    }
}

pub(crate) async fn only_dead_objects_are_forgotten(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    register(store, &fence, 1, L0).await;
    register(store, &fence, 2, L0).await;
    store.mark_dead(&fence, &[object_id(2)]).await.unwrap();
    let (expected, found) = (ObjectState::Dead, ObjectState::Registered);
    let refused = store.forget_objects(&fence, &[object_id(1), object_id(2)]).await;
    assert_eq!(refused, Err(Error::ObjectState { id: object_id(1), expected, found }));
    assert_eq!(state(store, 2).await, Some(ObjectState::Dead));
    store.forget_objects(&fence, &[object_id(2), object_id(77)]).await.unwrap();
    assert_eq!(state(store, 2).await, None);
    assert_eq!(state(store, 1).await, Some(ObjectState::Registered));
}

pub(crate) async fn objects_are_listed_oldest_first(subject: impl Subject) {
    let store = subject.store();
    let fence = open(store).await.fence;
    for (n, created_ms) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
        let object = crate::NewObject { created_ms, ..new_object(n, L0) };
        store.register_object(&fence, object).await.unwrap();
    }
    store.mark_dead(&fence, &[object_id(3)]).await.unwrap();
    let listed = store.list_objects(ObjectState::Registered, 2).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|row| row.id).collect();
    assert_eq!(ids, [object_id(2), object_id(4)]);
    assert_eq!(store.list_objects(ObjectState::Registered, 0).await.unwrap(), []);
    assert_eq!(store.list_objects(ObjectState::Committed, usize::MAX).await.unwrap(), []);
}

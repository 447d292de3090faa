//! Rules of L1 commits.

use super::{
    Subject, commit, extent, key, object, object_id, open_with_topic, partition, ranges, register,
    state, topic_id,
};
use crate::{
    Error, Fence, L1Commit, L1Input, L1Output, LogStart, MetadataStore,
    model::{ObjectLevel::L1, ObjectState},
};

fn input(n: u128, base_offset: i64, end_offset: i64) -> L1Input {
    L1Input { id: object_id(n), base_offset, end_offset }
}

fn output(n: u128, base_offset: i64, end_offset: i64) -> L1Output {
    let extent = extent(key(1, 0), 0, base_offset, end_offset);
    L1Output { id: object_id(n), size: 700, footer_position: 600, extent }
}

fn of(inputs: Vec<L1Input>, outputs: Vec<L1Output>) -> L1Commit {
    L1Commit { key: key(1, 0), leader_epoch: 0, inputs, outputs }
}

/// L0 objects 1, 2 and 3 with offsets 0..5, 5..8 and 8..9 of partition 0; the second one also has
/// 0..4 of partition 1. L1 objects 10 and 11 are registered.
async fn prepare(store: &impl MetadataStore) -> Fence {
    let fence = open_with_topic(store, 2).await;
    commit(store, &fence, 1, vec![extent(key(1, 0), 0, 0, 5)]).await;
    let both = vec![extent(key(1, 0), 0, 5, 8), extent(key(1, 1), 0, 0, 4)];
    commit(store, &fence, 2, both).await;
    commit(store, &fence, 3, vec![extent(key(1, 0), 0, 8, 9)]).await;
    register(store, &fence, 10, L1).await;
    register(store, &fence, 11, L1).await;
    fence
}

pub(crate) async fn outputs_replace_their_inputs(subject: impl Subject) {
    let fence = prepare(subject.store()).await;
    let compaction =
        of(vec![input(1, 0, 5), input(2, 5, 8)], vec![output(10, 0, 6), output(11, 6, 8)]);
    subject.store().commit_l1(&fence, compaction).await.unwrap();
    let subject = subject.reopen().await;
    let store = subject.store();
    assert_eq!(state(store, 1).await, Some(ObjectState::Dead));
    assert_eq!(ranges(store, 2).await, [(1, 0, 4)]);
    assert_eq!(ranges(store, 3).await, [(0, 8, 9)]);
    assert_eq!(ranges(store, 11).await, [(0, 6, 8)]);
    let row = object(store, 10).await.unwrap();
    assert_eq!((row.state, row.size, row.footer_position), (ObjectState::Committed, 700, 600));
    assert_eq!(row.extents, [output(10, 0, 6).extent]);
    assert_eq!(partition(store, key(1, 0)).await.committed_end_offset, 9);
}

pub(crate) async fn l1_objects_are_inputs_too(subject: impl Subject) {
    let store = subject.store();
    let fence = prepare(store).await;
    let first = of(vec![input(1, 0, 5)], vec![output(10, 0, 5)]);
    store.commit_l1(&fence, first).await.unwrap();
    let second = of(vec![input(10, 0, 5), input(2, 5, 8)], vec![output(11, 0, 8)]);
    store.commit_l1(&fence, second).await.unwrap();
    let dead = object(store, 10).await.unwrap();
    assert_eq!((dead.state, dead.extents), (ObjectState::Dead, Vec::new()));
    assert_eq!(ranges(store, 11).await, [(0, 0, 8)]);
}

pub(crate) async fn a_changed_input_is_a_conflict_and_kills_the_outputs(subject: impl Subject) {
    for wrong in [input(1, 0, 4), input(3, 0, 5), input(10, 0, 5), input(77, 0, 5)] {
        let store = subject.store();
        let clean = store.load().await.is_err();
        if clean {
            prepare(store).await;
        }
        let fence = super::open(store).await.fence;
        let n = 100 + wrong.id.0.as_u128() + u128::from(wrong.end_offset.unsigned_abs());
        register(store, &fence, n, L1).await;
        let output = output(n, 0, wrong.end_offset);
        let refused = store.commit_l1(&fence, of(vec![wrong], vec![output])).await;
        let conflict = Error::Conflict {
            key: key(1, 0),
            object: wrong.id,
            base_offset: wrong.base_offset,
            end_offset: wrong.end_offset,
        };
        assert_eq!(refused, Err(conflict));
        assert_eq!(state(store, n).await, Some(ObjectState::Dead));
        assert_eq!(ranges(store, 1).await, [(0, 0, 5)]);
    }
}

pub(crate) async fn a_stale_epoch_kills_the_outputs(subject: impl Subject) {
    let store = subject.store();
    let fence = prepare(store).await;
    store.acquire_partitions(&fence).await.unwrap();
    let refused = store.commit_l1(&fence, of(vec![input(1, 0, 5)], vec![output(10, 0, 5)])).await;
    assert_eq!(refused, Err(Error::StaleEpoch { key: key(1, 0), requested: 0, current: 1 }));
    assert_eq!(state(store, 10).await, Some(ObjectState::Dead));
    assert_eq!(ranges(store, 1).await, [(0, 0, 5)]);
}

pub(crate) async fn a_deleted_partition_kills_the_outputs(subject: impl Subject) {
    let store = subject.store();
    let fence = prepare(store).await;
    store.delete_topic(&fence, topic_id(1), None).await.unwrap();
    let refused = store.commit_l1(&fence, of(vec![input(1, 0, 5)], vec![output(10, 0, 5)])).await;
    assert_eq!(refused, Err(Error::UnknownPartition { key: key(1, 0) }));
    assert_eq!(state(store, 10).await, Some(ObjectState::Dead));
}

pub(crate) async fn outputs_cover_their_inputs(subject: impl Subject) {
    let store = subject.store();
    let fence = prepare(store).await;
    let before = store.export().await.unwrap();
    let inputs = || vec![input(1, 0, 5), input(2, 5, 8)];
    let mut other_partition = output(10, 0, 8);
    other_partition.extent.key = key(1, 1);
    for refused in [
        of(Vec::new(), vec![output(10, 0, 8)]),
        of(vec![input(1, 0, 5), input(3, 8, 9)], vec![output(10, 0, 9)]),
        of(inputs(), Vec::new()),
        of(inputs(), vec![output(10, 0, 7)]),
        of(inputs(), vec![output(10, 0, 9)]),
        of(inputs(), vec![output(10, 1, 8)]),
        of(inputs(), vec![output(10, 0, 5), output(11, 6, 8)]),
        of(inputs(), vec![other_partition]),
    ] {
        let result = store.commit_l1(&fence, refused.clone()).await;
        assert!(matches!(result, Err(Error::InvalidRequest(_))), "{refused:?}: {result:?}");
    }
    assert_eq!(store.export().await.unwrap(), before);
}

pub(crate) async fn what_is_below_the_log_start_may_be_left_out(subject: impl Subject) {
    let store = subject.store();
    let fence = prepare(store).await;
    let log_start = LogStart { key: key(1, 0), leader_epoch: 0, log_start_offset: 6 };
    store.advance_log_start(&fence, vec![log_start]).await.unwrap();
    store.commit_l1(&fence, of(vec![input(1, 0, 5)], Vec::new())).await.unwrap();
    assert_eq!(state(store, 1).await, Some(ObjectState::Dead));
    let above = store.commit_l1(&fence, of(vec![input(2, 5, 8)], vec![output(10, 7, 8)])).await;
    assert!(matches!(above, Err(Error::InvalidRequest(_))), "{above:?}");
    store.commit_l1(&fence, of(vec![input(2, 5, 8)], vec![output(10, 6, 8)])).await.unwrap();
    assert_eq!(ranges(store, 10).await, [(0, 6, 8)]);
}

pub(crate) async fn a_repeated_compaction_is_answered_as_the_first(subject: impl Subject) {
    let store = subject.store();
    let fence = prepare(store).await;
    let compaction = of(vec![input(1, 0, 5)], vec![output(10, 0, 5)]);
    store.commit_l1(&fence, compaction.clone()).await.unwrap();
    let before = store.export().await.unwrap();
    store.commit_l1(&fence, compaction.clone()).await.unwrap();
    let mut other = compaction;
    other.outputs[0].size += 1;
    let refused = store.commit_l1(&fence, other).await;
    assert!(matches!(refused, Err(Error::ObjectState { .. })), "{refused:?}");
    assert_eq!(store.export().await.unwrap(), before);
}

pub(crate) async fn an_unregistered_output_changes_nothing(subject: impl Subject) {
    let store = subject.store();
    let fence = prepare(store).await;
    let before = store.export().await.unwrap();
    let refused = store.commit_l1(&fence, of(vec![input(1, 0, 5)], vec![output(55, 0, 5)])).await;
    assert_eq!(refused, Err(Error::UnknownObject { id: object_id(55) }));
    let refused = store.commit_l1(&fence, of(vec![input(1, 0, 5)], vec![output(3, 0, 5)])).await;
    assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{refused:?}");
    assert_eq!(store.export().await.unwrap(), before);
}

pub(crate) async fn trimming_kills_l1_objects_too(subject: impl Subject) {
    let store = subject.store();
    let fence = prepare(store).await;
    let compaction =
        of(vec![input(1, 0, 5), input(2, 5, 8)], vec![output(10, 0, 5), output(11, 5, 8)]);
    store.commit_l1(&fence, compaction).await.unwrap();
    let log_start = LogStart { key: key(1, 0), leader_epoch: 0, log_start_offset: 7 };
    store.advance_log_start(&fence, vec![log_start]).await.unwrap();
    store.trim_objects(&fence, vec![log_start]).await.unwrap();
    assert_eq!(state(store, 10).await, Some(ObjectState::Dead));
    assert_eq!(ranges(store, 11).await, [(0, 5, 8)]);
}

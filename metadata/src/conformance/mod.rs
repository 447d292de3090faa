//! What every back end must do: each rule is one test, and each back end runs them all.
//!
//! `metadata_suite!(name, Subject)` in a back end's tests makes the module `name` with a test per
//! rule. A new rule is a function in one of the files here and a line in the macro; a function
//! without a line is dead code, which the compiler reports.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod compaction;
pub(crate) mod objects;
pub(crate) mod partitions;
pub(crate) mod producer_ids;
pub(crate) mod random;
pub(crate) mod sessions;
pub(crate) mod snapshots;
pub(crate) mod topics;
pub(crate) mod transactions;

use async_trait::async_trait;
use common::{ObjectId, PartitionKey, TopicId};
use uuid::Uuid;

use crate::{
    ExtentOutcome, Fence, L0Commit, MetadataStore, NewObject, NewTopic, OpenSession, Partition,
    Session, WalRange,
    engine::Backend,
    model::{Extent, ObjectLevel, ObjectRow, ObjectState},
};

/// A back end under test.
#[async_trait]
pub(crate) trait Subject: Send + Sized {
    type Store: Backend;

    /// An empty store.
    async fn create() -> Self;

    fn store(&self) -> &Self::Store;

    /// The store as another process finds it after this one was killed.
    async fn reopen(self) -> Self;
}

macro_rules! metadata_suite {
    ($name:ident, $subject:ty) => {
        mod $name {
            use super::*;
            $crate::conformance::metadata_suite! { @rules $subject;
                sessions:
                    the_first_session_names_the_cluster_and_the_node,
                    cluster_and_node_persist,
                    another_node_id_is_refused,
                    a_new_session_fences_every_write_of_the_one_before,
                    an_unknown_node_is_fenced,
                    nothing_is_loaded_before_the_first_session;
                topics:
                    a_created_topic_is_owned_at_epoch_0_from_offset_0,
                    topics_are_loaded_by_name,
                    a_name_and_an_id_are_used_once,
                    a_topic_needs_a_name_and_a_partition,
                    a_deleted_name_is_free_for_another_id,
                    deleting_a_topic_drops_its_extents_and_kills_what_is_left_empty,
                    partitions_are_added_behind_the_expected_ones,
                    topic_configs_change_only_from_the_expected_version,
                    broker_configs_change_only_from_the_expected_version,
                    group_configs_change_only_from_the_expected_version;
                partitions:
                    acquiring_bumps_every_epoch,
                    an_epoch_that_wrote_nothing_leaves_no_entry,
                    one_stale_epoch_keeps_all_epoch_starts_from_being_recorded,
                    the_log_start_never_moves_back,
                    the_log_start_cuts_the_epoch_history_down_to_its_floor,
                    one_stale_epoch_keeps_all_log_starts_from_moving,
                    a_readable_end_is_set_and_taken_away,
                    an_unknown_partition_is_refused,
                    ten_thousand_partitions_are_one_call_each;
                objects:
                    an_id_and_a_key_are_refused_in_every_state,
                    a_committed_object_is_read_back_whole,
                    extents_continue_where_the_partition_ends,
                    a_gap_and_an_overlap_are_rejected,
                    a_stale_epoch_is_rejected,
                    an_unknown_partition_fails_alone,
                    an_object_without_any_accepted_extent_is_dead,
                    a_partition_may_appear_twice_in_order,
                    a_repeated_commit_is_answered_as_the_first,
                    a_repeated_commit_never_takes_what_was_rejected,
                    a_dead_object_is_not_committed,
                    an_unregistered_object_is_not_committed,
                    an_empty_extent_is_refused,
                    trimming_drops_what_is_wholly_below,
                    trimming_needs_the_log_start_and_the_epoch,
                    only_registered_objects_are_declared_dead,
                    only_dead_objects_are_forgotten,
                    objects_are_listed_oldest_first;
                compaction:
                    outputs_replace_their_inputs,
                    l1_objects_are_inputs_too,
                    a_changed_input_is_a_conflict_and_kills_the_outputs,
                    a_stale_epoch_kills_the_outputs,
                    a_deleted_partition_kills_the_outputs,
                    outputs_cover_their_inputs,
                    what_is_below_the_log_start_may_be_left_out,
                    a_repeated_compaction_is_answered_as_the_first,
                    an_unregistered_output_changes_nothing,
                    trimming_kills_l1_objects_too;
                producer_ids:
                    blocks_never_overlap,
                    blocks_never_overlap_after_a_restart,
                    a_block_has_at_least_one_id,
                    ids_run_out_with_an_error,
                    a_pointer_is_replaced_and_persists,
                    pointers_are_found_by_prefix_and_forgotten;
                snapshots:
                    a_snapshot_rebuilds_the_store,
                    a_snapshot_goes_into_an_empty_store_only,
                    a_session_after_the_restore_fences_the_ones_before_it,
                    what_is_no_snapshot_is_refused,
                    version_1_is_read_and_written_as_it_always_was;
                transactions:
                    a_dropped_transaction_leaves_nothing,
                    a_failed_call_leaves_nothing,
                    a_cancelled_call_happens_as_a_whole_or_not_at_all,
                    what_was_committed_survives_a_kill,
                    concurrent_calls_follow_one_another;
            }
        }
    };
    (@rules $subject:ty; $($file:ident: $($rule:ident),+;)+) => {
        $($(
            #[tokio::test]
            async fn $rule() {
                let subject = <$subject as $crate::conformance::Subject>::create().await;
                $crate::conformance::$file::$rule(subject).await;
            }
        )+)+
    };
}
pub(crate) use metadata_suite;

// What the rules are written with.

/// Opens a session as the store's node.
pub(crate) async fn open(store: &impl MetadataStore) -> Session {
    let request = OpenSession { node_id: None, cluster_id_if_new: "cluster".to_owned() };
    store.open_session(request).await.unwrap()
}

pub(crate) fn topic_id(n: u128) -> TopicId {
    TopicId(Uuid::from_u128(n))
}

pub(crate) fn key(topic: u128, partition: i32) -> PartitionKey {
    PartitionKey { topic_id: topic_id(topic), partition }
}

pub(crate) fn object_id(n: u128) -> ObjectId {
    ObjectId(Uuid::from_u128(n))
}

/// A topic of id `n`, named `topic-n`.
pub(crate) fn new_topic(n: u128, partitions: usize) -> NewTopic {
    NewTopic {
        id: topic_id(n),
        name: format!("topic-{n}"),
        internal: false,
        configs: [("retention.ms".to_owned(), "1000".to_owned())].into(),
        replication_factor: 3,
        created_ms: 1_700_000_000_000,
        partitions: vec![vec![1, 2, 3]; partitions],
    }
}

/// Opens a session and creates topic 1 with `partitions` partitions.
pub(crate) async fn open_with_topic(store: &impl MetadataStore, partitions: usize) -> Fence {
    let fence = open(store).await.fence;
    store.create_topic(&fence, new_topic(1, partitions)).await.unwrap();
    fence
}

pub(crate) fn extent(key: PartitionKey, epoch: i32, base_offset: i64, end_offset: i64) -> Extent {
    Extent {
        key,
        leader_epoch: epoch,
        base_offset,
        end_offset,
        bytes: 100,
        first_position: 4096 * (1 + base_offset.unsigned_abs()),
        min_timestamp: 1_000 + base_offset,
        max_timestamp: 2_000 + end_offset,
    }
}

/// Registers object `n`, created at `n` ms.
pub(crate) async fn register(
    store: &impl MetadataStore,
    fence: &Fence,
    n: u128,
    level: ObjectLevel,
) {
    store.register_object(fence, new_object(n, level)).await.unwrap();
}

pub(crate) fn new_object(n: u128, level: ObjectLevel) -> NewObject {
    let origin = WalRange { file_id: 5, from: 4096, to: 8192 };
    NewObject {
        id: object_id(n),
        key: format!("objects/{n}"),
        level,
        created_ms: i64::try_from(n).unwrap(),
        origin: (level == ObjectLevel::L0).then_some(origin),
    }
}

pub(crate) fn l0_commit(n: u128, extents: Vec<Extent>) -> L0Commit {
    L0Commit { id: object_id(n), size: 10_000, footer_position: 9_000, extents }
}

/// Registers and commits L0 object `n`.
pub(crate) async fn commit(
    store: &impl MetadataStore,
    fence: &Fence,
    n: u128,
    extents: Vec<Extent>,
) -> Vec<ExtentOutcome> {
    register(store, fence, n, ObjectLevel::L0).await;
    store.commit_l0(fence, l0_commit(n, extents)).await.unwrap()
}

/// The object, whatever state it is in.
pub(crate) async fn object(store: &impl MetadataStore, n: u128) -> Option<ObjectRow> {
    for state in [ObjectState::Registered, ObjectState::Committed, ObjectState::Dead] {
        let rows = store.list_objects(state, usize::MAX).await.unwrap();
        if let Some(row) = rows.into_iter().find(|row| row.id == object_id(n)) {
            return Some(row);
        }
    }
    None
}

pub(crate) async fn state(store: &impl MetadataStore, n: u128) -> Option<ObjectState> {
    object(store, n).await.map(|row| row.state)
}

/// The extents of object `n` as (partition, base, end).
pub(crate) async fn ranges(store: &impl MetadataStore, n: u128) -> Vec<(i32, i64, i64)> {
    let row = object(store, n).await.unwrap();
    let range = |extent: &Extent| (extent.key.partition, extent.base_offset, extent.end_offset);
    row.extents.iter().map(range).collect()
}

pub(crate) async fn partition(store: &impl MetadataStore, key: PartitionKey) -> Partition {
    let image = store.load().await.unwrap();
    let topic = image.topics.iter().find(|topic| topic.id == key.topic_id).unwrap();
    topic.partitions[usize::try_from(key.partition).unwrap()].clone()
}

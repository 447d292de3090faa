//! Rules of snapshots.

use common::NodeId;

use super::{Subject, commit, extent, key, new_topic, object_id, open, open_with_topic, register};
use crate::{
    Error, L1Commit, L1Input, L1Output, LogStart, MemoryStore, MetadataStore,
    model::{ObjectLevel, ObjectState},
};

const GOLDEN: &[u8] = include_bytes!("../../testdata/snapshot.v1.json");

/// A store with a row of every kind.
async fn fill(store: &impl MetadataStore) {
    let fence = open_with_topic(store, 2).await;
    store.create_topic(&fence, new_topic(2, 1)).await.unwrap();
    let values = || [("a".to_owned(), "b".to_owned())].into();
    store.set_broker_configs(&fence, None, 0, values()).await.unwrap();
    store.set_broker_configs(&fence, Some(NodeId(1)), 0, values()).await.unwrap();
    store.allocate_producer_ids(&fence, 1000).await.unwrap();
    store.put_pointer(&fence, "name", vec![1, 2, 3]).await.unwrap();
    let extents = vec![extent(key(1, 0), 0, 0, 5), extent(key(1, 1), 0, 0, 9)];
    commit(store, &fence, 1, extents).await;
    register(store, &fence, 2, ObjectLevel::L1).await;
    let input = L1Input { id: object_id(1), base_offset: 0, end_offset: 5 };
    let extent = extent(key(1, 0), 0, 0, 5);
    let output = L1Output { id: object_id(2), size: 9, footer_position: 8, extent };
    let (inputs, outputs) = (vec![input], vec![output]);
    let compaction = L1Commit { key: key(1, 0), leader_epoch: 0, inputs, outputs };
    store.commit_l1(&fence, compaction).await.unwrap();
    register(store, &fence, 3, ObjectLevel::L0).await;
    register(store, &fence, 4, ObjectLevel::L0).await;
    store.mark_dead(&fence, &[object_id(4)]).await.unwrap();
    let log_start = LogStart { key: key(1, 1), leader_epoch: 0, log_start_offset: 3 };
    store.advance_log_start(&fence, vec![log_start]).await.unwrap();
}

pub(crate) async fn a_snapshot_rebuilds_the_store(subject: impl Subject) {
    let original = MemoryStore::new();
    fill(&original).await;
    let fence = open(&original).await.fence;
    let values = [("consumer.session.timeout.ms".to_owned(), "50000".to_owned())].into();
    original.set_group_configs(&fence, "g", 0, values).await.unwrap();
    let snapshot = original.export().await.unwrap();
    subject.store().import(&snapshot).await.unwrap();
    let subject = subject.reopen().await;
    let restored = subject.store();
    assert_eq!(restored.load().await, original.load().await);
    assert_eq!(restored.committed_objects().await, original.committed_objects().await);
    assert_eq!(restored.pointer("name").await, original.pointer("name").await);
    for state in [ObjectState::Registered, ObjectState::Dead] {
        let expected = original.list_objects(state, usize::MAX).await;
        assert_eq!(restored.list_objects(state, usize::MAX).await, expected);
    }
    assert_eq!(restored.export().await, Ok(snapshot));
}

pub(crate) async fn a_snapshot_goes_into_an_empty_store_only(subject: impl Subject) {
    let original = MemoryStore::new();
    fill(&original).await;
    let snapshot = original.export().await.unwrap();
    open(subject.store()).await;
    let refused = subject.store().import(&snapshot).await;
    assert_eq!(refused, Err(Error::NotEmpty { cluster_id: "cluster".to_owned() }));
}

pub(crate) async fn a_session_after_the_restore_fences_the_ones_before_it(subject: impl Subject) {
    let original = MemoryStore::new();
    let old = open(&original).await.fence;
    let snapshot = original.export().await.unwrap();
    subject.store().import(&snapshot).await.unwrap();
    let new = open(subject.store()).await.fence;
    assert!(new.session_epoch > old.session_epoch);
    let refused = subject.store().allocate_producer_ids(&old, 1).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
}

pub(crate) async fn what_is_no_snapshot_is_refused(subject: impl Subject) {
    for length in [0, 1, GOLDEN.len() / 2, GOLDEN.len() - 2] {
        let refused = subject.store().import(&GOLDEN[..length]).await;
        assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    }
    let newer = br#"{"version":2,"something":"else"}"#;
    let refused = subject.store().import(newer).await;
    assert!(matches!(refused, Err(Error::NewerFormat { .. })), "{refused:?}");
    assert_eq!(subject.store().load().await, Err(Error::NotInitialized));
}

pub(crate) async fn version_1_is_read_and_written_as_it_always_was(subject: impl Subject) {
    let golden = GOLDEN.trim_ascii_end();
    subject.store().import(golden).await.unwrap();
    let exported = subject.store().export().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&exported), String::from_utf8_lossy(golden));
    let filled = MemoryStore::new();
    fill(&filled).await;
    assert_eq!(filled.load().await, subject.store().load().await);
}

//! Rules of sessions and fencing.

use std::collections::BTreeMap;

use common::NodeId;

use super::{Subject, extent, l0_commit, new_object, new_topic, object_id, open, topic_id};
use crate::{
    Error, Fence, L1Commit, L1Input, LogStart, MetadataStore, NewEpochStart, OpenSession,
    ReadableEnd, Result,
    conformance::{key, open_with_topic},
    model::ObjectLevel,
};

fn request(node_id: Option<i32>, cluster_id: &str) -> OpenSession {
    OpenSession { node_id: node_id.map(NodeId), cluster_id_if_new: cluster_id.to_owned() }
}

pub(crate) async fn the_first_session_names_the_cluster_and_the_node(subject: impl Subject) {
    let session = subject.store().open_session(request(None, "first")).await.unwrap();
    assert_eq!((session.cluster_id.as_str(), session.node_id), ("first", NodeId(1)));
    assert_eq!(session.fence.node_id, NodeId(1));
    assert_eq!(subject.store().load().await.unwrap().cluster_id, "first");
}

pub(crate) async fn cluster_and_node_persist(subject: impl Subject) {
    let first = subject.store().open_session(request(Some(7), "first")).await.unwrap();
    let subject = subject.reopen().await;
    let second = subject.store().open_session(request(None, "second")).await.unwrap();
    assert_eq!((second.cluster_id.as_str(), second.node_id), ("first", NodeId(7)));
    assert!(second.fence.session_epoch > first.fence.session_epoch);
}

pub(crate) async fn another_node_id_is_refused(subject: impl Subject) {
    let first = subject.store().open_session(request(Some(7), "first")).await.unwrap();
    let refused = subject.store().open_session(request(Some(8), "first")).await;
    assert_eq!(refused, Err(Error::NodeIdMismatch { stored: NodeId(7), requested: NodeId(8) }));
    // The refusal fences nobody.
    subject.store().create_topic(&first.fence, new_topic(1, 1)).await.unwrap();
}

pub(crate) async fn a_new_session_fences_every_write_of_the_one_before(subject: impl Subject) {
    let store = subject.store();
    let old = open_with_topic(store, 1).await;
    let current = open(store).await.fence;
    let before = store.export().await.unwrap();
    let fenced = Error::Fenced {
        node_id: old.node_id,
        held: old.session_epoch,
        current: Some(current.session_epoch),
    };
    for (write, result) in every_write(store, &old).await {
        assert_eq!(result, Err(fenced.clone()), "{write}");
    }
    assert_eq!(store.export().await.unwrap(), before);
}

async fn every_write(store: &impl MetadataStore, fence: &Fence) -> Vec<(&'static str, Result<()>)> {
    let key = key(1, 0);
    let start = LogStart { key, leader_epoch: 0, log_start_offset: 0 };
    let readable_end = ReadableEnd { key, leader_epoch: 0, readable_end_offset: Some(1) };
    let epoch_start = NewEpochStart { key, epoch: 0, start_offset: 0 };
    let input = L1Input { id: object_id(1), base_offset: 0, end_offset: 1 };
    let compaction = L1Commit { key, leader_epoch: 0, inputs: vec![input], outputs: Vec::new() };
    let values = BTreeMap::new;
    let id = topic_id(1);
    let replicas = vec![Vec::new()];
    let l0 = l0_commit(1, vec![extent(key, 0, 0, 1)]);
    vec![
        ("create_topic", store.create_topic(fence, new_topic(2, 1)).await.map(drop)),
        ("delete_topic", store.delete_topic(fence, id, None).await),
        ("create_partitions", store.create_partitions(fence, id, 1, replicas).await.map(drop)),
        ("set_topic_configs", store.set_topic_configs(fence, id, 0, values()).await.map(drop)),
        ("set_broker_configs", store.set_broker_configs(fence, None, 0, values()).await.map(drop)),
        ("set_group_configs", store.set_group_configs(fence, "g", 0, values()).await.map(drop)),
        ("acquire_partitions", store.acquire_partitions(fence).await.map(drop)),
        ("record_epoch_starts", store.record_epoch_starts(fence, vec![epoch_start]).await),
        ("record_readable_ends", store.record_readable_ends(fence, vec![readable_end]).await),
        ("advance_log_start", store.advance_log_start(fence, vec![start]).await),
        ("register", store.register_object(fence, new_object(1, ObjectLevel::L0)).await),
        ("commit_l0", store.commit_l0(fence, l0).await.map(drop)),
        ("commit_l1", store.commit_l1(fence, compaction).await),
        ("trim_objects", store.trim_objects(fence, vec![start]).await),
        ("mark_dead", store.mark_dead(fence, &[object_id(1)]).await),
        ("forget_objects", store.forget_objects(fence, &[object_id(1)]).await),
        ("allocate_producer_ids", store.allocate_producer_ids(fence, 1).await.map(drop)),
        ("delete_pointers", store.delete_pointers(fence, &["name".to_owned()]).await),
        ("put_pointer", store.put_pointer(fence, "name", vec![1]).await),
    ]
}

pub(crate) async fn an_unknown_node_is_fenced(subject: impl Subject) {
    let mut fence = open(subject.store()).await.fence;
    fence.node_id = NodeId(99);
    let refused = subject.store().create_topic(&fence, new_topic(1, 1)).await;
    assert!(matches!(refused, Err(Error::Fenced { current: None, .. })), "{refused:?}");
}

pub(crate) async fn nothing_is_loaded_before_the_first_session(subject: impl Subject) {
    assert_eq!(subject.store().load().await, Err(Error::NotInitialized));
    assert_eq!(subject.store().export().await, Err(Error::NotInitialized));
    subject.store().ping().await.unwrap();
}

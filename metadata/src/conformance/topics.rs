//! Rules of topics and configurations.

use std::collections::BTreeMap;

use common::NodeId;

use super::{
    Subject, commit, extent, key, new_topic, object_id, open, open_with_topic, ranges, state,
    topic_id,
};
use crate::{
    Configs, EpochStart, Error, L1Commit, L1Input, L1Output, MetadataStore, Partition,
    conformance::register,
    model::{ObjectLevel, ObjectState},
};

fn values(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) async fn a_created_topic_is_owned_at_epoch_0_from_offset_0(subject: impl Subject) {
    let fence = open(subject.store()).await.fence;
    let created = subject.store().create_topic(&fence, new_topic(1, 2)).await.unwrap();
    assert_eq!((created.id, created.name.as_str()), (topic_id(1), "topic-1"));
    assert_eq!((created.config_version, created.replication_factor), (0, 3));
    assert_eq!(created.configs, values(&[("retention.ms", "1000")]));
    let partition = |partition| Partition {
        partition,
        replicas: vec![1, 2, 3],
        owner: fence.node_id,
        leader_epoch: 0,
        epoch_starts: vec![EpochStart { epoch: 0, start_offset: 0 }],
        log_start_offset: 0,
        committed_end_offset: 0,
        readable_end_offset: None,
    };
    assert_eq!(created.partitions, [partition(0), partition(1)]);
    let subject = subject.reopen().await;
    assert_eq!(subject.store().load().await.unwrap().topics, [created]);
}

pub(crate) async fn topics_are_loaded_by_name(subject: impl Subject) {
    let fence = open(subject.store()).await.fence;
    for (n, name) in [(1, "zebra"), (2, "Ant"), (3, "bee")] {
        let topic = crate::NewTopic { name: name.to_owned(), ..new_topic(n, 1) };
        subject.store().create_topic(&fence, topic).await.unwrap();
    }
    let image = subject.store().load().await.unwrap();
    let names: Vec<_> = image.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["Ant", "bee", "zebra"]);
}

pub(crate) async fn a_name_and_an_id_are_used_once(subject: impl Subject) {
    let fence = open_with_topic(subject.store(), 1).await;
    let same_name = crate::NewTopic { name: "topic-1".to_owned(), ..new_topic(2, 1) };
    let refused = subject.store().create_topic(&fence, same_name).await;
    let name = "topic-1".to_owned();
    assert_eq!(refused, Err(Error::TopicExists { name: name.clone(), id: topic_id(1) }));
    let same_id = crate::NewTopic { name: "other".to_owned(), ..new_topic(1, 1) };
    let refused = subject.store().create_topic(&fence, same_id).await;
    assert_eq!(refused, Err(Error::TopicIdExists { id: topic_id(1), name }));
}

pub(crate) async fn a_topic_needs_a_name_and_a_partition(subject: impl Subject) {
    let fence = open(subject.store()).await.fence;
    let nameless = crate::NewTopic { name: String::new(), ..new_topic(1, 1) };
    for topic in [nameless, new_topic(1, 0)] {
        let refused = subject.store().create_topic(&fence, topic).await;
        assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{refused:?}");
    }
}

pub(crate) async fn a_deleted_name_is_free_for_another_id(subject: impl Subject) {
    let fence = open_with_topic(subject.store(), 3).await;
    subject.store().delete_topic(&fence, topic_id(1), Some("gone".to_owned())).await.unwrap();
    assert_eq!(subject.store().pointer("gone").await, Ok(Some(Vec::new())));
    let again = subject.store().delete_topic(&fence, topic_id(1), Some("not".to_owned())).await;
    assert_eq!(again, Err(Error::UnknownTopic { id: topic_id(1) }));
    assert_eq!(subject.store().pointer("not").await, Ok(None));
    let successor = crate::NewTopic { name: "topic-1".to_owned(), ..new_topic(2, 1) };
    let created = subject.store().create_topic(&fence, successor).await.unwrap();
    assert_eq!(subject.store().load().await.unwrap().topics, [created]);
}

pub(crate) async fn deleting_a_topic_drops_its_extents_and_kills_what_is_left_empty(
    subject: impl Subject,
) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    store.create_topic(&fence, new_topic(2, 1)).await.unwrap();
    let both = vec![extent(key(1, 0), 0, 0, 5), extent(key(2, 0), 0, 0, 5)];
    commit(store, &fence, 10, both).await;
    commit(store, &fence, 11, vec![extent(key(1, 0), 0, 5, 8)]).await;
    commit(store, &fence, 12, vec![extent(key(1, 0), 0, 8, 9)]).await;
    register(store, &fence, 13, ObjectLevel::L1).await;
    let compaction = L1Commit {
        key: key(1, 0),
        leader_epoch: 0,
        inputs: vec![L1Input { id: object_id(11), base_offset: 5, end_offset: 8 }],
        outputs: vec![L1Output {
            id: object_id(13),
            size: 1,
            footer_position: 1,
            extent: extent(key(1, 0), 0, 5, 8),
        }],
    };
    store.commit_l1(&fence, compaction).await.unwrap();
    register(store, &fence, 14, ObjectLevel::L0).await;

    store.delete_topic(&fence, topic_id(1), None).await.unwrap();
    assert_eq!(ranges(store, 10).await, [(0, 0, 5)]);
    assert_eq!(state(store, 10).await, Some(ObjectState::Committed));
    for dead in [11, 12, 13] {
        assert_eq!(state(store, dead).await, Some(ObjectState::Dead), "{dead}");
        assert_eq!(ranges(store, dead).await, []);
    }
    assert_eq!(state(store, 14).await, Some(ObjectState::Registered));
    let topics = store.load().await.unwrap().topics;
    assert_eq!(topics.iter().map(|topic| topic.id).collect::<Vec<_>>(), [topic_id(2)]);
}

pub(crate) async fn partitions_are_added_behind_the_expected_ones(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    let refused = store.create_partitions(&fence, topic_id(1), 1, vec![vec![9]]).await;
    let mismatch = Error::PartitionCountMismatch { topic_id: topic_id(1), expected: 1, found: 2 };
    assert_eq!(refused, Err(mismatch));
    let unknown = store.create_partitions(&fence, topic_id(5), 1, vec![vec![9]]).await;
    assert_eq!(unknown, Err(Error::UnknownTopic { id: topic_id(5) }));
    let none = store.create_partitions(&fence, topic_id(1), 2, Vec::new()).await;
    assert!(matches!(none, Err(Error::InvalidRequest(_))), "{none:?}");

    let added = vec![vec![9], Vec::new()];
    let topic = store.create_partitions(&fence, topic_id(1), 2, added).await.unwrap();
    let replicas: Vec<_> = topic.partitions.iter().map(|row| row.replicas.clone()).collect();
    assert_eq!(replicas, [vec![1, 2, 3], vec![1, 2, 3], vec![9], Vec::new()]);
    assert_eq!(topic.partitions.iter().map(|row| row.partition).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(store.load().await.unwrap().topics, [topic]);
}

pub(crate) async fn topic_configs_change_only_from_the_expected_version(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    let id = topic_id(1);
    let set = |version, value| {
        let values = values(&[("max.message.bytes", value), ("cleanup.policy", "ä,\"b\"")]);
        store.set_topic_configs(&fence, id, version, values)
    };
    assert_eq!(set(0, "1").await, Ok(1));
    let refused = set(0, "2").await;
    let entity = "topic topic-1".to_owned();
    assert_eq!(refused, Err(Error::ConfigVersionMismatch { entity, expected: 0, found: 1 }));
    assert_eq!(set(1, "3").await, Ok(2));
    let topic = store.load().await.unwrap().topics.remove(0);
    assert_eq!(topic.config_version, 2);
    assert_eq!(topic.configs, values(&[("max.message.bytes", "3"), ("cleanup.policy", "ä,\"b\"")]));
    let unknown = store.set_topic_configs(&fence, topic_id(2), 0, BTreeMap::new()).await;
    assert_eq!(unknown, Err(Error::UnknownTopic { id: topic_id(2) }));
}

pub(crate) async fn broker_configs_change_only_from_the_expected_version(subject: impl Subject) {
    let store = subject.store();
    let fence = open(store).await.fence;
    let set = |broker: Option<i32>, version, value| {
        let values = values(&[("log.retention.ms", value)]);
        store.set_broker_configs(&fence, broker.map(NodeId), version, values)
    };
    assert_eq!(set(None, 0, "1").await, Ok(1));
    assert_eq!(set(Some(1), 0, "2").await, Ok(1));
    assert_eq!(set(None, 1, "3").await, Ok(2));
    let entity = "broker 1".to_owned();
    let refused = set(Some(1), 0, "4").await;
    assert_eq!(refused, Err(Error::ConfigVersionMismatch { entity, expected: 0, found: 1 }));
    let configs =
        |version, value| Configs { version, values: values(&[("log.retention.ms", value)]) };
    assert_eq!(
        store.load().await.unwrap().broker_configs,
        BTreeMap::from([(None, configs(2, "3")), (Some(NodeId(1)), configs(1, "2"))])
    );
}

pub(crate) async fn group_configs_change_only_from_the_expected_version(subject: impl Subject) {
    let store = subject.store();
    let fence = open(store).await.fence;
    let set = |group_id: &'static str, version, value| {
        let values = values(&[("consumer.session.timeout.ms", value)]);
        store.set_group_configs(&fence, group_id, version, values)
    };
    assert_eq!(set("g", 0, "1").await, Ok(1));
    assert_eq!(set("h", 0, "2").await, Ok(1));
    assert_eq!(set("g", 1, "3").await, Ok(2));
    let entity = "group h".to_owned();
    let refused = set("h", 0, "4").await;
    assert_eq!(refused, Err(Error::ConfigVersionMismatch { entity, expected: 0, found: 1 }));
    let configs = |version, value| Configs {
        version,
        values: values(&[("consumer.session.timeout.ms", value)]),
    };
    let expected =
        BTreeMap::from([("g".to_owned(), configs(2, "3")), ("h".to_owned(), configs(1, "2"))]);
    let subject = subject.reopen().await;
    assert_eq!(subject.store().load().await.unwrap().group_configs, expected);
}

//! The catalog over memory metadata and a real log: creation, deletion, growth, configuration.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{TestBroker, World};

fn new_topic(world: &World, name: &str, partitions: usize) -> NewTopic {
    NewTopic {
        id: TopicId(world.rng.uuid()),
        name: name.to_owned(),
        internal: false,
        configs: BTreeMap::new(),
        replication_factor: 1,
        created_ms: 0,
        partitions: vec![vec![1]; partitions],
    }
}

async fn start() -> (World, TestBroker) {
    let world = World::new(1).await.unwrap();
    let broker = world.start(&[]).await.unwrap();
    (world, broker)
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_found_by_name_and_id_once_it_is_created() {
    let (world, broker) = start().await;
    let catalog = &broker.broker.catalog;
    let mut changes = catalog.subscribe();
    let before = catalog.image();
    let new = new_topic(&world, "t", 3);
    let id = new.id;
    let entry = catalog.create_topic(new).await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!((entry.topic.id, entry.partitions.len()), (id, 3));
    let image = catalog.image();
    assert!(Arc::ptr_eq(image.by_name("t").unwrap(), image.by_id(id).unwrap()));
    assert_eq!(entry.partition(2).unwrap().key(), entry.key(2));
    assert!(entry.partition(3).is_none() && entry.partition(-1).is_none());
    assert!(before.is_empty(), "an image never changes");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let (world, broker) = start().await;
    let catalog = &broker.broker.catalog;
    catalog.create_topic(new_topic(&world, "t", 1)).await.unwrap();
    let again = catalog.create_topic(new_topic(&world, "t", 1)).await;
    assert!(matches!(again, Err(Error::Metadata(metadata::Error::TopicExists { .. }))));
    assert_eq!(catalog.image().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_is_gone_from_the_image_and_the_log() {
    let (world, broker) = start().await;
    let catalog = &broker.broker.catalog;
    let entry = catalog.create_topic(new_topic(&world, "t", 1)).await.unwrap();
    catalog.delete_topic(entry.topic.id).await.unwrap();
    assert!(catalog.image().is_empty());
    assert!(broker.broker.log.partition(&entry.key(0)).is_none());
    let again = catalog.delete_topic(entry.topic.id).await;
    assert!(matches!(again, Err(Error::UnknownTopic(id)) if id == entry.topic.id));
}

#[tokio::test(start_paused = true)]
async fn partitions_are_added_behind_those_that_are_there() {
    let (world, broker) = start().await;
    let catalog = &broker.broker.catalog;
    let entry = catalog.create_topic(new_topic(&world, "t", 1)).await.unwrap();
    let grown = catalog.create_partitions(entry.topic.id, 1, vec![vec![1]; 2]).await.unwrap();
    assert_eq!(grown.partitions.len(), 3);
    assert!(Arc::ptr_eq(&grown.partitions[0], &entry.partitions[0]));
    let stale = catalog.create_partitions(entry.topic.id, 1, vec![vec![1]]).await;
    assert!(stale.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_changed_configuration_reaches_the_log() {
    let (world, broker) = start().await;
    let catalog = &broker.broker.catalog;
    let entry = catalog.create_topic(new_topic(&world, "t", 1)).await.unwrap();
    let overrides = BTreeMap::from([("max.message.bytes".to_owned(), "12345".to_owned())]);
    let id = entry.topic.id;
    let changed = catalog.set_topic_configs(id, 0, overrides.clone()).await.unwrap();
    assert_eq!(changed.log_config.max_message_bytes, 12345);
    assert_eq!(changed.partitions[0].config().max_message_bytes, 12345);
    assert_eq!(changed.topic.configs, overrides);
    let stale = catalog.set_topic_configs(id, 0, BTreeMap::new()).await;
    assert!(matches!(stale, Err(Error::Metadata(metadata::Error::ConfigVersionMismatch { .. }))));
}

#[tokio::test(start_paused = true)]
async fn a_change_goes_on_when_nobody_waits_for_it() {
    let (world, broker) = start().await;
    let catalog = broker.broker.catalog.clone();
    let mut changes = catalog.subscribe();
    let create = catalog.create_topic(new_topic(&world, "t", 1));
    // Polled once and dropped, as when the client disconnects.
    let abandoned = tokio::time::timeout(std::time::Duration::ZERO, create).await;
    drop(abandoned);
    changes.changed().await.unwrap();
    assert!(catalog.image().by_name("t").is_some());
}

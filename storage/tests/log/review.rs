//! What a review found: each test is a scenario that once went wrong.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use metadata::{MetadataStore, OpenSession};
use streamhouse_storage::{Acks, Durability};

use crate::harness::*;

/// Within 10 simulated seconds, which is far less than the age at which a file is sealed.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("it does not take so long")
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_when_a_topic_becomes_object_class_is_acknowledged_soon() {
    let mut machine = Machine::new(51);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    let appended = append(&partition, Acks::All, &batch(None, START_MS, &["a"])).unwrap();
    let mut config = topic_config();
    config.durability = Durability::Object;
    broker.log.configure(broker.topic_id, &Arc::new(config)).await.unwrap();
    soon(appended.ticket.wait()).await.unwrap();
    assert_eq!(partition.offsets().committed_end, 1);
}

#[tokio::test(start_paused = true)]
async fn the_log_start_is_never_above_the_high_watermark() {
    let mut machine = Machine::new(52);
    let broker = machine.start(1).await;
    produce_numbered(&broker.partition(0), 10).await;
    broker.partition(0).delete_records(5).await.unwrap();
    machine.kill(broker);
    machine.topic_config.durability = Durability::Object;
    let broker = machine.start(1).await;
    let offsets = broker.partition(0).offsets();
    assert!(offsets.log_start <= offsets.high_watermark, "{offsets:?}");
}

#[tokio::test(start_paused = true)]
async fn records_behind_a_flushed_range_whose_object_is_gone_survive_a_crash() {
    let mut machine = Machine::new(53);
    machine.topic_config.durability = Durability::Object;
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce_numbered(&partition, 10).await;
    // The only extent of the only object goes: the object is dead, its WAL file is still written.
    assert_eq!(partition.delete_records(-1).await.unwrap(), 10);
    machine.topic_config.durability = Durability::Local;
    broker.configure(&machine.topic_config).await;
    produce_numbered(&partition, 5).await;
    machine.kill(broker);
    for _ in 0..2 {
        let broker = machine.start(1).await;
        pause(5_000).await;
        assert_eq!(read_all(&broker.partition(0), 10, 1 << 20).await, numbered(10, 5));
        machine.kill(broker);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_whose_session_is_taken_over_stops() {
    let mut machine = Machine::new(55);
    let broker = machine.start(1).await;
    let request = OpenSession { node_id: None, cluster_id_if_new: "x".repeat(22) };
    machine.metadata.open_session(request).await.unwrap();
    produce_numbered(&broker.partition(0), 1).await;
    pause(1_200_000).await;
    assert!(broker.fatal.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn extents_that_are_committed_below_the_log_start_go_too() {
    let mut machine = Machine::new(56);
    machine.config.retention_interval = Duration::from_secs(10);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce_numbered(&partition, 10).await;
    assert_eq!(partition.delete_records(-1).await.unwrap(), 10);
    pause(1_200_000).await;
    assert_eq!(partition.offsets().committed_end, 10);
    assert!(machine.metadata.committed_objects().await.unwrap().is_empty());
    assert_eq!(partition.size_bytes(), 0);
}

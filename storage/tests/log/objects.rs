//! Objects: files leave the WAL for the object store, and the object class waits for it.

use streamhouse_storage::{Acks, Durability};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn sealed_files_become_objects_and_leave_the_disk() {
    let mut machine = Machine::new(41);
    machine.config.wal_file_bytes = 1 << 17;
    let broker = machine.start(3).await;
    for _ in 0..5 {
        for index in 0..3 {
            produce_numbered(&broker.partition(index), 20).await;
        }
    }
    pause(120_000).await;
    let partition = broker.partition(0);
    assert!(partition.offsets().committed_end > 0, "nothing was uploaded");
    assert!(broker.log.stats().wal_bytes < 1 << 20, "files stay: {:?}", broker.log.stats());
    broker.log.shutdown().await;
    machine.kill(broker);
    let broker = machine.start(3).await;
    for index in 0..3 {
        let partition = broker.partition(index);
        assert_eq!(read_all(&partition, 0, 1 << 20).await, numbered(0, 100));
    }
}

#[tokio::test(start_paused = true)]
async fn the_object_class_is_acknowledged_by_the_object_store() {
    let mut machine = Machine::new(42);
    machine.topic_config.durability = Durability::Object;
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    let appended = append(&partition, Acks::All, &batch(None, START_MS, &["a"])).unwrap();
    pause(20).await;
    assert_eq!(partition.offsets().high_watermark, 0);
    appended.ticket.wait().await.unwrap();
    let offsets = partition.offsets();
    assert_eq!((offsets.high_watermark, offsets.committed_end), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_fails_what_the_object_store_has_not_taken() {
    let mut machine = Machine::new(43);
    machine.topic_config.durability = Durability::Object;
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    let appended = append(&partition, Acks::All, &batch(None, START_MS, &["a"])).unwrap();
    let mut ticket = Box::pin(appended.ticket.wait());
    assert!(futures::poll!(ticket.as_mut()).is_pending());
    broker.log.shutdown().await;
    // Taken in time or not, the wait is over.
    let _ = ticket.await;
}

//! Merges over memory metadata and a failing store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use metadata::{NewObject, ObjectLevel, ObjectState};

use super::*;
use crate::{
    gc::{Collector, CollectorDeps, CollectorOptions},
    object::testing::{TestWal, World, key},
    object_store::faulty::{Fault, FaultRates, Operation},
};

fn compactor(world: &World) -> Compactor {
    compactor_with_reserve(world, 0)
}

fn compactor_with_reserve(world: &World, disk_reserve_bytes: u64) -> Compactor {
    let deps = CompactorDeps {
        metadata: Arc::clone(&world.metadata),
        fence: world.fence,
        storage: Arc::clone(&world.storage),
        reader: world.reader(),
        partitions: Arc::new(world.partitions.clone()),
        in_use: world.in_use.clone(),
        clock: Arc::clone(&world.clock),
        rng: world.rng.clone(),
        wal_fs: Arc::clone(&world.wal_fs),
        live: watch::Sender::new(LiveLogConfig::default()).subscribe(),
    };
    let options = CompactorOptions {
        key_prefix: "c".to_owned(),
        disk_reserve_bytes,
        ..CompactorOptions::default()
    };
    Compactor::new(deps, options)
}

fn collector(world: &World) -> Collector {
    collector_after(world, Duration::ZERO)
}

fn collector_after(world: &World, dead_grace: Duration) -> Collector {
    let deps = CollectorDeps {
        metadata: Arc::clone(&world.metadata),
        fence: world.fence,
        storage: Arc::clone(&world.storage),
        reader: world.reader(),
        in_use: world.in_use.clone(),
        clock: Arc::clone(&world.clock),
    };
    let key_prefix = "c".to_owned();
    Collector::new(deps, CollectorOptions { key_prefix, dead_grace, ..CollectorOptions::default() })
}

#[tokio::test(start_paused = true)]
async fn a_dead_object_is_left_to_its_readers_for_a_while() {
    let (_store, world) = World::faulty(2).await;
    upload(&world, 1, 16).await;
    compactor(&world).run_once().await;
    let collector = collector_after(&world, Duration::from_secs(60));
    assert_eq!(collector.collect(false).await.unwrap().dead, 0);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(collector.collect(false).await.unwrap().dead, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(collector.collect(false).await.unwrap().dead, 16);
}

/// Uploads `files` files with batches of two partitions, from two producers.
async fn upload(world: &World, first: u64, files: u64) {
    let (uploader, sender) = world.uploader().await;
    for id in first..first + files {
        let mut wal = TestWal::create(&world.wal_fs, id).await;
        for n in 0..3 {
            let producer = (key(0), world.partition(0).append_idempotent(3, 70 + n));
            let runs = [producer, world.run(1, 2, 5_000), world.run(0, 1, 70_000)];
            sender.send(wal.block(&runs).await).unwrap();
        }
        sender.send(wal.seal().await).unwrap();
    }
    drop(sender);
    uploader.ended().await;
}

#[tokio::test(start_paused = true)]
async fn sixteen_extents_become_one_object_and_the_log_reads_the_same() {
    let (_store, world) = World::faulty(2).await;
    upload(&world, 1, 16).await;
    assert_eq!(compactor(&world).run_once().await, 2);
    for partition in &world.partitions.0 {
        let extents = partition.extents();
        assert_eq!(extents.len(), 1);
        assert_eq!(extents[0].0.level, ObjectLevel::L1);
    }
    world.check().await;
    // All L0 objects are dead, and GC takes them.
    assert_eq!(world.metadata.list_objects(ObjectState::Dead, 100).await.unwrap().len(), 16);
    assert_eq!(collector(&world).collect(true).await.unwrap().dead, 16);
    world.check().await;
    assert_eq!(world.storage.list("c", None, 100).await.unwrap().len(), 2);
    // Idle: nothing is due.
    assert_eq!(compactor(&world).run_once().await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_l1_object_holds_the_whole_state_of_the_producers() {
    let (_store, world) = World::faulty(2).await;
    upload(&world, 1, 16).await;
    compactor(&world).run_once().await;
    // The second merge takes the first output along, the third starts from its producers.
    upload(&world, 17, 16).await;
    assert_eq!(compactor(&world).run_once().await, 2);
    assert_eq!(world.partition(0).extents().len(), 1);
    let (object, extent) = world.partition(0).extents()[0].clone();
    let found = world.reader().producer_updates(&object, &key(0)).await.unwrap();
    let mut expected = crate::object::ProducerTracker::default();
    for batch in world.partition(0).appended() {
        expected.push(&protocol::records::BatchHeader::parse(&batch).unwrap(), None);
    }
    assert_eq!(found, expected.into_updates().0);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|producer| producer.batches.len() == 5));
    assert_eq!(extent.end_offset, world.partition(0).next_offset());
    world.check().await;
}

#[tokio::test(start_paused = true)]
async fn producers_of_large_l0_objects_below_are_in_the_state_too() {
    let (_store, world) = World::faulty(2).await;
    // Three large objects stay as they are; the first two hold all of producer 9.
    let (uploader, sender) = world.uploader().await;
    for (id, producers) in [(1, [9, 70]), (2, [71, 9]), (3, [70, 70])] {
        let mut wal = TestWal::create(&world.wal_fs, id).await;
        for producer in producers {
            let run = (key(0), world.partition(0).append_idempotent(3, producer));
            sender.send(wal.block(&[run, world.run(0, 1, 40_000)]).await).unwrap();
        }
        sender.send(wal.seal().await).unwrap();
    }
    drop(sender);
    uploader.ended().await;
    let large = world.partition(0).extents()[2].1.bytes;
    for id in 4..20 {
        upload_small(&world, id).await;
    }
    let mut compactor = compactor(&world);
    compactor.options.policy.extent_bytes_good = large;
    assert_eq!(compactor.run_once().await, 1);
    let (object, _) = world.partition(0).extents()[3].clone();
    assert_eq!(object.level, ObjectLevel::L1);
    let found = world.reader().producer_updates(&object, &key(0)).await.unwrap();
    let mut expected = crate::object::ProducerTracker::default();
    for batch in world.partition(0).appended() {
        expected.push(&protocol::records::BatchHeader::parse(&batch).unwrap(), None);
    }
    assert_eq!(found, expected.into_updates().0);
    assert_eq!(found.iter().map(|p| p.producer_id).collect::<Vec<_>>(), [9, 70, 71]);
}

/// Uploads a file with one small batch.
async fn upload_small(world: &World, id: u64) {
    let (uploader, sender) = world.uploader().await;
    let mut wal = TestWal::create(&world.wal_fs, id).await;
    let run = (key(0), world.partition(0).append_idempotent(1, 70));
    sender.send(wal.block(&[run]).await).unwrap();
    sender.send(wal.seal().await).unwrap();
    drop(sender);
    uploader.ended().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_above_the_last_stable_offset_is_merged() {
    let (_store, world) = World::faulty(2).await;
    upload(&world, 1, 17).await;
    world.partition(0).set_last_stable_offset(world.partition(0).next_offset() - 1);
    assert_eq!(compactor(&world).run_once().await, 2);
    let levels: Vec<_> =
        world.partition(0).extents().iter().map(|(object, _)| object.level).collect();
    assert_eq!(levels, [ObjectLevel::L1, ObjectLevel::L0]);
    world.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_merge_that_fails_changes_nothing_and_its_object_is_collected() {
    for seed in 0..10 {
        let (store, world) = World::faulty(2).await;
        upload(&world, 1, 16).await;
        let before = world.partition(0).extents();
        store.set_outage(true);
        assert_eq!(compactor(&world).run_once().await, 0);
        assert_eq!(world.partition(0).extents(), before);
        store.set_outage(false);
        store.set_rates(FaultRates {
            reset_after: 100,
            unavailable: 100,
            truncated: seed * 10,
            ..FaultRates::default()
        });
        let (compactor, mut merges) = (compactor(&world), 0);
        for _ in 0..100 {
            merges += compactor.run_once().await;
        }
        assert_eq!(merges, 2, "seed {seed}");
        store.set_rates(FaultRates::default());
        collector(&world).collect(true).await.unwrap();
        world.check().await;
        assert_eq!(world.storage.list("c", None, 100).await.unwrap().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_input_is_not_replaced() {
    let (store, world) = World::faulty(2).await;
    upload(&world, 1, 16).await;
    let (object, _) = world.partition(0).extents()[3].clone();
    let mut bytes = world.storage.get_range(&object.key, 0..object.size).await.unwrap().to_vec();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    world.storage.delete(&object.key).await.unwrap();
    world.storage.put(&object.key, &[bytes.into()]).await.unwrap();
    compactor(&world).run_once().await;
    let damaged = world.partitions.0.iter().filter(|partition| partition.extents().len() == 16);
    assert_eq!(damaged.count(), 1);
    assert_eq!(store.requests(Operation::Delete), 1);
}

#[tokio::test(start_paused = true)]
async fn orphans_go_after_their_grace_and_objects_in_use_stay() {
    let (store, world) = World::faulty(2).await;
    upload(&world, 1, 2).await;
    let orphan = "c/l0/00000000-0000-0000-0000-000000000001";
    world.storage.put(orphan, &[bytes::Bytes::from_static(b"x")]).await.unwrap();
    // A put that took effect although its answer was lost, and then the process died.
    let id = ObjectId(world.rng.uuid());
    let new = NewObject {
        id,
        key: format!("c/l0/{id}"),
        level: ObjectLevel::L0,
        created_ms: world.clock.now_ms(),
        origin: None,
    };
    world.metadata.register_object(&world.fence, new).await.unwrap();
    store.script(Operation::Put, [Some(Fault::ResetAfter)]);
    world.storage.put(&format!("c/l0/{id}"), &[bytes::Bytes::from_static(b"y")]).await.unwrap();
    assert_eq!(collector(&world).collect(true).await.unwrap(), crate::gc::Collected::default());
    tokio::time::sleep(Duration::from_secs(3601)).await;
    let in_use = world.in_use.protect(id);
    let collected = collector(&world).collect(true).await.unwrap();
    assert_eq!((collected.orphans, collected.abandoned), (1, 0));
    drop(in_use);
    let collected = collector(&world).collect(true).await.unwrap();
    assert_eq!((collected.orphans, collected.abandoned, collected.dead), (0, 1, 1));
    world.check().await;
    assert_eq!(world.storage.list("c", None, 100).await.unwrap().len(), 2);
}

/// Upload, restart, merge, collect, upload again: the log reads the same after each.
async fn whole_life(mut world: World) {
    upload(&world, 1, 9).await;
    world.check().await;
    world.restart().await;
    world.check().await;
    upload(&world, 10, 8).await;
    assert_eq!(compactor(&world).run_once().await, 2);
    world.check().await;
    assert_eq!(collector(&world).collect(true).await.unwrap().dead, 17);
    world.check().await;
    upload(&world, 18, 2).await;
    world.restart().await;
    world.check().await;
    assert_eq!(world.storage.list("c", None, 100).await.unwrap().len(), 4);
    assert_eq!(world.released().len(), 19);
}

#[tokio::test(start_paused = true)]
async fn objects_live_and_die_in_memory() {
    whole_life(World::faulty(2).await.1).await;
}

#[tokio::test]
async fn objects_live_and_die_in_local_files_renamed_or_copied() {
    for adopt in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().join("objects").display());
        let settings = std::collections::BTreeMap::new();
        let world = World::on_files(directory.path(), &url, &settings, adopt, 2).await;
        whole_life(world).await;
    }
}

#[tokio::test]
async fn objects_live_and_die_in_a_real_s3_server() {
    let server = crate::object_store::s3_server::S3Server::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (url, settings) = ("s3://bucket/broker", server.settings());
    whole_life(World::on_files(directory.path(), url, &settings, true, 2).await).await;
}

#[tokio::test]
async fn local_merges_wait_for_disk_space_and_remote_ones_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::local(directory.path(), 2).await;
    upload(&world, 1, 16).await;
    assert_eq!(compactor_with_reserve(&world, u64::MAX).run_once().await, 0);
    assert_eq!(compactor_with_reserve(&world, 0).run_once().await, 2);
    let (_store, world) = World::faulty(2).await;
    upload(&world, 1, 16).await;
    assert_eq!(compactor_with_reserve(&world, u64::MAX).run_once().await, 2);
}

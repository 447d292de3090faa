//! The uploader over memory metadata and a failing store, and over real files with crashes
//! between every two steps.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use common::rng::Rng;
use metadata::{ObjectLevel, ObjectState};

use super::*;
use crate::{
    object::{
        ExtentTarget,
        testing::{TestWal, World, key, of_object_class},
    },
    object_store::faulty::{Fault, FaultRates, Operation},
    wal::FileName,
};

/// Writes `files` sealed files of a few blocks each; returns their events.
async fn write_files(world: &World, first: u64, files: u64, object_class: bool) -> Vec<WalEvent> {
    let mut events = Vec::new();
    for id in first..first + files {
        let mut wal = TestWal::create(&world.wal_fs, id).await;
        for n in 0..4 {
            let runs = [world.run(0, 3, 100), world.run(1, 1, 5000 * n), world.run(0, 1, 10)];
            let event = wal.block(&runs).await;
            events.push(if object_class { of_object_class(event) } else { event });
        }
        events.push(wal.seal().await);
    }
    events
}

async fn upload(world: &World, events: Vec<WalEvent>) -> Ended {
    let (uploader, sender) = world.uploader().await;
    for event in events {
        sender.send(event).unwrap();
    }
    drop(sender);
    uploader.ended().await
}

async fn rows(world: &World, state: ObjectState) -> usize {
    world.metadata.list_objects(state, 1000).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn sealed_files_become_objects_and_are_released_in_order() {
    let (store, world) = World::faulty(2).await;
    let events = write_files(&world, 1, 5, false).await;
    assert_eq!(upload(&world, events).await, Ended::Done);
    world.check().await;
    assert_eq!(world.released(), [1, 2, 3, 4, 5]);
    assert_eq!(store.requests(Operation::Put), 5);
    let committed = world.metadata.committed_objects().await.unwrap();
    assert!(committed.iter().all(|row| row.level == ObjectLevel::L0 && row.extents.len() == 2));
    assert!(committed.iter().all(|row| row.origin.unwrap().from == 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_for_the_local_class_before_the_file_is_sealed() {
    let (store, world) = World::faulty(2).await;
    let (uploader, sender) = world.uploader().await;
    let mut wal = TestWal::create(&world.wal_fs, 1).await;
    sender.send(wal.block(&[world.run(0, 3, 100)]).await).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.requests(Operation::Put), 0);
    sender.send(wal.seal().await).unwrap();
    drop(sender);
    assert_eq!(uploader.ended().await, Ended::Done);
    world.check().await;
}

#[tokio::test(start_paused = true)]
async fn the_object_class_is_flushed_by_age_at_most_four_times_a_second_and_never_when_idle() {
    let (store, world) = World::faulty(2).await;
    let (uploader, sender) = world.uploader().await;
    let mut wal = TestWal::create(&world.wal_fs, 1).await;
    // A block every 10 ms for two seconds.
    for _ in 0..200 {
        sender.send(of_object_class(wal.block(&[world.run(0, 1, 10)]).await)).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let puts = store.requests(Operation::Put);
    assert!((3..=9).contains(&puts), "{puts} puts in two seconds");
    assert!(world.partition(0).committed_end() >= 160);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.partition(0).committed_end(), 200);
    let puts = store.requests(Operation::Put);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(store.requests(Operation::Put), puts);
    // What is left after the last flush is only the seal: nothing to put.
    sender.send(wal.seal().await).unwrap();
    drop(sender);
    assert_eq!(uploader.ended().await, Ended::Done);
    assert_eq!(store.requests(Operation::Put), puts);
    assert_eq!(world.released(), [1]);
    world.check().await;
}

#[tokio::test(start_paused = true)]
async fn four_mebibytes_of_the_object_class_do_not_wait_for_their_age() {
    let (store, world) = World::faulty(1).await;
    let (_uploader, sender) = world.uploader().await;
    let mut wal = TestWal::create(&world.wal_fs, 1).await;
    sender.send(of_object_class(wal.block(&[world.run(0, 5, 1 << 20)]).await)).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(store.requests(Operation::Put), 1);
    assert_eq!(world.partition(0).committed_end(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_flush_takes_all_classes_and_the_rest_follows_with_the_seal() {
    let (_store, world) = World::faulty(2).await;
    let (uploader, sender) = world.uploader().await;
    let mut wal = TestWal::create(&world.wal_fs, 1).await;
    sender.send(wal.block(&[world.run(1, 2, 10)]).await).unwrap();
    sender.send(of_object_class(wal.block(&[world.run(0, 3, 100)]).await)).unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(world.partition(1).committed_end(), 2);
    sender.send(wal.block(&[world.run(1, 2, 10)]).await).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.partition(1).committed_end(), 2);
    uploader.flush().await;
    assert_eq!(world.partition(1).committed_end(), 4);
    sender.send(wal.block(&[world.run(1, 1, 10)]).await).unwrap();
    sender.send(wal.seal().await).unwrap();
    drop(sender);
    uploader.ended().await;
    world.check().await;
    let committed = world.metadata.committed_objects().await.unwrap();
    let mut ranges: Vec<_> =
        committed.iter().map(|row| row.origin.unwrap()).map(|o| (o.from, o.to)).collect();
    ranges.sort_unstable();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[0].0, 4096);
    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ranges:?}");
}

#[tokio::test(start_paused = true)]
async fn faults_delay_commits_and_neither_lose_nor_repeat_anything() {
    for seed in 0..20 {
        let (store, world) = World::faulty(2).await;
        let rng = Rng::seeded(seed);
        store.set_rates(FaultRates {
            unavailable: rng.below(300),
            timeout: rng.below(50),
            reset_before: rng.below(200),
            reset_after: rng.below(200),
            truncated: rng.below(100),
            latency_max: Duration::from_millis(rng.below(2000)),
        });
        let (uploader, sender) = world.uploader().await;
        for (at, event) in write_files(&world, 1, 6, seed % 2 == 0).await.into_iter().enumerate() {
            sender.send(event).unwrap();
            tokio::time::sleep(Duration::from_millis(rng.below(200))).await;
            store.set_outage(at == 8);
        }
        drop(sender);
        assert_eq!(uploader.ended().await, Ended::Done, "seed {seed}");
        store.set_rates(FaultRates::default());
        world.check().await;
        assert_eq!(world.released(), [1, 2, 3, 4, 5, 6]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_is_waited_out() {
    let (store, world) = World::faulty(2).await;
    store.set_outage(true);
    let (uploader, sender) = world.uploader().await;
    for event in write_files(&world, 1, 3, true).await {
        sender.send(event).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1800)).await;
    assert_eq!(world.partition(0).committed_end(), 0);
    let requests = store.requests(Operation::Put);
    assert!(requests < 3000, "{requests} puts in half an hour: a retry storm");
    store.set_outage(false);
    drop(sender);
    assert_eq!(uploader.ended().await, Ended::Done);
    world.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_answer_was_lost_is_not_put_twice() {
    let (store, world) = World::faulty(2).await;
    store.script(Operation::Put, [Some(Fault::ResetAfter)]);
    let events = write_files(&world, 1, 1, false).await;
    upload(&world, events).await;
    world.check().await;
    assert_eq!(world.storage.list("c", None, 100).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn extents_of_deleted_topics_are_left_out_and_files_with_nothing_else_are_just_released() {
    let (store, mut world) = World::faulty(2).await;
    let events = write_files(&world, 1, 1, false).await;
    world.partitions.0.truncate(1);
    upload(&world, events).await;
    world.check().await;
    let events = write_files_of(&world, 2, 9).await;
    upload(&world, events).await;
    assert_eq!((store.requests(Operation::Put), world.released()), (1, vec![1, 2]));
}

/// A sealed file with a batch of a partition that is not served here.
async fn write_files_of(world: &World, id: u64, partition: i32) -> Vec<WalEvent> {
    let mut wal = TestWal::create(&world.wal_fs, id).await;
    let block = wal.block(&[(key(partition), crate::object::testing::batch(0, 1, 10))]).await;
    vec![block, wal.seal().await]
}

#[tokio::test(start_paused = true)]
async fn a_rejected_extent_is_told_to_its_partition_and_the_others_commit() {
    let (_store, world) = World::faulty(2).await;
    let events = write_files(&world, 1, 1, false).await;
    world.partition(1).set_leader_epoch(-5);
    upload(&world, events).await;
    assert_eq!(world.partition(1).rejected_extents().len(), 1);
    assert_eq!(world.partition(0).committed_end(), world.partition(0).next_offset());
    world.partition(0).check(&world.reader()).await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_partition_is_left_out_and_what_it_had_is_kept() {
    let (_store, world) = World::faulty(2).await;
    let events = write_files(&world, 1, 1, false).await;
    world.partition(1).set_leader_epoch(-5);
    upload(&world, events).await;
    let events = write_files(&world, 2, 2, false).await;
    upload(&world, events).await;
    assert_eq!(world.partition(1).rejected_extents().len(), 1);
    assert_eq!(world.partition(0).committed_end(), world.partition(0).next_offset());
    world.partition(0).check(&world.reader()).await;
    let objects: Vec<_> =
        world.partition(0).extents().into_iter().map(|(object, _)| object.id).collect();
    assert_eq!(objects.len(), 3);
    assert!(objects.iter().all(|id| world.in_use.contains(id)));
}

#[tokio::test(start_paused = true)]
async fn the_highest_released_file_is_remembered_when_its_objects_are_gone() {
    let (_store, mut world) = World::faulty(1).await;
    assert_eq!(last_released(&world.metadata).await.unwrap(), None);
    let events = write_files_of(&world, 3, 9).await;
    upload(&world, events).await;
    assert_eq!(last_released(&world.metadata).await.unwrap(), Some(3));
    let events = write_files_of(&world, 2, 9).await;
    upload(&world, events).await;
    assert_eq!(last_released(&world.metadata).await.unwrap(), Some(3));
    // It is noted under the session: whoever has lost it releases nothing.
    let events = write_files_of(&world, 4, 9).await;
    let fence = world.fence;
    world.restart().await;
    world.fence = fence;
    assert_eq!(upload(&world, events).await, Ended::Fenced);
    assert_eq!(world.released(), [3, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_uploader_stops() {
    let (_store, mut world) = World::faulty(2).await;
    let events = write_files(&world, 1, 2, false).await;
    let fence = world.fence;
    world.restart().await;
    world.fence = fence;
    let ended = upload(&world, events).await;
    assert_eq!(ended, Ended::Fenced);
    assert!(world.released().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_the_upload_goes_on_where_it_was_committed() {
    for steps in 0..12 {
        let (store, mut world) = World::faulty(2).await;
        // Stop the store after some requests: what is in flight is cut off there.
        let script = (0..steps).map(|_| None).chain((0..10_000).map(|_| Some(Fault::Unavailable)));
        store.script(Operation::Put, script);
        let (uploader, sender) = world.uploader().await;
        let mut all = Vec::new();
        for event in write_files(&world, 1, 3, true).await {
            sender.send(event.clone()).unwrap();
            all.push(event);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        uploader.stop();
        assert_eq!(uploader.ended().await, Ended::Stopped);
        world.restart().await;
        // The script is used up by a fresh store in front of the same objects.
        while store_is_down(&world).await {}
        let settled = settle(&world).await;
        assert_eq!(rows(&world, ObjectState::Registered).await, 0, "{settled} settled");
        let sealed = all.into_iter().filter(|event| match event {
            WalEvent::Sealed { file, .. } => !world.released().contains(&file.id),
            WalEvent::Synced { .. } => false,
        });
        assert_eq!(upload(&world, sealed.collect()).await, Ended::Done);
        world.check().await;
        assert_eq!(world.released(), [1, 2, 3], "{steps} puts");
    }
}

async fn store_is_down(world: &World) -> bool {
    let key = format!("probe/{}", world.rng.uuid());
    world.storage.put(&key, &[]).await.is_err()
}

async fn settle(world: &World) -> usize {
    settle_registered(
        &world.metadata,
        &world.fence,
        &world.storage,
        &world.wal_fs,
        world.wal_directory.as_deref(),
        &world.spawner,
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn a_sealed_local_file_becomes_the_object_without_a_copy() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let world = World::local(directory.path(), 2).await;
    let events = write_files(&world, 1, 2, false).await;
    let name = world.wal_directory.as_ref().unwrap().join(FileName::log(1));
    let inode = std::fs::metadata(&name).unwrap().ino();
    assert_eq!(upload(&world, events).await, Ended::Done);
    world.check().await;
    assert!(!name.exists());
    let committed = world.metadata.committed_objects().await.unwrap();
    let paths = committed.iter().map(|row| world.storage.local_path(&row.key).unwrap());
    let inodes: Vec<_> = paths.map(|path| std::fs::metadata(path).unwrap().ino()).collect();
    assert!(inodes.contains(&inode));
    assert_eq!(world.released(), [1, 2]);
}

/// How far an adoption got before the crash.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Step {
    Registered,
    HalfFooter,
    Footer,
    Renamed,
    Committed,
}

#[tokio::test]
async fn a_crash_between_any_two_steps_of_an_adoption_is_undone_or_kept_whole() {
    for step in [Step::Registered, Step::HalfFooter, Step::Footer, Step::Renamed, Step::Committed] {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World::local(directory.path(), 2).await;
        let events = write_files(&world, 1, 1, false).await;
        let Some(WalEvent::Sealed { file, end }) = events.last().cloned() else { panic!() };
        take_steps(&world, &file, end, step).await;
        world.restart().await;
        let settled = settle(&world).await;
        assert_eq!(settled, usize::from(step < Step::Committed), "{step:?}");
        let name = world.wal_directory.as_ref().unwrap().join(FileName::log(1));
        if step < Step::Committed {
            assert_eq!(std::fs::metadata(&name).unwrap().len(), end, "{step:?}");
            let reopened = reopen(&world, &file).await;
            let sealed = WalEvent::Sealed { file: reopened, end };
            assert_eq!(upload(&world, vec![sealed]).await, Ended::Done);
            assert_eq!(rows(&world, ObjectState::Dead).await, 1);
        }
        assert!(!name.exists());
        world.check().await;
    }
}

async fn reopen(world: &World, file: &WalFileRef) -> Arc<WalFileRef> {
    let opened = world.wal_fs.open(&file.name()).await.unwrap();
    Arc::new(WalFileRef::new(file.id, file.nonce, opened.reader().unwrap()))
}

/// Does by hand what the uploader does, up to `last`.
async fn take_steps(world: &World, file: &Arc<WalFileRef>, end: u64, last: Step) {
    use metadata::{L0Commit, NewObject, WalRange};
    let id = ObjectId(world.rng.uuid());
    let key = prepare::l0_key("c", id);
    let new = NewObject {
        id,
        key: key.clone(),
        level: ObjectLevel::L0,
        created_ms: 0,
        origin: Some(WalRange { file_id: file.id, from: 0, to: end }),
    };
    world.metadata.register_object(&world.fence, new).await.unwrap();
    let origin = Origin { file_id: file.id, from: 0, to: end };
    let footer = crate::object::build_blocks_footer(id, file, origin).unwrap();
    let encoded = footer.encode().unwrap();
    if last >= Step::HalfFooter {
        let mut opened = world.wal_fs.open(&file.name()).await.unwrap();
        let half = encoded.slice(..encoded.len() / 2);
        opened
            .write_at(end, &[if last == Step::HalfFooter { half } else { encoded.clone() }])
            .await
            .unwrap();
        opened.sync_data().await.unwrap();
    }
    if last >= Step::Renamed {
        let destination = world.storage.local_path(&key).unwrap();
        world.wal_fs.rename_out(&file.name(), &destination).await.unwrap();
    }
    if last >= Step::Committed {
        let extents = footer.partitions.iter().map(|partition| partition.extent(0)).collect();
        let commit =
            L0Commit { id, size: end + encoded.len() as u64, footer_position: end, extents };
        world.metadata.commit_l0(&world.fence, commit).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_range_is_never_uploaded_and_holds_back_what_follows() {
    let (store, world) = World::faulty(2).await;
    let events = write_files(&world, 1, 1, false).await;
    let Some(WalEvent::Sealed { file, .. }) = events.last().cloned() else { panic!() };
    let mut opened = world.wal_fs.open(&file.name()).await.unwrap();
    opened.write_at(4096 + 3000, &[bytes::Bytes::from_static(b"damage")]).await.unwrap();
    let first = file.read_at(4096, 4096).unwrap();
    opened.write_at(4096 + 300, &[bytes::Bytes::from_static(b"damage")]).await.unwrap();
    let (uploader, sender) = world.uploader().await;
    for event in events {
        sender.send(event).unwrap();
    }
    drop(sender);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((store.requests(Operation::Put), world.released().len()), (0, 0));
    // Restored by an operator, it goes on by itself.
    let mut restored = first.to_vec();
    restored[3000..3006].fill(0);
    opened.write_at(4096, &[restored.into()]).await.unwrap();
    assert_eq!(uploader.ended().await, Ended::Done);
    world.check().await;
}

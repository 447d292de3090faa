//! Whole passes over uploaded extents, against a model of what must stay.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use protocol::records::{
    BatchBuilder, BatchRef, Compression, EndTransactionMarker, batches,
    encode_end_transaction_marker, set_base_offset,
};
use tokio::sync::watch;

use super::{offset_map::SLOT_BYTES, *};
use crate::{
    compaction::{CompactionPolicy, CompactorDeps, CompactorOptions},
    config::LiveLogConfig,
    object::{
        AbortedRange,
        testing::{TestPartition, TestWal, World, key},
    },
};

const POLICY: CleaningPolicy = CleaningPolicy {
    min_dirty_ratio: 0.0,
    delete_retention_ms: 0,
    min_lag_ms: 0,
    max_lag_ms: i64::MAX,
};

fn cleaner(world: &World, dedupe_buffer_bytes: usize, bytes_max: u64) -> Compactor {
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
        live: watch::Sender::new(LiveLogConfig {
            cleaner_buffer_bytes: dedupe_buffer_bytes,
            ..LiveLogConfig::default()
        })
        .subscribe(),
    };
    let options = CompactorOptions {
        key_prefix: "c".to_owned(),
        disk_reserve_bytes: 0,
        policy: CompactionPolicy { bytes_max, ..CompactionPolicy::default() },
        ..CompactorOptions::default()
    };
    Compactor::new(deps, options)
}

/// What a test writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// A record: key, and whether it has a value.
    Plain(u8, bool),
    /// A record of a producer's transaction.
    Transactional(i64, u8),
    /// The end of a producer's transaction.
    End(i64, bool),
}

/// A partition's log as it was written.
#[derive(Debug, Default)]
struct Written {
    /// Key, whether there is a value, and the producer of the transaction, by offset.
    records: BTreeMap<i64, (u8, bool, Option<i64>)>,
    open: BTreeMap<i64, i64>,
    aborted: Vec<AbortedRange>,
}

impl Written {
    /// Appends a write to the partition; `None` where there is nothing to end.
    fn write(&mut self, partition: &TestPartition, write: Write) -> Option<Bytes> {
        let offset = partition.next_offset();
        match write {
            Write::Plain(key, value) => {
                self.records.insert(offset, (key, value, None));
                Some(partition.append_with(|offset| record(offset, key, value, None)))
            }
            Write::Transactional(producer, key) => {
                self.open.entry(producer).or_insert(offset);
                self.records.insert(offset, (key, true, Some(producer)));
                Some(partition.append_with(|offset| record(offset, key, true, Some(producer))))
            }
            Write::End(producer, commit) => {
                let first_offset = self.open.remove(&producer)?;
                if !commit {
                    let range =
                        AbortedRange { first_offset, last_offset: offset, producer_id: producer };
                    self.aborted.push(range);
                }
                Some(partition.append_with(|offset| marker(offset, producer, commit)))
            }
        }
    }

    fn is_aborted(&self, offset: i64) -> bool {
        let producer = self.records.get(&offset).and_then(|(_, _, producer)| *producer);
        self.aborted.iter().any(|range| {
            Some(range.producer_id) == producer
                && (range.first_offset..range.last_offset).contains(&offset)
        })
    }

    /// Key → offset of the newest record that was not aborted, below `end`.
    fn newest(&self, end: i64) -> BTreeMap<u8, i64> {
        let valid = self.records.range(..end).filter(|(offset, _)| !self.is_aborted(**offset));
        valid.map(|(offset, (key, _, _))| (*key, *offset)).collect()
    }
}

fn record(offset: i64, key: u8, value: bool, producer: Option<i64>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::Lz4(9)).base_offset(offset);
    if let Some(producer) = producer {
        builder = builder.producer(producer, 0, offset as i32).transactional(true);
    }
    let value = value.then(|| offset.to_be_bytes());
    let value = value.as_ref().map(<[u8; 8]>::as_slice);
    builder.append(0, offset + 1, Some(&[key]), value, &[]).unwrap();
    builder.build().unwrap()
}

fn marker(offset: i64, producer: i64, commit: bool) -> Bytes {
    let marker = EndTransactionMarker { commit, coordinator_epoch: 0 };
    let bytes = encode_end_transaction_marker(producer, 0, offset + 1, marker).unwrap();
    let mut bytes = bytes.to_vec();
    set_base_offset(&mut bytes, offset).unwrap();
    bytes.into()
}

/// Uploads writes as the next WAL file.
async fn upload(world: &World, written: &mut Written, file: u64, writes: &[Write]) {
    let (uploader, sender) = world.uploader().await;
    let mut wal = TestWal::create(&world.wal_fs, file).await;
    let partition = world.partition(0);
    for write in writes {
        if let Some(batch) = written.write(partition, *write) {
            sender.send(wal.block(&[(key(0), batch)]).await).unwrap();
        }
    }
    sender.send(wal.seal().await).unwrap();
    drop(sender);
    uploader.ended().await;
    partition.set_aborted(written.aborted.clone());
    let open = written.open.values().min().copied();
    partition.set_last_stable_offset(open.unwrap_or_else(|| partition.next_offset()));
}

/// All data records: offset → key and whether there is a value. Checks that offsets ascend and that
/// every extent ends where it says.
async fn read(world: &World) -> BTreeMap<i64, (u8, bool)> {
    let mut found = BTreeMap::new();
    let mut end = 0;
    for (object, extent) in world.partition(0).extents() {
        assert_eq!(extent.base_offset, end);
        let mut offset = extent.base_offset;
        while offset < extent.end_offset {
            let cold = world
                .reader()
                .read(&object, &key(0), offset, extent.end_offset, 1000, true)
                .await
                .unwrap();
            assert!(cold.next_offset > offset, "a reader is stuck at {offset}");
            for batch in cold.records.iter().flat_map(batches) {
                let batch = batch.unwrap();
                take_batch(&batch.borrowed(), &mut found);
            }
            offset = cold.next_offset;
        }
        end = extent.end_offset;
    }
    assert_eq!(end, world.partition(0).next_offset());
    found
}

fn take_batch(batch: &BatchRef<'_>, found: &mut BTreeMap<i64, (u8, bool)>) {
    batch.verify_crc().unwrap();
    let header = batch.header();
    if header.is_control() {
        return;
    }
    for record in &batch.decompressed(DECOMPRESS_LIMIT).unwrap() {
        let record = record.unwrap();
        let offset = header.base_offset + i64::from(record.offset_delta);
        let facts = (record.key.unwrap()[0], record.value.is_some());
        assert_eq!(found.insert(offset, facts), None);
    }
}

fn plain(keys: &[u8]) -> Vec<Write> {
    keys.iter().map(|key| Write::Plain(*key, true)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_last_record_per_key_stays_at_its_offset() {
    let (_store, world) = World::faulty(1).await;
    let mut written = Written::default();
    upload(&world, &mut written, 1, &plain(&[1, 2, 1, 3])).await;
    upload(&world, &mut written, 2, &plain(&[2, 2, 4])).await;
    world.partition(0).set_cleaning(POLICY);
    let cleaner = cleaner(&world, 1 << 20, 256 << 20);
    assert_eq!(cleaner.clean_once().await.passes, 1);
    let kept = BTreeMap::from([(2, (1, true)), (3, (3, true)), (5, (2, true)), (6, (4, true))]);
    assert_eq!(read(&world).await, kept);
    assert_eq!(world.partition(0).extents().len(), 1);
    // Clean: nothing is due any more, and L0 → L1 merges leave the log alone.
    assert_eq!(cleaner.clean_once().await.passes, 0);
    upload(&world, &mut written, 3, &plain(&[5])).await;
    assert_eq!(cleaner.run_once().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_compacted_is_left_alone() {
    let (_store, world) = World::faulty(1).await;
    let mut written = Written::default();
    upload(&world, &mut written, 1, &plain(&[1, 1, 1])).await;
    assert_eq!(cleaner(&world, 1 << 20, 256 << 20).clean_once().await.passes, 0);
    world.check().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_at_or_above_the_last_stable_offset_is_touched() {
    let (_store, world) = World::faulty(1).await;
    let mut written = Written::default();
    upload(&world, &mut written, 1, &plain(&[1, 1])).await;
    upload(&world, &mut written, 2, &[Write::Plain(1, true), Write::Transactional(7, 1)]).await;
    world.partition(0).set_cleaning(POLICY);
    let cleaner = cleaner(&world, 1 << 20, 256 << 20);
    cleaner.clean_once().await;
    assert_eq!(read(&world).await.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    upload(&world, &mut written, 3, &[Write::End(7, true)]).await;
    cleaner.clean_once().await;
    assert_eq!(read(&world).await.keys().copied().collect::<Vec<_>>(), [3]);
}

#[tokio::test(start_paused = true)]
async fn producers_of_removed_batches_are_remembered() {
    let (_store, world) = World::faulty(1).await;
    let mut written = Written::default();
    let first = [Write::Transactional(7, 1), Write::End(7, true), Write::Transactional(8, 1)];
    upload(&world, &mut written, 1, &first).await;
    upload(&world, &mut written, 2, &[Write::End(8, true), Write::Plain(1, true)]).await;
    world.partition(0).set_cleaning(POLICY);
    // Two passes, each object a group of its own: the second starts from what the first knew.
    let cleaner = cleaner(&world, 1 << 20, 1);
    cleaner.clean_once().await;
    upload(&world, &mut written, 3, &plain(&[1])).await;
    cleaner.clean_once().await;
    let (object, _) = world.partition(0).extents().last().unwrap().clone();
    let known = world.reader().producer_updates(&object, &key(0)).await.unwrap();
    let sequences: Vec<_> =
        known.iter().map(|p| (p.producer_id, p.batches.last().unwrap().last_sequence)).collect();
    assert_eq!(sequences, [(7, 0), (8, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_fails_changes_nothing_and_is_made_again() {
    let (store, world) = World::faulty(1).await;
    let mut written = Written::default();
    upload(&world, &mut written, 1, &plain(&[1, 2, 1, 2])).await;
    world.partition(0).set_cleaning(POLICY);
    let cleaner = cleaner(&world, 1 << 20, 256 << 20);
    store.set_outage(true);
    assert_eq!(cleaner.clean_once().await.passes, 0);
    store.set_outage(false);
    assert_eq!(read(&world).await.len(), 4);
    assert_eq!(cleaner.clean_once().await.passes, 1);
    assert_eq!(read(&world).await.len(), 2);
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => (0..6_u8, prop::bool::weighted(0.8)).prop_map(|(key, value)| Write::Plain(key, value)),
        3 => (1..4_i64, 0..6_u8).prop_map(|(producer, key)| Write::Transactional(producer, key)),
        2 => (1..4_i64, any::<bool>()).prop_map(|(producer, commit)| Write::End(producer, commit)),
    ]
}

/// Writes file after file and cleans in between, with a map of few keys and objects of few bytes;
/// then checks what is left.
async fn check(files: &[Vec<Write>], keys_max: usize, bytes_max: u64) {
    let (_store, world) = World::faulty(1).await;
    let mut written = Written::default();
    world.partition(0).set_cleaning(POLICY);
    let cleaner = cleaner(&world, keys_max * SLOT_BYTES, bytes_max);
    for (file, writes) in files.iter().enumerate() {
        upload(&world, &mut written, file as u64 + 1, writes).await;
        let mut known = world.partition(0).aborted();
        known.retain(|range| written.aborted.contains(range));
        cleaner.clean_once().await;
        let found = read(&world).await;
        let newest = written.newest(i64::MAX);
        for (key, offset) in &newest {
            let (_, value, _) = written.records[offset];
            // A tombstone may have gone, the last value of a key never.
            assert!(found.contains_key(offset) || !value, "key {key} lost its offset {offset}");
        }
        let is_known = |(offset, (key, value)): (&i64, &(u8, bool))| {
            let (written_key, written_value, _) = written.records[offset];
            (written_key, written_value) == (*key, *value)
        };
        assert!(found.iter().all(is_known));
    }
    // Passes until nothing is due: no key has two records below the last stable offset's extent.
    let mut rounds = 0;
    while cleaner.clean_once().await.passes > 0 {
        rounds += 1;
        assert!(rounds < 100, "cleaning does not come to an end");
    }
    let last_stable = world.partition(0).last_stable_offset();
    let extents = world.partition(0).extents();
    let clean_end = extents
        .iter()
        .map(|(_, extent)| extent.end_offset)
        .take_while(|end| *end <= last_stable)
        .last()
        .unwrap_or(0);
    let newest = written.newest(clean_end);
    let found = read(&world).await;
    for (offset, (key, _)) in found.range(..clean_end) {
        assert_eq!(newest.get(key), Some(offset), "a superseded record of key {key} stayed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_last_record_per_key_is_never_lost_and_the_others_go(
        files in prop::collection::vec(prop::collection::vec(write(), 1..12), 1..6),
        keys_max in 2..12_usize,
        bytes_max in prop::sample::select(vec![1_u64, 200, 1 << 20]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(check(&files, keys_max, bytes_max));
    }
}

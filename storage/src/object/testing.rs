//! What the tests of objects, uploader, compaction and GC share: a WAL file in the making,
//! partitions that check what they are told, and a small world to put them in.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    NodeId, ObjectId, PartitionKey, TopicId,
    clock::{SharedClock, TokioClock},
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use metadata::{Extent, Fence, MemoryStore, MetadataStore, NewTopic, ObjectRow, OpenSession};
use object_store::memory::InMemory;
use protocol::records::{BatchBuilder, BatchHeader, Compression, batch_refs};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    AbortedRange, ExtentTarget, ObjectReader, ObjectRef, ObjectStorage, Partitions, ReaderOptions,
    StorageOptions,
};
use crate::{
    compaction::CleaningPolicy,
    object_store::faulty::FaultyObjectStore,
    upload::{ObjectsInUse, UploaderDeps, UploaderHandle, UploaderOptions, WalRelease},
    wal::{
        AtOnce, FileName, OsWalFs, WalEvent, WalFile, WalFileRef, WalFs,
        block::{BatchEntry, BlockHeader, Directory, RunEntry},
        head::FileHead,
        sim_fs::SimWalFs,
    },
};

pub(crate) const TOPIC: TopicId = TopicId(Uuid::from_u128(7));

pub(crate) fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TOPIC, partition }
}

pub(crate) fn spawner() -> Spawner {
    Spawner::threads(Fatal::new(|reason| panic!("fatal: {reason}")))
}

/// One batch of `records` records of `value_bytes` each, at `base_offset`, epoch 1.
pub(crate) fn batch(base_offset: i64, records: i32, value_bytes: usize) -> Bytes {
    builder(base_offset, records, value_bytes).build().unwrap()
}

/// The same, from an idempotent producer whose sequences are the offsets.
pub(crate) fn idempotent(base_offset: i64, records: i32, producer_id: i64) -> Bytes {
    let sequence = i32::try_from(base_offset).unwrap();
    builder(base_offset, records, 20).producer(producer_id, 0, sequence).build().unwrap()
}

fn builder(base_offset: i64, records: i32, value_bytes: usize) -> BatchBuilder {
    let mut builder =
        BatchBuilder::new(Compression::None).base_offset(base_offset).partition_leader_epoch(1);
    for delta in 0..records {
        let offset = base_offset + i64::from(delta);
        let value = vec![(offset % 251) as u8; value_bytes];
        builder.append(delta, timestamp(offset), None, Some(&value), &[]).unwrap();
    }
    builder
}

/// The timestamp of the record at an offset.
pub(crate) fn timestamp(offset: i64) -> i64 {
    1_000_000 + offset * 10
}

/// A WAL file that is written block by block.
pub(crate) struct TestWal {
    pub(crate) file: Arc<WalFileRef>,
    writer: Box<dyn WalFile>,
    pub(crate) position: u64,
    sequence: u64,
}

impl TestWal {
    pub(crate) async fn create(fs: &Arc<dyn WalFs>, id: u64) -> Self {
        let nonce = 1000 + id;
        let head = FileHead::new(id, nonce, 0, 4096).encode();
        let mut writer = fs.create(&FileName::log(id), 4096, head, &AtOnce).await.unwrap();
        writer.sync_data().await.unwrap();
        let file = Arc::new(WalFileRef::new(id, nonce, writer.reader().unwrap()));
        Self { file, writer, position: 4096, sequence: id << 32 }
    }

    /// Writes and syncs a block with these runs; returns the event of it.
    pub(crate) async fn block(&mut self, runs: &[(PartitionKey, Bytes)]) -> WalEvent {
        let mut directory = Directory::default();
        let mut payload = Vec::new();
        for (key, records) in runs {
            let headers: Vec<BatchHeader> =
                batch_refs(records).map(|batch| *batch.unwrap().header()).collect();
            directory.runs.push(RunEntry {
                key: *key,
                leader_epoch: headers[0].partition_leader_epoch,
                base_offset: headers[0].base_offset,
                last_offset: headers.last().unwrap().last_offset(),
                position: payload.len() as u32,
                len: records.len() as u32,
                batches: headers.iter().map(BatchEntry::of).collect(),
            });
            payload.extend_from_slice(records);
        }
        let encoded = directory.encode();
        let header = BlockHeader {
            directory_len: encoded.len() as u32,
            directory_crc: crc32c::crc32c(&encoded),
            payload_len: payload.len() as u32,
            ..BlockHeader::marker(self.file.nonce, self.sequence, self.position, false)
        };
        self.write(&BlockHeader { commit: false, ..header }, &encoded, &payload).await
    }

    /// Writes the block that ends the file.
    pub(crate) async fn seal(&mut self) -> WalEvent {
        let header = BlockHeader::marker(self.file.nonce, self.sequence, self.position, true);
        self.write(&header, &[], &[]).await;
        WalEvent::Sealed { file: Arc::clone(&self.file), end: self.position }
    }

    async fn write(&mut self, header: &BlockHeader, directory: &[u8], payload: &[u8]) -> WalEvent {
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(directory);
        bytes.extend_from_slice(payload);
        bytes.resize(usize::try_from(header.total_len()).unwrap(), 0);
        let from = self.position;
        self.writer.set_len(from + bytes.len() as u64).await.unwrap();
        self.position += bytes.len() as u64;
        self.sequence += 1;
        self.writer.write_at(from, &[bytes.into()]).await.unwrap();
        self.writer.sync_data().await.unwrap();
        let file = Arc::clone(&self.file);
        WalEvent::Synced { file, from, to: self.position, object_class: false }
    }
}

/// The same event, of the object class.
pub(crate) fn of_object_class(event: WalEvent) -> WalEvent {
    match event {
        WalEvent::Synced { file, from, to, .. } => {
            WalEvent::Synced { file, from, to, object_class: true }
        }
        sealed @ WalEvent::Sealed { .. } => sealed,
    }
}

/// A partition that remembers what it appended and checks what it is told.
#[derive(Debug)]
pub(crate) struct TestPartition {
    key: PartitionKey,
    state: Mutex<TestState>,
}

#[derive(Debug, Default)]
struct TestState {
    next_offset: i64,
    appended: Vec<Bytes>,
    extents: Vec<(Arc<ObjectRef>, Extent)>,
    rejected: Vec<Extent>,
    leader_epoch: i32,
    last_stable_offset: Option<i64>,
    cleaning: Option<CleaningPolicy>,
    aborted: Vec<AbortedRange>,
}

impl TestPartition {
    pub(crate) fn new(partition: i32) -> Arc<Self> {
        Arc::new(Self { key: key(partition), state: Mutex::default() })
    }

    /// A batch at the end of the log.
    pub(crate) fn append(&self, records: i32, value_bytes: usize) -> Bytes {
        self.push(|offset| batch(offset, records, value_bytes))
    }

    /// A batch of an idempotent producer at the end of the log.
    pub(crate) fn append_idempotent(&self, records: i32, producer_id: i64) -> Bytes {
        self.push(|offset| idempotent(offset, records, producer_id))
    }

    fn push(&self, make: impl Fn(i64) -> Bytes) -> Bytes {
        let mut state = self.state.lock().unwrap();
        let bytes = make(state.next_offset);
        state.next_offset = BatchHeader::parse(&bytes).unwrap().next_offset();
        state.appended.push(bytes.clone());
        bytes
    }

    pub(crate) fn next_offset(&self) -> i64 {
        self.state.lock().unwrap().next_offset
    }

    pub(crate) fn appended(&self) -> Vec<Bytes> {
        self.state.lock().unwrap().appended.clone()
    }

    pub(crate) fn committed_end(&self) -> i64 {
        self.state.lock().unwrap().extents.last().map_or(0, |(_, extent)| extent.end_offset)
    }

    pub(crate) fn rejected_extents(&self) -> Vec<Extent> {
        self.state.lock().unwrap().rejected.clone()
    }

    pub(crate) fn set_last_stable_offset(&self, offset: i64) {
        self.state.lock().unwrap().last_stable_offset = Some(offset);
    }

    pub(crate) fn set_extents(&self, extents: Vec<(Arc<ObjectRef>, Extent)>) {
        self.state.lock().unwrap().extents = extents;
    }

    pub(crate) fn set_cleaning(&self, policy: CleaningPolicy) {
        self.state.lock().unwrap().cleaning = Some(policy);
    }

    pub(crate) fn set_aborted(&self, aborted: Vec<AbortedRange>) {
        self.state.lock().unwrap().aborted = aborted;
    }

    pub(crate) fn aborted(&self) -> Vec<AbortedRange> {
        self.state.lock().unwrap().aborted.clone()
    }

    /// A batch made for its offset, at the end of the log.
    pub(crate) fn append_with(&self, make: impl Fn(i64) -> Bytes) -> Bytes {
        self.push(make)
    }

    pub(crate) fn set_leader_epoch(&self, epoch: i32) {
        self.state.lock().unwrap().leader_epoch = epoch;
    }

    /// Reads the whole committed log back and compares it with what was appended.
    pub(crate) async fn check(&self, reader: &ObjectReader) {
        let expected: Vec<u8> = self.appended().concat();
        let mut read = Vec::new();
        for (object, extent) in self.extents() {
            let mut offset = extent.base_offset;
            while offset < extent.end_offset {
                let cold = reader
                    .read(&object, &self.key, offset, extent.end_offset, 300_000, true)
                    .await
                    .unwrap();
                assert!(cold.next_offset > offset, "a read of {offset} gave nothing");
                read.extend(cold.records.concat());
                offset = cold.next_offset;
            }
        }
        assert!(read == expected, "{} bytes read, {} appended", read.len(), expected.len());
    }
}

impl ExtentTarget for TestPartition {
    fn key(&self) -> PartitionKey {
        self.key
    }

    fn committed(&self, object: &Arc<ObjectRef>, extent: &Extent) {
        let mut state = self.state.lock().unwrap();
        let end = state.extents.last().map_or(0, |(_, extent)| extent.end_offset);
        assert_eq!(extent.base_offset, end, "a gap or an overlap");
        state.extents.push((Arc::clone(object), *extent));
    }

    fn is_closed(&self) -> bool {
        !self.state.lock().unwrap().rejected.is_empty()
    }

    fn rejected(&self, extent: &Extent) {
        self.state.lock().unwrap().rejected.push(*extent);
    }

    fn replaced(&self, inputs: &[ObjectId], outputs: &[(Arc<ObjectRef>, Extent)]) {
        let mut state = self.state.lock().unwrap();
        state.extents.retain(|(object, _)| !inputs.contains(&object.id));
        state.extents.extend_from_slice(outputs);
        state.extents.sort_by_key(|(_, extent)| extent.base_offset);
    }

    fn extents(&self) -> Vec<(Arc<ObjectRef>, Extent)> {
        self.state.lock().unwrap().extents.clone()
    }

    fn log_start_offset(&self) -> i64 {
        0
    }

    fn last_stable_offset(&self) -> i64 {
        let state = self.state.lock().unwrap();
        state.last_stable_offset.unwrap_or(state.next_offset)
    }

    fn held_offset(&self, _: i64) -> i64 {
        i64::MAX
    }

    fn leader_epoch(&self) -> i32 {
        self.state.lock().unwrap().leader_epoch
    }

    fn cleaning(&self) -> Option<CleaningPolicy> {
        self.state.lock().unwrap().cleaning
    }

    fn aborted_transactions(&self, from_offset: i64, end_offset: i64) -> Vec<AbortedRange> {
        let state = self.state.lock().unwrap();
        let overlaps = |range: &&AbortedRange| {
            range.last_offset >= from_offset && range.first_offset < end_offset
        };
        state.aborted.iter().filter(overlaps).copied().collect()
    }

    fn knows_producer(&self, _: i64) -> bool {
        true
    }

    fn forget_aborted(&self, forgotten: &[AbortedRange]) {
        self.state.lock().unwrap().aborted.retain(|range| !forgotten.contains(range));
    }
}

/// A few partitions.
#[derive(Debug, Clone)]
pub(crate) struct TestPartitions(pub(crate) Vec<Arc<TestPartition>>);

impl Partitions for TestPartitions {
    fn target(&self, key: &PartitionKey) -> Option<Arc<dyn ExtentTarget>> {
        let found = self.0.iter().find(|partition| partition.key == *key)?;
        Some(Arc::clone(found) as Arc<dyn ExtentTarget>)
    }

    fn all(&self) -> Vec<Arc<dyn ExtentTarget>> {
        self.0.iter().map(|partition| Arc::clone(partition) as Arc<dyn ExtentTarget>).collect()
    }
}

/// Notes which files were released, and deletes them.
pub(crate) struct TestRelease {
    fs: Arc<dyn WalFs>,
    released: Mutex<Vec<u64>>,
}

#[async_trait]
impl WalRelease for TestRelease {
    async fn release(&self, file_id: u64) -> std::io::Result<()> {
        match self.fs.remove(&FileName::log(file_id)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => self.released.lock().unwrap().push(file_id),
        }
        Ok(())
    }
}

/// One broker's storage, without the broker.
pub(crate) struct World {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) fence: Fence,
    pub(crate) storage: Arc<ObjectStorage>,
    pub(crate) wal_fs: Arc<dyn WalFs>,
    pub(crate) wal_directory: Option<PathBuf>,
    pub(crate) release: Arc<TestRelease>,
    pub(crate) partitions: TestPartitions,
    pub(crate) in_use: ObjectsInUse,
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) spawner: Spawner,
}

impl World {
    /// With a store in memory that can be made to fail.
    pub(crate) async fn faulty(partitions: i32) -> (FaultyObjectStore, Self) {
        let clock: SharedClock = Arc::new(TokioClock::starting_at(1_700_000_000_000));
        let store =
            FaultyObjectStore::new(Arc::new(InMemory::new()), clock.clone(), Rng::seeded(3));
        let options = StorageOptions::default();
        let inner = Arc::new(store.clone());
        let storage = ObjectStorage::new(inner, options, clock.clone(), Rng::seeded(4));
        let wal_fs = Arc::new(SimWalFs::new(Rng::seeded(5)));
        (store, Self::new(storage, wal_fs, None, clock, partitions).await)
    }

    /// On real files, with the store beside the WAL.
    pub(crate) async fn local(directory: &Path, partitions: i32) -> Self {
        let url = format!("file://{}", directory.join("objects").display());
        Self::on_files(directory, &url, &BTreeMap::new(), true, partitions).await
    }

    /// With the WAL on real files and the store at `url`.
    pub(crate) async fn on_files(
        directory: &Path,
        url: &str,
        settings: &BTreeMap<String, String>,
        adopt: bool,
        partitions: i32,
    ) -> Self {
        let clock: SharedClock = Arc::new(TokioClock::starting_at(1_700_000_000_000));
        let (options, rng) = (StorageOptions::default(), Rng::seeded(1));
        let storage = ObjectStorage::open(url, settings, options, &spawner(), clock.clone(), rng)
            .await
            .unwrap();
        let wal_directory = directory.join("wal");
        std::fs::create_dir_all(&wal_directory).unwrap();
        let wal_fs = Arc::new(OsWalFs::open(&wal_directory).unwrap());
        Self::new(storage, wal_fs, adopt.then_some(wal_directory), clock, partitions).await
    }

    pub(crate) async fn new(
        storage: ObjectStorage,
        wal_fs: Arc<dyn WalFs>,
        wal_directory: Option<PathBuf>,
        clock: SharedClock,
        partitions: i32,
    ) -> Self {
        let metadata: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let fence = open_session(&metadata).await;
        let topic = NewTopic {
            id: TOPIC,
            name: "t".to_owned(),
            internal: false,
            configs: BTreeMap::new(),
            replication_factor: 1,
            created_ms: 0,
            partitions: vec![Vec::new(); usize::try_from(partitions).unwrap()],
        };
        metadata.create_topic(&fence, topic).await.unwrap();
        let release = Arc::new(TestRelease { fs: Arc::clone(&wal_fs), released: Mutex::default() });
        Self {
            metadata,
            fence,
            storage: Arc::new(storage),
            wal_fs,
            wal_directory,
            release,
            partitions: TestPartitions((0..partitions).map(TestPartition::new).collect()),
            in_use: ObjectsInUse::default(),
            clock,
            rng: Rng::seeded(6),
            spawner: spawner(),
        }
    }

    pub(crate) fn partition(&self, partition: usize) -> &Arc<TestPartition> {
        &self.partitions.0[partition]
    }

    /// A run of one new batch.
    pub(crate) fn run(
        &self,
        partition: usize,
        records: i32,
        bytes: usize,
    ) -> (PartitionKey, Bytes) {
        let target = self.partition(partition);
        (target.key, target.append(records, bytes))
    }

    pub(crate) fn deps(&self) -> UploaderDeps {
        UploaderDeps {
            metadata: Arc::clone(&self.metadata),
            fence: self.fence,
            storage: Arc::clone(&self.storage),
            wal_fs: Arc::clone(&self.wal_fs),
            wal_directory: self.wal_directory.clone(),
            wal: Arc::clone(&self.release) as Arc<dyn WalRelease>,
            partitions: Arc::new(self.partitions.clone()),
            in_use: self.in_use.clone(),
            clock: Arc::clone(&self.clock),
            rng: self.rng.clone(),
            spawner: self.spawner.clone(),
        }
    }

    /// Starts an uploader.
    pub(crate) async fn uploader(&self) -> (UploaderHandle, mpsc::UnboundedSender<WalEvent>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let committed = self.metadata.committed_objects().await.unwrap();
        let options = UploaderOptions { key_prefix: "c".to_owned(), ..UploaderOptions::default() };
        (UploaderHandle::start(self.deps(), options, committed_ends(&committed), receiver), sender)
    }

    pub(crate) fn reader(&self) -> ObjectReader {
        let options = ReaderOptions::default();
        ObjectReader::new(Arc::clone(&self.storage), self.spawner.clone(), &options)
    }

    pub(crate) fn released(&self) -> Vec<u64> {
        self.release.released.lock().unwrap().clone()
    }

    /// What a new process does first: a new session, new epochs, extents from metadata.
    pub(crate) async fn restart(&mut self) {
        self.fence = open_session(&self.metadata).await;
        let epochs = self.metadata.acquire_partitions(&self.fence).await.unwrap();
        let rows = self.metadata.committed_objects().await.unwrap();
        for partition in &self.partitions.0 {
            let mut extents: Vec<_> = rows
                .iter()
                .flat_map(|row| {
                    let object = Arc::new(ObjectRef::from_row(row));
                    row.extents.iter().map(move |extent| (Arc::clone(&object), *extent))
                })
                .filter(|(_, extent)| extent.key == partition.key)
                .collect();
            extents.sort_by_key(|(_, extent)| extent.base_offset);
            partition.set_extents(extents);
            let epoch = epochs.iter().find(|(key, _)| *key == partition.key).unwrap().1;
            partition.set_leader_epoch(epoch.0);
        }
        self.in_use = ObjectsInUse::default();
    }

    /// The whole committed log of every partition is what was appended.
    pub(crate) async fn check(&self) {
        let reader = self.reader();
        for partition in &self.partitions.0 {
            assert_eq!(partition.committed_end(), partition.next_offset());
            partition.check(&reader).await;
        }
    }
}

async fn open_session(metadata: &Arc<dyn MetadataStore>) -> Fence {
    let request = OpenSession { node_id: Some(NodeId(1)), cluster_id_if_new: "c".to_owned() };
    metadata.open_session(request).await.unwrap().fence
}

/// Per WAL file, the end of the last committed range.
fn committed_ends(committed: &[ObjectRow]) -> BTreeMap<u64, u64> {
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    for origin in committed.iter().filter_map(|row| row.origin) {
        let end = ends.entry(origin.file_id).or_default();
        *end = (*end).max(origin.to);
    }
    ends
}

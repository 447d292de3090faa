//! A machine with a disk, an object store and a metadata store, on which logs are opened and
//! crashed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use common::{
    PartitionKey, TopicId,
    clock::TokioClock,
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use futures::StreamExt;
use metadata::{Image, MemoryStore, MetadataStore, NewTopic, OpenSession, Topic};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
use protocol::records::{
    BatchBuilder, Compression, CompressionPolicy, DecompressLimit, Header, TimestampType,
    batch_refs, validate_produce,
};
use streamhouse_storage::{
    Acks, AppendError, Appended, CleanupPolicy, Durability, IsolationLevel, Log, LogConfig,
    LogDeps, Partition, ReadRequest, TopicLogConfig, compaction,
    object_store::{ObjectStorage, StorageOptions, faulty::FaultyObjectStore},
    wal::sim_fs::SimWalFs,
};

pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// What survives a broker.
pub(crate) struct Machine {
    pub(crate) disk: SimWalFs,
    pub(crate) store: FaultyObjectStore,
    pub(crate) metadata: Arc<MemoryStore>,
    pub(crate) rng: Rng,
    pub(crate) config: LogConfig,
    pub(crate) topic_config: TopicLogConfig,
    pub(crate) topic: Option<Topic>,
}

/// A broker's log on a machine.
pub(crate) struct Broker {
    pub(crate) log: Arc<Log>,
    pub(crate) fatal: Arc<AtomicBool>,
    pub(crate) topic_id: TopicId,
}

pub(crate) fn topic_config() -> TopicLogConfig {
    TopicLogConfig {
        max_message_bytes: 20 << 20,
        compression: CompressionPolicy::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        retention_ms: None,
        retention_bytes: None,
        cleanup_policy: CleanupPolicy { delete: true, compact: false },
        cleaning: compaction::CleaningPolicy::default(),
        segment_ms: i64::MAX,
        segment_bytes: u64::MAX,
        durability: Durability::Local,
    }
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        Self {
            disk: SimWalFs::new(rng.clone()),
            store: FaultyObjectStore::new(
                Arc::new(InMemory::new()),
                Arc::new(TokioClock::starting_at(START_MS)),
                rng.clone(),
            ),
            metadata: Arc::new(MemoryStore::new()),
            rng,
            config: LogConfig { wal_file_bytes: 1 << 20, ..LogConfig::default() },
            topic_config: topic_config(),
            topic: None,
        }
    }

    /// Starts a broker with one topic `t` of `partitions`, created at the first start.
    pub(crate) async fn start(&mut self, partitions: usize) -> Broker {
        self.try_start(partitions).await.expect("the log opens")
    }

    pub(crate) async fn try_start(
        &mut self,
        partitions: usize,
    ) -> Result<Broker, streamhouse_storage::Error> {
        let fatal = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&fatal);
        let spawner = Spawner::tasks(Fatal::new(move |_| flag.store(true, Ordering::SeqCst)));
        let request = OpenSession { node_id: None, cluster_id_if_new: "x".repeat(22) };
        let session = self.metadata.open_session(request).await.unwrap();
        if self.topic.is_none() {
            let new = NewTopic {
                id: TopicId(self.rng.uuid()),
                name: "t".to_owned(),
                internal: false,
                configs: std::collections::BTreeMap::new(),
                replication_factor: 1,
                created_ms: START_MS,
                partitions: vec![vec![1]; partitions],
            };
            self.topic = Some(self.metadata.create_topic(&session.fence, new).await.unwrap());
        }
        self.metadata.acquire_partitions(&session.fence).await.unwrap();
        let image: Image = self.metadata.load().await.unwrap();
        let clock = Arc::new(TokioClock::starting_at(START_MS));
        let objects = ObjectStorage::new(
            Arc::new(self.store.clone()) as Arc<dyn ObjectStore>,
            StorageOptions::default(),
            Arc::clone(&clock) as _,
            self.rng.clone(),
        );
        let deps = LogDeps {
            metadata: Arc::clone(&self.metadata) as _,
            fence: session.fence,
            wal_fs: Arc::new(self.disk.clone()),
            wal_directory: None,
            objects: Arc::new(objects),
            clock,
            rng: self.rng.clone(),
            spawner,
            config: self.config.clone(),
        };
        let config = Arc::new(self.topic_config.clone());
        let log = Log::open(deps, &image, |_| Arc::clone(&config)).await?;
        let topic_id = self.topic.as_ref().unwrap().id;
        Ok(Broker { log, fatal, topic_id })
    }

    /// Removes the objects whose keys contain `part`.
    pub(crate) async fn delete_objects(&self, part: &str) {
        let found: Vec<_> = self.store.list(None).map(|found| found.unwrap()).collect().await;
        let paths = found.into_iter().map(|found| found.location);
        for path in paths.filter(|path| path.as_ref().contains(part)) {
            self.store.delete(&path).await.unwrap();
        }
    }

    /// The process is gone; the disk keeps what was written.
    pub(crate) fn kill(&mut self, broker: Broker) {
        self.disk = self.disk.restart_process();
        drop(broker);
    }

    /// The power is gone: what was not synced may be lost.
    pub(crate) fn power_loss(&mut self, broker: Broker) {
        self.disk.power_off();
        self.disk = self.disk.restart_machine();
        drop(broker);
    }
}

impl Broker {
    pub(crate) async fn configure(&self, config: &TopicLogConfig) {
        self.log.configure(self.topic_id, &Arc::new(config.clone())).await.unwrap();
    }

    pub(crate) fn partition(&self, partition: i32) -> Arc<Partition> {
        let key = PartitionKey { topic_id: self.topic_id, partition };
        self.log.partition(&key).expect("the partition is open")
    }
}

/// A batch of one record per value, from an idempotent producer where one is given.
pub(crate) fn batch(producer: Option<(i64, i16, i32)>, timestamp: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(id, epoch, sequence);
    }
    for (delta, value) in values.iter().enumerate() {
        let delta = i32::try_from(delta).unwrap();
        let headers: &[Header<'_>] = &[];
        let at = timestamp + i64::from(delta);
        builder.append(delta, at, None, Some(value.as_bytes()), headers).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn append(
    partition: &Partition,
    acks: Acks,
    batch: &Bytes,
) -> Result<Appended, AppendError> {
    let policy = partition.config().produce_policy(11, 64 << 20);
    partition.append(validate_produce(batch, &policy, START_MS).unwrap(), acks)
}

/// Appends and waits for the acknowledgement; the base offset.
pub(crate) async fn produce(partition: &Partition, batch: &Bytes) -> Result<i64, AppendError> {
    let appended = append(partition, Acks::All, batch)?;
    appended.ticket.wait().await?;
    Ok(appended.base_offset)
}

/// Everything from `offset` on, as (offset, value), `max_bytes` at a time.
pub(crate) async fn read_all(
    partition: &Partition,
    mut offset: i64,
    max_bytes: usize,
) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    loop {
        let request = ReadRequest {
            offset,
            max_bytes,
            min_one_batch: true,
            isolation: IsolationLevel::ReadUncommitted,
        };
        let read = partition.read(request).await.expect("the read succeeds");
        if read.records.is_empty() {
            return found;
        }
        for batch in read.records.chunks().flat_map(|chunk| batch_refs(chunk)) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            let header = *batch.header();
            let plain = batch.decompressed(DecompressLimit { max_bytes: 64 << 20 }).unwrap();
            for record in plain.iter() {
                let record = record.unwrap();
                let at = header.base_offset + i64::from(record.offset_delta);
                if at >= offset {
                    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                    found.push((at, value));
                }
            }
            offset = offset.max(header.next_offset());
        }
    }
}

/// `count` numbered values from `first` on, with the offsets they should have.
pub(crate) fn numbered(first: i64, count: i64) -> Vec<(i64, String)> {
    (first..first + count).map(|n| (n, value(n))).collect()
}

pub(crate) fn value(n: i64) -> String {
    format!("value-{n}-{}", "x".repeat(100))
}

/// Produces `count` single-record batches whose values follow their offsets.
pub(crate) async fn produce_numbered(partition: &Partition, count: i64) {
    let first = partition.offsets().log_end;
    for n in first..first + count {
        let offset = produce(partition, &batch(None, START_MS + n, &[&value(n)])).await.unwrap();
        assert_eq!(offset, n);
    }
}

pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

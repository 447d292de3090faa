//! A model partition, a sink that keeps what it gets, and a log to test with.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    PartitionKey, TopicId,
    clock::TokioClock,
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use protocol::records::{BatchBuilder, BatchHeader, Compression, batch_refs};
use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

use super::super::*;

pub(super) type Logs = BTreeMap<PartitionKey, BTreeMap<i64, Bytes>>;

pub(super) fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TopicId(Uuid::from_u128(7)), partition }
}

/// One batch of `records` records; the first value starts with `tag`.
pub(super) fn batch(tag: u64, records: usize, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for index in 0..records {
        let mut value = (tag + index as u64).to_be_bytes().to_vec();
        value.resize(value_bytes.max(8), (tag % 251) as u8);
        builder.append(index as i32, 1_000 + index as i64, None, Some(&value), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// A partition that hands out offsets and checks what the log tells it.
pub(super) struct Partition {
    key: PartitionKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_offset: i64,
    synced_offset: i64,
    runs: Vec<Run>,
    rollbacks: u64,
}

impl Partition {
    pub(super) fn new(partition: i32, next_offset: i64) -> Arc<Self> {
        let state = State { next_offset, synced_offset: next_offset, ..State::default() };
        Arc::new(Self { key: key(partition), state: Mutex::new(state) })
    }

    /// Enqueues batches under the partition's lock, as the real one does. Gives the first offset, and
    /// what the last batch waits on.
    pub(super) fn append(
        self: &Arc<Self>,
        wal: &WalHandle,
        batches: &[Bytes],
    ) -> Result<(i64, CompletionWaiter), WalError> {
        self.append_at(wal, batches, None)
    }

    /// The same with a LogAppendTime.
    pub(super) fn append_at(
        self: &Arc<Self>,
        wal: &WalHandle,
        batches: &[Bytes],
        log_append_time: Option<i64>,
    ) -> Result<(i64, CompletionWaiter), WalError> {
        let mut state = self.state.lock().unwrap();
        let first_offset = state.next_offset;
        let mut last = None;
        for records in batches {
            let header = BatchHeader::parse(records).unwrap();
            let (completion, waiter) = Completion::pair();
            wal.enqueue(WalAppend {
                target: Arc::clone(self) as Arc<dyn AppendTarget>,
                leader_epoch: 3,
                base_offset: state.next_offset,
                records: records.clone(),
                header,
                log_append_time,
                object_class: false,
                completion: Some(completion),
            })?;
            state.next_offset += i64::from(header.records_count);
            last = Some(waiter);
        }
        Ok((first_offset, last.expect("at least one batch")))
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        self.state.lock().unwrap().runs.clone()
    }

    pub(super) fn next_offset(&self) -> i64 {
        self.state.lock().unwrap().next_offset
    }

    pub(super) fn rollbacks(&self) -> u64 {
        self.state.lock().unwrap().rollbacks
    }
}

impl AppendTarget for Partition {
    fn key(&self) -> PartitionKey {
        self.key
    }

    fn topic_name(&self) -> String {
        "flights".to_owned()
    }

    fn synced(&self, runs: Vec<Run>) {
        let mut state = self.state.lock().unwrap();
        for run in runs {
            assert_eq!(run.base_offset, state.synced_offset, "synced in order, without a gap");
            let data = run.data.clone().unwrap();
            assert_eq!(run.file.read_at(run.position, run.len as usize).unwrap(), data);
            state.synced_offset = run.last_offset + 1;
            state.runs.push(run);
        }
        assert!(state.synced_offset <= state.next_offset);
    }

    fn rolled_back(&self) {
        let mut state = self.state.lock().unwrap();
        state.next_offset = state.synced_offset;
        state.rollbacks += 1;
    }
}

/// Keeps every recovered batch by its offset, checking order.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) logs: Logs,
    pub(super) blocks: Vec<(u64, u64, u64)>,
    /// Undamaged files, to repair from.
    pub(super) copies: BTreeMap<u64, Bytes>,
    pub(super) released: bool,
}

impl Kept {
    pub(super) fn next_offset(&self, partition: i32) -> i64 {
        let log = self.logs.get(&key(partition));
        log.and_then(|log| log.last_key_value()).map_or(0, |(offset, batch)| {
            let batch = batch_refs(batch).next().unwrap().unwrap();
            offset + i64::from(batch.header().last_offset_delta) + 1
        })
    }
}

#[async_trait]
impl RecoverySink for Kept {
    async fn block(
        &mut self,
        file: &Arc<WalFileRef>,
        block: RecoveredBlock,
    ) -> Result<(), RecoverError> {
        self.blocks.push((file.id, block.position, block.end));
        for RecoveredRun { key, run, batches } in block.runs {
            let log = self.logs.entry(key).or_default();
            let mut rest = run.data.clone().unwrap();
            for header in batches {
                let bytes = rest.split_to(header.total_len());
                assert_eq!(header.partition_leader_epoch, run.leader_epoch);
                if let Some((last, before)) = log.last_key_value() {
                    let before = batch_refs(before).next().unwrap().unwrap();
                    let next = last + i64::from(before.header().last_offset_delta) + 1;
                    assert_eq!(header.base_offset, next, "no gap and no repetition in {key}");
                }
                assert!(log.insert(header.base_offset, bytes).is_none());
            }
            assert!(rest.is_empty());
        }
        Ok(())
    }

    async fn repair(&mut self, file_id: u64, from: u64, to: u64) -> Option<Bytes> {
        let copy = self.copies.get(&file_id)?;
        (to <= copy.len() as u64).then(|| copy.slice(from as usize..to as usize))
    }

    async fn released(&mut self, _missing: std::ops::Range<u64>) -> bool {
        self.released
    }
}

/// A running log on a simulated disk.
pub(super) struct Log {
    pub(super) fs: SimWalFs,
    pub(super) wal: WalHandle,
    pub(super) events: UnboundedReceiver<WalEvent>,
    pub(super) fatal: Arc<AtomicU64>,
    pub(super) kept: Kept,
}

pub(super) fn small() -> WalOptions {
    WalOptions {
        file_bytes: 64 << 10,
        first_file_bytes: 32 << 10,
        max_bytes: 1 << 20,
        block_bytes: 8 << 10,
        queue_bytes: 64 << 10,
        ..WalOptions::default()
    }
}

impl Log {
    pub(super) async fn start(fs: SimWalFs, rng: Rng, options: WalOptions) -> Self {
        let mut kept = Kept::default();
        let recovered = recover(Arc::new(fs.clone()), 0, &mut kept).await.unwrap();
        Self::go_on(fs, rng, options, recovered, kept).await
    }

    pub(super) async fn go_on(
        fs: SimWalFs,
        rng: Rng,
        options: WalOptions,
        recovered: Recovered,
        kept: Kept,
    ) -> Self {
        let fatal = Arc::new(AtomicU64::new(0));
        let (stops, disk) = (Arc::clone(&fatal), fs.clone());
        let hook = Fatal::new(move |_| {
            stops.fetch_add(1, Ordering::SeqCst);
            disk.power_off();
        });
        let deps = WalDeps {
            fs: Arc::new(fs.clone()),
            clock: Arc::new(TokioClock::starting_at(1_700_000_000_000)),
            rng,
            spawner: Spawner::tasks(hook),
        };
        let (wal, events) = start(deps, options, recovered).await.unwrap();
        Self { fs, wal, events, fatal, kept }
    }

    /// A fresh log with small files, from a seed.
    pub(super) async fn fresh(seed: u64) -> Self {
        Self::with(seed, small()).await
    }

    pub(super) async fn with(seed: u64, options: WalOptions) -> Self {
        let rng = Rng::seeded(seed);
        Self::start(SimWalFs::new(rng.clone()), rng, options).await
    }

    /// All events so far.
    pub(super) fn events(&mut self) -> Vec<WalEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

/// What recovery finds on a disk.
pub(super) async fn recovered(fs: &SimWalFs) -> Result<(Recovered, Kept), RecoverError> {
    let mut kept = Kept::default();
    let recovered = recover(Arc::new(fs.clone()), 0, &mut kept).await?;
    Ok((recovered, kept))
}

/// Lets everything that is ready run, and simulated time pass.
pub(super) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

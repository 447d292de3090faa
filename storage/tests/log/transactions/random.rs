//! Random histories against a model, of topics with `cleanup.policy` delete and of compacted ones.

use bytes::Bytes;
use common::{ProducerId, rng::Rng};
use protocol::records::{BatchBuilder, Compression};
use streamhouse_storage::{
    Acks, AppendError, Appended, CleanupPolicy, Durability, Partition, compaction::CleaningPolicy,
    wal::sim_fs::Faults,
};

use super::{
    append_guarded, end,
    model::{Kind, Model, is_tombstone, key_of, tombstone_of},
    read_committed,
};
use crate::harness::*;

const PRODUCERS: i64 = 4;
/// Keys of a compacted topic.
const KEYS: u64 = 6;

struct World {
    seed: u64,
    rng: Rng,
    machine: Machine,
    broker: Option<Broker>,
    model: Model,
    pending: Vec<Appended>,
    /// Whether all that the log ever held is in objects or the WAL: then no snapshot is needed.
    complete: bool,
    last_stable: i64,
    /// Whether the topic is compacted, and how many records compaction has removed as far as was seen.
    compacted: bool,
    removed: usize,
}

/// A batch whose records' keys are what their values begin with.
fn keyed(producer: Option<(i64, i16, i32)>, transactional: bool, values: &[String]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).transactional(transactional);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(id, epoch, sequence);
    }
    for (delta, value) in (0..).zip(values) {
        let bytes = (!is_tombstone(value)).then_some(value.as_bytes());
        builder.append(delta, START_MS, Some(key_of(value).as_bytes()), bytes, &[]).unwrap();
    }
    builder.build().unwrap()
}

impl World {
    async fn new(seed: u64, compacted: bool) -> Self {
        let mut machine = Machine::new(seed);
        if compacted {
            machine.topic_config.cleanup_policy = CleanupPolicy { delete: false, compact: true };
            machine.topic_config.cleaning = CleaningPolicy {
                min_dirty_ratio: 0.1,
                delete_retention_ms: 120_000,
                min_lag_ms: 0,
                max_lag_ms: i64::MAX,
            };
            machine.topic_config.segment_bytes = 8 << 10;
            machine.config.live.cleaner_backoff = std::time::Duration::from_secs(5);
            // Maps that are full at once, and outputs of few inputs.
            if seed % 4 < 2 {
                machine.config.live.cleaner_buffer_bytes = 24 * 5;
                machine.config.compaction.bytes_max = 4 << 10;
            }
        }
        machine.config.wal_file_bytes = 1 << 16;
        machine.config.tail_bytes = 8 << 10;
        machine.config.compaction.extents_min = 2;
        if seed % 4 < 2 {
            machine.config.compaction.extents_pinned_max = 2;
        }
        if seed.is_multiple_of(3) {
            machine.topic_config.durability = Durability::Object;
        }
        let broker = Some(machine.start(1).await);
        Self {
            seed,
            rng: Rng::seeded(seed ^ 0xabcd),
            machine,
            broker,
            model: Model::default(),
            pending: Vec::new(),
            // What the cleaner has forgotten is in snapshots only.
            complete: !compacted,
            last_stable: 0,
            compacted,
            removed: 0,
        }
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    fn partition(&self) -> std::sync::Arc<Partition> {
        self.broker().partition(0)
    }

    fn values(&mut self) -> Vec<String> {
        let count = 1 + self.rng.below(3);
        let len = usize::try_from(1 + self.rng.below(600)).unwrap();
        let first = self.model.records;
        self.model.records += count;
        let value = |n| {
            let key = format!("key{}", self.rng.below(KEYS));
            let gone = self.compacted && self.rng.below(8) == 0;
            if gone { tombstone_of(&key) } else { format!("{key}-{n}-{}", "x".repeat(len)) }
        };
        (first..first + count).map(value).collect()
    }

    fn took(
        &mut self,
        result: Result<Appended, AppendError>,
        producer: (i64, i16, i32),
        kind: Kind,
    ) {
        match result {
            Ok(appended) => {
                self.model.push(&appended, producer, kind);
                self.pending.push(appended);
            }
            // The writer is still taking back what failed.
            Err(AppendError::Wal(_)) => {}
            Err(refused) => panic!("seed {}: {producer:?} {kind:?}: {refused}", self.seed),
        }
    }

    fn append(&mut self) {
        let partition = self.partition();
        let producer = i64::try_from(self.rng.below(PRODUCERS as u64 + 1)).unwrap();
        let (epoch, sequence, open) = self.model.producer(producer);
        let transactional = producer > 0 && (open.is_some() || self.rng.below(3) > 0);
        let values = self.values();
        let key = (producer, epoch, sequence);
        let batch = keyed((producer > 0).then_some(key), transactional, &values);
        let guard = match transactional {
            true => partition.begin_verification(ProducerId(producer), epoch, sequence, true),
            false => Ok(None),
        };
        let result = guard.and_then(|guard| append_guarded(&partition, &batch, guard));
        self.took(result, key, Kind::Data { transactional, values });
    }

    fn mark(&mut self) {
        let producer = i64::try_from(1 + self.rng.below(PRODUCERS as u64)).unwrap();
        let (epoch, _, open) = self.model.producer(producer);
        // Sometimes a marker for nothing; the last producer's transactions hang, except where nothing
        // would be cleaned behind them.
        if open.is_none() && self.rng.below(8) > 0 {
            return;
        }
        if producer == PRODUCERS && !self.compacted && self.rng.below(8) > 0 {
            return;
        }
        let commit = self.rng.below(2) == 0;
        let result = self.partition().append_marker(end(producer, epoch + 1, commit), Acks::All);
        self.took(result, (producer, epoch + 1, -1), Kind::Marker { commit });
    }

    /// Waits for what is pending; what failed was taken back.
    async fn settle(&mut self) {
        for appended in std::mem::take(&mut self.pending) {
            let last_offset = appended.last_offset;
            if appended.ticket.wait().await.is_ok() {
                self.model.acked_end = self.model.acked_end.max(last_offset + 1);
            }
        }
        let log_end = self.partition().offsets().log_end;
        self.model.cut(log_end, &format!("seed {}", self.seed));
    }

    async fn fail_a_write(&mut self) {
        self.settle().await;
        self.machine.disk.set_faults(Faults { fail_write_after: Some(0), ..Faults::default() });
        for _ in 0..1 + self.rng.below(6) {
            if self.rng.below(3) == 0 { self.mark() } else { self.append() }
        }
        self.settle().await;
        self.machine.disk.set_faults(Faults::default());
        pause(5_000).await;
    }

    async fn restart(&mut self) {
        let broker = self.broker.take().unwrap();
        match self.rng.below(3) {
            0 => {
                self.broker = Some(broker);
                self.settle().await;
                let broker = self.broker.take().unwrap();
                broker.log.shutdown().await;
                self.machine.kill(broker);
            }
            1 => self.machine.kill(broker),
            _ => self.machine.power_loss(broker),
        }
        self.pending.clear();
        if self.complete && self.rng.below(3) == 0 {
            // The next start has nothing but footers and the WAL.
            self.machine.delete_objects("/producers/").await;
        }
        self.broker = Some(self.machine.start(1).await);
        let log_end = self.partition().offsets().log_end;
        self.model.cut(log_end, &format!("seed {} restarted", self.seed));
        self.last_stable = 0;
    }

    async fn delete_records(&mut self) {
        let partition = self.partition();
        let offsets = partition.offsets();
        let span = u64::try_from(offsets.high_watermark - offsets.log_start).unwrap();
        let to = offsets.log_start + i64::try_from(self.rng.below(span / 2 + 1)).unwrap();
        self.model.log_start = partition.delete_records(to).await.unwrap();
        self.broker().log.enforce_retention().await;
        self.complete = false;
    }

    async fn check(&mut self) {
        let (partition, seed) = (self.partition(), self.seed);
        let offsets = partition.offsets();
        let in_order = offsets.log_start <= offsets.last_stable
            && offsets.last_stable <= offsets.high_watermark
            && offsets.high_watermark <= offsets.log_end;
        assert!(in_order, "seed {seed}: {offsets:?} (LOG-4)");
        assert!(offsets.last_stable >= self.last_stable, "seed {seed}: {offsets:?} (LOG-4)");
        self.last_stable = offsets.last_stable;
        let expected = self.model.last_stable(offsets.high_watermark);
        assert_eq!(offsets.last_stable, expected, "seed {seed}: {offsets:?}");
        let span = u64::try_from(offsets.last_stable - offsets.log_start).unwrap();
        let mut offset = offsets.log_start;
        if self.rng.below(2) == 0 {
            offset += i64::try_from(self.rng.below(span + 1)).unwrap();
        }
        let max_bytes = usize::try_from(1 + self.rng.below(20_000)).unwrap();
        loop {
            let read = read_committed(&partition, offset, max_bytes).await;
            assert_eq!(
                read.last_stable_offset,
                self.model.last_stable(read.high_watermark),
                "seed {seed}"
            );
            if read.next_offset == offset {
                assert!(
                    offset >= read.last_stable_offset && read.aborted.is_empty(),
                    "seed {seed}"
                );
                break;
            }
            assert!(read.next_offset <= read.last_stable_offset, "seed {seed} (TXN-2)");
            let expected = self.model.committed(offset, read.next_offset);
            let offsets = |records: &[(i64, String)]| -> Vec<_> {
                records.iter().map(|(offset, _)| *offset).collect()
            };
            let context = || {
                let known = partition.aborted_transactions(0, i64::MAX);
                let transactions = self.model.transactions();
                format!("seed {seed}, {offset}..{}: {known:?} {transactions:?}", read.next_offset)
            };
            if self.compacted {
                let is_known = read.records.iter().all(|record| expected.contains(record));
                assert!(is_known, "{}: {:?} (TXN-2, LOG-6)", context(), offsets(&read.records));
                let newest = self.model.newest(read.last_stable_offset);
                let range = offset..read.next_offset;
                for newest in newest.into_iter().filter(|newest| range.contains(newest)) {
                    let found = offsets(&read.records).contains(&newest);
                    assert!(found, "{}: the last record of its key at {newest} is gone", context());
                }
                self.removed += expected.len() - read.records.len();
                offset = read.next_offset;
                continue;
            }
            assert_eq!(offsets(&read.records), offsets(&expected), "{} (TXN-1, TXN-2)", context());
            assert!(read.records == expected, "{} (LOG-6)", context());
            let expected = self.model.aborted(offset, read.next_offset);
            assert_eq!(read.aborted, expected, "{}", context());
            offset = read.next_offset;
        }
    }

    /// Open transactions as DescribeProducers shows them, once all is durable.
    fn check_producers(&self) {
        let producers = self.partition().producers();
        for producer in 1..=PRODUCERS {
            let (epoch, next, open) = self.model.producer(producer);
            let found = producers.iter().find(|found| found.producer_id == ProducerId(producer));
            let Some(found) = found else {
                assert_eq!((epoch, next, open), (0, 0, None), "seed {}: {producer}", self.seed);
                continue;
            };
            let last = found.batches.last().map_or(-1, |batch| batch.last_sequence);
            let known = (found.producer_epoch, last + 1, found.txn_first_offset);
            assert_eq!(known, (epoch, next, open), "seed {}: {producer}", self.seed);
        }
    }
}

/// One history; how many records compaction has removed, as often as that was seen.
async fn run(seed: u64, compacted: bool) -> usize {
    let mut world = World::new(seed, compacted).await;
    let deletes = seed.is_multiple_of(2);
    for _ in 0..60 {
        match world.rng.below(40) {
            0..=17 => world.append(),
            18..=25 => world.mark(),
            26..=29 => {
                world.settle().await;
                world.check_producers();
            }
            30..=32 => pause(if world.compacted { 10_000 } else { 300 }).await,
            33 => world.fail_a_write().await,
            34..=35 => world.restart().await,
            36..=37 => {
                pause(60_000).await;
                world.settle().await;
            }
            38 if deletes => {
                world.settle().await;
                world.delete_records().await;
            }
            _ => {
                // Old files become objects.
                pause(700_000).await;
                world.settle().await;
            }
        }
        world.check().await;
    }
    world.settle().await;
    world.restart().await;
    world.check().await;
    world.check_producers();
    world.removed
}

#[tokio::test(start_paused = true)]
async fn random_histories_agree_with_the_model() {
    for seed in 0..12 {
        run(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn more_random_histories_agree_with_the_model() {
    for seed in 1_000..1_012 {
        run(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn random_histories_of_a_compacted_topic_agree_with_the_model() {
    let mut removed = 0;
    for seed in 0..10 {
        removed += run(seed, true).await;
    }
    assert!(removed > 200, "only {removed} records were compacted away");
}

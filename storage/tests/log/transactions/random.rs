//! Random histories. The model is the list of what was appended, cut where the log was cut; what a
//! reader may see is worked out from it anew each time.

use std::collections::BTreeMap;

use common::{ProducerId, rng::Rng};
use streamhouse_storage::{
    Acks, AppendError, Appended, Durability, Partition, wal::sim_fs::Faults,
};

use super::{append_verified, end, read_committed};
use crate::harness::*;

const PRODUCERS: i64 = 4;

#[derive(Debug, Clone)]
enum Kind {
    Data { transactional: bool, values: Vec<String> },
    Marker { commit: bool },
}

#[derive(Debug, Clone)]
struct Entry {
    /// 0 for none.
    producer: i64,
    epoch: i16,
    base: i64,
    last: i64,
    last_sequence: i32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Txn {
    producer: i64,
    first: i64,
    /// The marker and whether it commits; `None` while open.
    end: Option<(i64, bool)>,
}

#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    log_end: i64,
    log_start: i64,
    acked_end: i64,
    records: u64,
}

impl Model {
    fn push(&mut self, appended: &Appended, producer: (i64, i16, i32), kind: Kind) {
        assert_eq!(appended.base_offset, self.log_end);
        let count = i32::try_from(appended.last_offset - appended.base_offset).unwrap();
        self.entries.push(Entry {
            producer: producer.0,
            epoch: producer.1,
            base: appended.base_offset,
            last: appended.last_offset,
            last_sequence: producer.2 + count,
            kind,
        });
        self.log_end = appended.last_offset + 1;
    }

    fn cut(&mut self, log_end: i64, context: &str) {
        assert!(log_end >= self.acked_end, "{context}: {log_end} below {}", self.acked_end);
        assert!(log_end <= self.log_end, "{context}: {log_end} above {}", self.log_end);
        self.entries.retain(|entry| entry.last < log_end);
        self.log_end = log_end;
    }

    /// (epoch, next sequence, first offset of the open transaction)
    fn producer(&self, producer: i64) -> (i16, i32, Option<i64>) {
        let (mut epoch, mut next, mut open) = (0, 0, None);
        for entry in self.entries.iter().filter(|entry| entry.producer == producer) {
            if entry.epoch != epoch {
                (epoch, next) = (entry.epoch, 0);
            }
            match entry.kind {
                Kind::Data { transactional, .. } => {
                    next = entry.last_sequence + 1;
                    if transactional {
                        open.get_or_insert(entry.base);
                    }
                }
                Kind::Marker { .. } => open = None,
            }
        }
        (epoch, next, open)
    }

    fn transactions(&self) -> Vec<Txn> {
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        let mut found = Vec::new();
        for entry in &self.entries {
            match entry.kind {
                Kind::Data { transactional: true, .. } => {
                    open.entry(entry.producer).or_insert(entry.base);
                }
                Kind::Data { .. } => {}
                Kind::Marker { commit } => {
                    if let Some(first) = open.remove(&entry.producer) {
                        let end = Some((entry.base, commit));
                        found.push(Txn { producer: entry.producer, first, end });
                    }
                }
            }
        }
        found.extend(open.into_iter().map(|(producer, first)| Txn { producer, first, end: None }));
        found
    }

    fn last_stable(&self, high_watermark: i64) -> i64 {
        let undecided = |txn: &&Txn| txn.end.is_none_or(|(marker, _)| marker >= high_watermark);
        let first = self.transactions().iter().filter(undecided).map(|txn| txn.first).min();
        first.map_or(high_watermark, |first| first.max(self.log_start).min(high_watermark))
    }

    fn committed(&self, from: i64, to: i64) -> Vec<(i64, String)> {
        let transactions = self.transactions();
        let is_aborted = |entry: &Entry| {
            transactions.iter().any(|txn| {
                txn.producer == entry.producer
                    && txn.first <= entry.base
                    && txn.end.is_some_and(|(marker, commit)| marker > entry.base && !commit)
            })
        };
        let mut records = Vec::new();
        for entry in &self.entries {
            if let Kind::Data { transactional, values } = &entry.kind
                && !(*transactional && is_aborted(entry))
            {
                records.extend((entry.base..).zip(values.iter().cloned()));
            }
        }
        records.retain(|(offset, _)| (from..to).contains(offset));
        records
    }

    /// (producer, first offset), by marker.
    fn aborted(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let mut found: Vec<_> = self
            .transactions()
            .into_iter()
            .filter_map(|txn| Some((txn.end.filter(|(_, commit)| !commit)?.0, txn)))
            .filter(|(marker, txn)| *marker >= from && txn.first < to)
            .collect();
        found.sort_by_key(|(marker, _)| *marker);
        found.into_iter().map(|(_, txn)| (txn.producer, txn.first)).collect()
    }
}

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
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut machine = Machine::new(seed);
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
            complete: true,
            last_stable: 0,
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
        let value = |n| format!("{n}-{}", "x".repeat(len));
        let first = self.model.records;
        self.model.records += count;
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
        let refs: Vec<&str> = values.iter().map(String::as_str).collect();
        let key = (producer, epoch, sequence);
        let result = match (producer, transactional) {
            (0, _) => append(&partition, Acks::All, &batch(None, START_MS, &refs)),
            (_, false) => append(&partition, Acks::All, &batch(Some(key), START_MS, &refs)),
            (_, true) => append_verified(&partition, key, &refs),
        };
        self.took(result, key, Kind::Data { transactional, values });
    }

    fn mark(&mut self) {
        let producer = i64::try_from(1 + self.rng.below(PRODUCERS as u64)).unwrap();
        let (epoch, _, open) = self.model.producer(producer);
        // Sometimes a marker for nothing; the last producer's transactions hang.
        if open.is_none() && self.rng.below(8) > 0 {
            return;
        }
        if producer == PRODUCERS && self.rng.below(8) > 0 {
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

async fn run(seed: u64) {
    let mut world = World::new(seed).await;
    let deletes = seed.is_multiple_of(2);
    for _ in 0..60 {
        match world.rng.below(40) {
            0..=17 => world.append(),
            18..=25 => world.mark(),
            26..=29 => {
                world.settle().await;
                world.check_producers();
            }
            30..=32 => pause(300).await,
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
}

#[tokio::test(start_paused = true)]
async fn random_histories_agree_with_the_model() {
    for seed in 0..12 {
        run(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn more_random_histories_agree_with_the_model() {
    for seed in 1_000..1_012 {
        run(seed).await;
    }
}

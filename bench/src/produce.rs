//! Produces prepared batches as fast as the broker acknowledges them.
//!
//! Each connection keeps a number of requests in flight, as real clients do, and sends to its own
//! share of partitions in turn. The clock starts after a warm-up, while the load goes on, and stops
//! before the load does.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};

use crate::batches::{Prepared, Sequence, prepare};
use crate::cluster::{check, producer_id};
use crate::process::Process;
use crate::report::Report;
use crate::wire::Connection;

/// The newest version that names topics instead of giving their ids; every broker since Kafka 3.7
/// has it.
pub(crate) const PRODUCE_VERSION: i16 = 11;
pub(crate) const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Topic, which exists.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Connections, each a producer of its own.
    pub connections: usize,
    /// Requests in flight per connection.
    pub in_flight: usize,
    /// Batches, each of another partition, per request.
    pub batches_per_request: usize,
    /// Bytes of a value.
    pub record_bytes: usize,
    /// Bytes of a batch before compression.
    pub batch_bytes: usize,
    /// Codec's name.
    pub compression: String,
    /// 0, 1 or -1.
    pub acks: i16,
    /// Whether batches carry producer ids and sequence numbers.
    pub idempotent: bool,
    /// Before the clock starts.
    pub warm_up: Duration,
    /// While it runs.
    pub duration: Duration,
}

/// What was acknowledged (with acks=0: written to the socket) so far by all connections.
#[derive(Debug, Default)]
struct Progress {
    records: Cell<u64>,
    value_bytes: Cell<u64>,
    wire_bytes: Cell<u64>,
    throttled_ms: Cell<u64>,
    stop: Cell<bool>,
}

/// Runs the load and prints its figures.
pub async fn run(address: SocketAddr, load: Load, label: &str, process: Process) -> Result<()> {
    let batches = Rc::new(prepare(load.record_bytes, load.batch_bytes, &load.compression)?);
    let progress = Rc::new(Progress::default());
    let tasks = tokio::task::LocalSet::new();
    let load = Rc::new(load);
    let mut running = Vec::new();
    for at in 0..load.connections {
        let (load, batches, progress) = (load.clone(), batches.clone(), progress.clone());
        running.push(tasks.spawn_local(async move {
            Producer::open(address, at, load, batches, progress).await?.run().await
        }));
    }
    let watched = async {
        tokio::time::sleep(load.warm_up).await;
        let mut report = Report::begin(label, "produce", process)?;
        let before = snapshot(&progress);
        tokio::time::sleep(load.duration).await;
        let after = snapshot(&progress);
        describe(&mut report, &load);
        report.add_throughput(after.0 - before.0, after.1 - before.1)?;
        let wire = (after.2 - before.2) as f64 / 1_048_576.0;
        report.add("wire_mib_per_s", format!("{:.1}", wire / load.duration.as_secs_f64()));
        report.add("throttled_ms", progress.throttled_ms.get());
        progress.stop.set(true);
        let drained = Instant::now();
        for task in running {
            task.await.context("a producer panicked")??;
        }
        ensure!(drained.elapsed() < Duration::from_secs(60), "the last requests took too long");
        ensure!(after.0 > before.0, "nothing was acknowledged");
        report.end()
    };
    tasks.run_until(watched).await.map(drop)
}

fn snapshot(progress: &Progress) -> (u64, u64, u64) {
    (progress.records.get(), progress.value_bytes.get(), progress.wire_bytes.get())
}

fn describe(report: &mut Report, load: &Load) {
    report.add("record_bytes", load.record_bytes);
    report.add("batch_bytes", load.batch_bytes);
    report.add("compression", &load.compression);
    report.add("acks", load.acks);
    report.add("idempotent", load.idempotent);
    report.add("partitions", load.partitions);
    report.add("connections", load.connections);
    report.add("in_flight", load.in_flight);
    report.add("batches_per_request", load.batches_per_request);
}

/// One connection.
struct Producer {
    connection: Connection,
    load: Rc<Load>,
    batches: Rc<Vec<Prepared>>,
    progress: Rc<Progress>,
    /// Its own partitions, each with the state of an idempotent producer if it is one.
    partitions: Vec<(i32, Option<Sequence>)>,
    next_partition: usize,
    next_batch: usize,
    /// Records, value bytes and wire bytes of the requests that are not answered yet, oldest first.
    open: std::collections::VecDeque<(u64, u64, u64)>,
}

impl Producer {
    async fn open(
        address: SocketAddr,
        at: usize,
        load: Rc<Load>,
        batches: Rc<Vec<Prepared>>,
        progress: Rc<Progress>,
    ) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let identity =
            if load.idempotent { Some(producer_id(&mut connection).await?) } else { None };
        let sequence = identity.map(|(producer_id, producer_epoch)| Sequence {
            producer_id,
            producer_epoch,
            next: 0,
        });
        // With fewer partitions than connections, several share one.
        let mut partitions: Vec<_> = (0..load.partitions)
            .filter(|partition| *partition as usize % load.connections == at)
            .map(|partition| (partition, sequence))
            .collect();
        if partitions.is_empty() {
            partitions.push((at as i32 % load.partitions, sequence));
        }
        Ok(Self {
            connection,
            load,
            batches,
            progress,
            partitions,
            next_partition: 0,
            next_batch: at,
            open: std::collections::VecDeque::new(),
        })
    }

    async fn run(mut self) -> Result<()> {
        while !self.progress.stop.get() {
            if self.open.len() >= self.load.in_flight {
                self.receive().await?;
            }
            self.send().await?;
        }
        while !self.open.is_empty() {
            self.receive().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        let (mut records, mut value_bytes, mut wire_bytes) = (0, 0, 0);
        let mut partition_data = Vec::with_capacity(self.load.batches_per_request);
        for _ in 0..self.load.batches_per_request.min(self.partitions.len()) {
            let batch = &self.batches[self.next_batch % self.batches.len()];
            let own = self.next_partition % self.partitions.len();
            let (index, sequence) = &mut self.partitions[own];
            self.next_batch += 1;
            self.next_partition += 1;
            let bytes = match sequence {
                Some(sequence) => batch.records_of(sequence),
                None => batch.records(),
            };
            partition_data.push(PartitionProduceData { index: *index, records: Some(bytes) });
            records += batch.records;
            value_bytes += batch.value_bytes;
            wire_bytes += batch.wire_bytes();
        }
        let request = request(&self.load.topic, self.load.acks, partition_data);
        self.connection.sender.send(&request, PRODUCE_VERSION).await?;
        if self.load.acks == 0 {
            self.count((records, value_bytes, wire_bytes));
            // Nothing else would let the other connections run.
            tokio::task::yield_now().await;
        } else {
            self.open.push_back((records, value_bytes, wire_bytes));
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<()> {
        let receiver = &mut self.connection.receiver;
        let response = receiver.receive::<ProduceRequest>(PRODUCE_VERSION).await?;
        check_produced(&response)?;
        let throttle = u64::try_from(response.throttle_time_ms)?;
        if throttle > 0 {
            self.progress.throttled_ms.set(self.progress.throttled_ms.get() + throttle);
            tokio::time::sleep(Duration::from_millis(throttle)).await;
        }
        let answered = self.open.pop_front().context("an answer to nothing")?;
        self.count(answered);
        Ok(())
    }

    fn count(&self, (records, value_bytes, wire_bytes): (u64, u64, u64)) {
        let progress = &self.progress;
        progress.records.set(progress.records.get() + records);
        progress.value_bytes.set(progress.value_bytes.get() + value_bytes);
        progress.wire_bytes.set(progress.wire_bytes.get() + wire_bytes);
    }
}

/// A produce request to one topic.
pub(crate) fn request(
    topic: &str,
    acks: i16,
    partition_data: Vec<PartitionProduceData>,
) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: PRODUCE_TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data,
            ..TopicProduceData::default()
        }],
    }
}

/// An error if any partition has one.
pub(crate) fn check_produced(response: &ProduceResponse) -> Result<()> {
    for partition in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
        check(partition.error_code, "produce")?;
    }
    Ok(())
}

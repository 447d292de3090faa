//! Transactions one after the other: each producer begins one, writes a record to some partitions,
//! and commits, as a Kafka Streams application with a short commit interval does.
//!
//! Two protocols: that of KIP-890, where the produce adds the partitions and the epoch moves, and
//! the one before, with AddPartitionsToTxn. What a broker answers with CONCURRENT_TRANSACTIONS is
//! sent again after [`RETRY_PAUSE`], as clients do, and counts in the latency.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use protocol::messages::end_txn::EndTxnRequest;
use protocol::messages::produce::{PartitionProduceData, ProduceRequest};
use protocol::records::{BatchBuilder, Compression};
use protocol::{ErrorCode, Records};
use tokio::task::LocalSet;

use crate::batches::{json, now_ms};
use crate::cluster::{check, transactional_producer};
use crate::histogram::Histogram;
use crate::process::Process;
use crate::produce;
use crate::report::Report;
use crate::wire::Connection;

/// How soon a request is sent again that came too early: Java's back-off for this error.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// The newest versions that name topics, and those of clients before KIP-890.
const PRODUCE_VERSIONS: (i16, i16) = (12, 11);
const END_TXN_VERSIONS: (i16, i16) = (5, 4);
const ADD_PARTITIONS_VERSION: i16 = 3;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Topic, which exists.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Producers, each with a connection and a transactional id.
    pub producers: usize,
    /// Partitions that a transaction writes to.
    pub partitions_per_transaction: i32,
    /// Bytes of a value.
    pub record_bytes: usize,
    /// Whether producers are older than KIP-890.
    pub old_protocol: bool,
    /// Before the clock starts.
    pub warm_up: Duration,
    /// While it runs.
    pub duration: Duration,
}

/// What all producers of a run share.
#[derive(Debug, Default)]
struct Run {
    counting: Cell<bool>,
    stop: Cell<bool>,
    transactions: RefCell<Histogram>,
    commits: RefCell<Histogram>,
    retries: Cell<u64>,
}

impl Run {
    fn count(&self, histogram: &RefCell<Histogram>, since: Instant) {
        if self.counting.get() {
            histogram.borrow_mut().record(since.elapsed().as_micros() as u64);
        }
    }
}

/// Runs the load and prints its figures.
pub async fn run(address: SocketAddr, load: Load, label: &str, process: Process) -> Result<()> {
    ensure!(load.partitions_per_transaction <= load.partitions, "too few partitions");
    let run = Rc::new(Run::default());
    let load = Rc::new(load);
    let tasks = LocalSet::new();
    let running: Vec<_> = (0..load.producers)
        .map(|at| {
            let (load, run) = (load.clone(), run.clone());
            tasks.spawn_local(
                async move { Producer::open(address, at, load, run).await?.run().await },
            )
        })
        .collect();
    let watched = async {
        tokio::time::sleep(load.warm_up).await;
        let mut report = Report::begin(label, "transactions", process)?;
        run.counting.set(true);
        tokio::time::sleep(load.duration).await;
        run.counting.set(false);
        let transactions = run.transactions.borrow().total();
        report.add("protocol", if load.old_protocol { "old" } else { "kip-890" });
        report.add("producers", load.producers);
        report.add("partitions", load.partitions);
        report.add("partitions_per_transaction", load.partitions_per_transaction);
        report.add("record_bytes", load.record_bytes);
        report.add("transactions", transactions);
        let seconds = load.duration.as_secs_f64();
        report.add("transactions_per_s", format!("{:.1}", transactions as f64 / seconds));
        report.add("retries", run.retries.get());
        report.add_latency("transaction", &run.transactions.borrow());
        report.add_latency("commit", &run.commits.borrow());
        run.stop.set(true);
        for task in running {
            task.await.context("a producer panicked")??;
        }
        ensure!(transactions > 0, "nothing was committed");
        report.end()
    };
    tasks.run_until(watched).await.map(drop)
}

/// One producer.
struct Producer {
    connection: Connection,
    load: Rc<Load>,
    run: Rc<Run>,
    transactional_id: String,
    producer_id: i64,
    producer_epoch: i16,
    /// The next sequence number of each partition.
    sequences: Vec<i32>,
    next_partition: i32,
    value: Vec<u8>,
}

impl Producer {
    async fn open(address: SocketAddr, at: usize, load: Rc<Load>, run: Rc<Run>) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let transactional_id = format!("{}-{at}", load.topic);
        let (producer_id, producer_epoch) =
            transactional_producer(&mut connection, &transactional_id).await?;
        Ok(Self {
            connection,
            transactional_id,
            producer_id,
            producer_epoch,
            sequences: vec![0; usize::try_from(load.partitions)?],
            next_partition: i32::try_from(at)?,
            value: json(load.record_bytes, &mut (at as u64 + 1)),
            load,
            run,
        })
    }

    async fn run(mut self) -> Result<()> {
        while !self.run.stop.get() {
            let began = Instant::now();
            let partitions = self.choose();
            if self.load.old_protocol {
                self.add_partitions(&partitions).await?;
            }
            self.produce(&partitions).await?;
            let ending = Instant::now();
            self.commit().await?;
            self.run.count(&self.run.commits, ending);
            self.run.count(&self.run.transactions, began);
        }
        Ok(())
    }

    fn choose(&mut self) -> Vec<i32> {
        let first = self.next_partition;
        self.next_partition += self.load.partitions_per_transaction;
        let own = first..self.next_partition;
        own.map(|partition| partition % self.load.partitions).collect()
    }

    async fn pause(&self) {
        self.run.retries.set(self.run.retries.get() + 1);
        tokio::time::sleep(RETRY_PAUSE).await;
    }

    async fn add_partitions(&mut self, partitions: &[i32]) -> Result<()> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.transactional_id.clone(),
            v3_and_below_producer_id: self.producer_id,
            v3_and_below_producer_epoch: self.producer_epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: self.load.topic.clone(),
                partitions: partitions.to_vec(),
            }],
            ..AddPartitionsToTxnRequest::default()
        };
        loop {
            let response = self.connection.call(&request, ADD_PARTITIONS_VERSION).await?;
            let results = response.results_by_topic_v3_and_below.iter();
            let mut results = results.flat_map(|topic| &topic.results_by_partition);
            let error = results.find(|result| result.partition_error_code != 0);
            match error.map(|result| result.partition_error_code) {
                None => return Ok(()),
                Some(error) if is_concurrent(error) => self.pause().await,
                Some(error) => check(error, "add partitions")?,
            }
        }
    }

    async fn produce(&mut self, partitions: &[i32]) -> Result<()> {
        let version = self.of(PRODUCE_VERSIONS);
        let mut left = partitions.to_vec();
        while !left.is_empty() {
            let request = self.request(&left)?;
            let response = self.connection.call(&request, version).await?;
            let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            let mut again = Vec::new();
            for answer in answers {
                if is_concurrent(answer.error_code) {
                    again.push(answer.index);
                    continue;
                }
                check(answer.error_code, "transactional produce")?;
                self.sequences[usize::try_from(answer.index)?] += 1;
            }
            if !again.is_empty() {
                self.pause().await;
            }
            left = again;
        }
        Ok(())
    }

    fn request(&self, partitions: &[i32]) -> Result<ProduceRequest> {
        let mut data = Vec::with_capacity(partitions.len());
        for &index in partitions {
            let sequence = self.sequences[usize::try_from(index)?];
            let mut builder = BatchBuilder::new(Compression::None)
                .producer(self.producer_id, self.producer_epoch, sequence)
                .transactional(true);
            builder.append(0, now_ms()?, None, Some(&self.value), &[])?;
            let mut records = Records::new();
            records.push(builder.build()?);
            data.push(PartitionProduceData { index, records: Some(records) });
        }
        let mut request = produce::request(&self.load.topic, -1, data);
        request.transactional_id = Some(self.transactional_id.clone());
        Ok(request)
    }

    async fn commit(&mut self) -> Result<()> {
        let version = self.of(END_TXN_VERSIONS);
        let request = EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            committed: true,
        };
        loop {
            let response = self.connection.call(&request, version).await?;
            if is_concurrent(response.error_code) {
                self.pause().await;
                continue;
            }
            check(response.error_code, "commit")?;
            if !self.load.old_protocol {
                self.producer_id = response.producer_id;
                self.producer_epoch = response.producer_epoch;
                self.sequences.fill(0);
            }
            return Ok(());
        }
    }

    fn of(&self, (new, old): (i16, i16)) -> i16 {
        if self.load.old_protocol { old } else { new }
    }
}

fn is_concurrent(error: i16) -> bool {
    error == ErrorCode::ConcurrentTransactions.code()
}

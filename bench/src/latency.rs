//! Latency at a fixed rate: records become due at even intervals whatever the broker does (an open
//! loop), and each is timed from when it was due, so that a stall shows in every record that it
//! delayed.
//!
//! A producer sends what is due at once (linger 0), all that became due meanwhile in one batch,
//! with a bounded number of requests in flight, as Kafka's producer does. With `tail`, readers
//! fetch the same topic and time each record's arrival.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, BytesMut};
use protocol::Records;
use protocol::messages::fetch::FetchResponse;
use protocol::messages::produce::{PartitionProduceData, ProduceRequest};
use protocol::records::{BatchBuilder, Compression, DecompressLimit, batches};
use tokio::sync::{Semaphore, mpsc};

use crate::batches::{json, now_ms};
use crate::cluster::{check, end_offsets};
use crate::histogram::Histogram;
use crate::process::Process;
use crate::produce::{PRODUCE_VERSION, check_produced};
use crate::report::Report;
use crate::wire::{Connection, Receiver};
use crate::{consume, produce};

/// Requests in flight per connection: the default of Kafka's producer.
const IN_FLIGHT: usize = 5;
/// Records that one batch takes at most.
const BATCH_RECORDS_MAX: usize = 500;
const FETCH_BYTES_MAX: i32 = 16 << 20;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Topic, which exists.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Connections of producers.
    pub connections: usize,
    /// Records per second over all connections.
    pub rate: u64,
    /// Bytes of a value, at least 8.
    pub record_bytes: usize,
    /// 1 or -1.
    pub acks: i16,
    /// Whether a reader follows and times arrivals.
    pub tail: bool,
    /// Before latencies count.
    pub warm_up: Duration,
    /// While they count.
    pub duration: Duration,
}

/// What all tasks of a run share.
struct Run {
    load: Load,
    /// Due times are microseconds after this.
    zero: Instant,
    counting: Cell<bool>,
    done: Cell<bool>,
    acknowledged: RefCell<Histogram>,
    arrived: RefCell<Histogram>,
}

impl Run {
    fn micros(&self) -> u64 {
        self.zero.elapsed().as_micros() as u64
    }

    fn count(&self, histogram: &RefCell<Histogram>, due: u64) {
        if self.counting.get() {
            histogram.borrow_mut().record(self.micros().saturating_sub(due));
        }
    }
}

/// Runs the load and prints its figures.
pub async fn run(address: SocketAddr, load: Load, label: &str, process: Process) -> Result<()> {
    ensure!(load.acks != 0 && load.record_bytes >= 8, "needs acknowledgements and 8 bytes");
    let run = Rc::new(Run {
        zero: Instant::now(),
        counting: Cell::new(false),
        done: Cell::new(false),
        acknowledged: RefCell::default(),
        arrived: RefCell::default(),
        load,
    });
    let tasks = tokio::task::LocalSet::new();
    tasks.run_until(drive(address, run, label, process)).await
}

async fn drive(address: SocketAddr, run: Rc<Run>, label: &str, process: Process) -> Result<()> {
    let load = &run.load;
    let mut running = Vec::new();
    if load.tail {
        let ends = end_offsets(address, &load.topic, load.partitions).await?;
        running.push(tokio::task::spawn_local(tail(address, run.clone(), ends)));
    }
    let mut senders = Vec::new();
    for at in 0..load.connections {
        let (due, receiver) = mpsc::unbounded_channel();
        senders.push(due);
        running.push(tokio::task::spawn_local(produce_due(address, run.clone(), at, receiver)));
    }
    let pacer = start_pacer(run.zero, load, senders);
    tokio::time::sleep(load.warm_up).await;
    let mut report = Report::begin(label, if load.tail { "e2e" } else { "latency" }, process)?;
    run.counting.set(true);
    tokio::time::sleep(load.duration).await;
    run.counting.set(false);
    report.add("rate", load.rate);
    report.add("record_bytes", load.record_bytes);
    report.add("acks", load.acks);
    report.add("partitions", load.partitions);
    report.add("connections", load.connections);
    let records = run.acknowledged.borrow().total();
    report.add_throughput(records, records * load.record_bytes as u64)?;
    report.add_latency("ack", &run.acknowledged.borrow());
    if load.tail {
        report.add_latency("e2e", &run.arrived.borrow());
    }
    pacer.join().ok().context("the pacer panicked")?;
    run.done.set(true);
    for task in running {
        task.await.context("a client panicked")??;
    }
    ensure!(records > 0, "nothing was acknowledged");
    report.end().map(drop)
}

/// Hands out due times. A thread of its own: the kernel's timers are finer than the runtime's
/// millisecond.
fn start_pacer(
    zero: Instant,
    load: &Load,
    senders: Vec<mpsc::UnboundedSender<u64>>,
) -> std::thread::JoinHandle<()> {
    let interval = Duration::from_nanos(1_000_000_000 / load.rate.max(1));
    let records = load.rate * (load.warm_up + load.duration).as_millis() as u64 / 1000;
    let first = zero.elapsed();
    std::thread::spawn(move || {
        for record in 0..records {
            let due = first + interval * u32::try_from(record).unwrap_or(u32::MAX);
            if let Some(early) = due.checked_sub(zero.elapsed()) {
                std::thread::sleep(early);
            }
            // A producer that failed has reported why.
            let _ = senders[record as usize % senders.len()].send(due.as_micros() as u64);
        }
    })
}

async fn produce_due(
    address: SocketAddr,
    run: Rc<Run>,
    at: usize,
    mut due: mpsc::UnboundedReceiver<u64>,
) -> Result<()> {
    let connection = Connection::open(address).await?;
    let (mut sender, receiver) = (connection.sender, connection.receiver);
    let (open, answers) = mpsc::unbounded_channel();
    let permits = Rc::new(Semaphore::new(IN_FLIGHT));
    let acks = tokio::task::spawn_local(take_acks(run.clone(), receiver, answers, permits.clone()));
    let filler = json(run.load.record_bytes, &mut (at as u64 + 1));
    let mut partition = at as i32;
    let mut stamps = Vec::new();
    loop {
        let permit = permits.acquire().await?;
        if due.recv_many(&mut stamps, BATCH_RECORDS_MAX).await == 0 {
            break;
        }
        permit.forget();
        let records = Some(stamped(&stamps, run.load.record_bytes, &filler)?);
        partition = (partition + 1) % run.load.partitions;
        let data = vec![PartitionProduceData { index: partition, records }];
        let request = produce::request(&run.load.topic, run.load.acks, data);
        open.send(std::mem::take(&mut stamps)).context("the receiving half ended")?;
        sender.send(&request, PRODUCE_VERSION).await?;
    }
    drop(open);
    acks.await.context("the receiving half panicked")?
}

async fn take_acks(
    run: Rc<Run>,
    mut receiver: Receiver,
    mut open: mpsc::UnboundedReceiver<Vec<u64>>,
    permits: Rc<Semaphore>,
) -> Result<()> {
    while let Some(stamps) = open.recv().await {
        let response = receiver.receive::<ProduceRequest>(PRODUCE_VERSION).await?;
        check_produced(&response)?;
        permits.add_permits(1);
        for due in stamps {
            run.count(&run.acknowledged, due);
        }
    }
    Ok(())
}

/// A batch of records whose values begin with their due times.
fn stamped(stamps: &[u64], record_bytes: usize, filler: &[u8]) -> Result<Records> {
    let mut builder = BatchBuilder::new(Compression::None);
    let now = now_ms()?;
    let mut value = BytesMut::with_capacity(record_bytes);
    for (delta, stamp) in stamps.iter().enumerate() {
        value.clear();
        value.put_u64(*stamp);
        value.put_slice(&filler[8..]);
        builder.append(i32::try_from(delta)?, now, None, Some(&value), &[])?;
    }
    let mut records = Records::new();
    records.push(builder.build()?);
    Ok(records)
}

/// Follows the topic from `positions` on until the run is done.
async fn tail(address: SocketAddr, run: Rc<Run>, mut positions: Vec<i64>) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    while !run.done.get() {
        let wanted = (0..).zip(positions.iter().copied()).collect();
        let request = consume::request(&run.load.topic, wanted, FETCH_BYTES_MAX, 1 << 20);
        let response = connection.call(&request, consume::FETCH_VERSION).await?;
        arrived(&run, &response, &mut positions)?;
    }
    Ok(())
}

fn arrived(run: &Run, response: &FetchResponse, positions: &mut [i64]) -> Result<()> {
    check(response.error_code, "fetch")?;
    for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
        check(partition.error_code, "fetch")?;
        let Some(records) = &partition.records else { continue };
        let position = positions
            .get_mut(usize::try_from(partition.partition_index)?)
            .context("an unknown partition")?;
        for batch in batches(&records.to_bytes()).map_while(Result::ok) {
            let limit = DecompressLimit { max_bytes: batch.bytes().len() };
            for record in &batch.borrowed().decompressed(limit)? {
                let value = record?.value.context("a record without value")?;
                let stamp = value.get(..8).context("a short value")?.try_into()?;
                run.count(&run.arrived, u64::from_be_bytes(stamp));
            }
            *position = batch.header().next_offset();
        }
    }
    Ok(())
}

//! How fast a broker cleans a compacted topic: records of few keys, far more than there are keys, are
//! written while the topic's `min.compaction.lag.ms` holds the cleaner back; then it is let go.
//!
//! Near the end of each partition lies a *probe*: a record whose key comes again behind it, with more
//! than a segment of records after that, so that it is in a closed segment. Cleaning goes from the
//! start to the end, so when the last probe is gone all before it is clean. Afterwards the
//! topic is read, and no key may be there more often than the part that was not cleaned explains.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use protocol::Records;
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse};
use protocol::records::{BatchBuilder, Compression, batches};

use crate::batches::{json, next_random, now_ms};
use crate::cluster::{check, create_topic, end_offsets};
use crate::consume::{self, FETCH_VERSION};
use crate::pipeline;
use crate::process::Process;
use crate::produce::{self, PRODUCE_VERSION, check_produced};
use crate::report::Report;
use crate::wire::Connection;

const ALTER_CONFIGS_VERSION: i16 = 1;
const TOPIC: i8 = 2;
const SET: i8 = 0;
const LAG: &str = "min.compaction.lag.ms";
/// A year: nothing is cleaned.
const LAG_MS: &str = "31536000000";
const IN_FLIGHT: usize = 5;
const PROBE_KEY: &[u8] = b"probe";
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// The longest cleaning.
const CLEAN_WITHIN: Duration = Duration::from_secs(600);
/// The broker is at rest when it uses less of a processor than this for a second.
const REST_CPU: f64 = 0.1;
const REST_WITHIN: u32 = 60;
const MIB: u64 = 1 << 20;

/// What is written.
#[derive(Debug, Clone)]
pub struct Load {
    /// The topic, which is made for it.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// MiB of values in all that is to be cleaned.
    pub fill_mib: u64,
    /// Keys of each partition.
    pub keys: u64,
    /// Bytes of a value.
    pub record_bytes: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// `segment.bytes`, MiB.
    pub segment_mib: u64,
    /// Further `key=value` of the topic.
    pub configs: Vec<(String, String)>,
}

/// Runs the load and prints its figures.
pub async fn run(address: SocketAddr, load: Load, label: &str, process: Process) -> Result<()> {
    let mut configs = load.configs.clone();
    let mut set = |key: &str, value: String| configs.push((key.to_owned(), value));
    set("cleanup.policy", "compact".to_owned());
    set("segment.bytes", (load.segment_mib * MIB).to_string());
    set(LAG, LAG_MS.to_owned());
    create_topic(address, &load.topic, load.partitions, &configs).await?;
    let mut connection = Connection::open(address).await?;
    let mut filler = Filler::new(&load)?;
    filler.fill(&mut connection, load.fill_mib * MIB / load.partitions as u64).await?;
    let probes = end_offsets(address, &load.topic, load.partitions).await?;
    filler.probe(&mut connection).await?;
    filler.probe(&mut connection).await?;
    filler.fill(&mut connection, (load.segment_mib + 1) * MIB).await?;
    let ends = end_offsets(address, &load.topic, load.partitions).await?;
    rest(process).await?;

    let mut report = Report::begin(label, "compaction", process)?;
    let cpu_before = process.cpu_seconds()?;
    set_lag(&mut connection, &load.topic, "0").await?;
    let began = Instant::now();
    while !all_gone(&mut connection, &load, &probes).await? {
        ensure!(began.elapsed() < CLEAN_WITHIN, "the topic does not become clean");
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let records: i64 = probes.iter().sum();
    let cleaned_mib = records as f64 * load.record_bytes as f64 / MIB as f64;
    report.add("partitions", load.partitions);
    report.add("keys", load.keys * load.partitions as u64);
    report.add("record_bytes", load.record_bytes);
    report.add("segment_mib", load.segment_mib);
    report.add("cleaned_mib", format!("{cleaned_mib:.0}"));
    report.add("clean_s", format!("{seconds:.2}"));
    report.add("mib_per_s", format!("{:.1}", cleaned_mib / seconds));
    if process.0.is_some() {
        let cpu = process.cpu_seconds()? - cpu_before;
        report.add("broker_cpu_s_per_gib", format!("{:.3}", cpu / cleaned_mib * 1024.0));
    }
    let left = consume::count(address, &load.topic, load.partitions).await?;
    report.add("records_before", ends.iter().sum::<i64>());
    report.add("records_left", left);
    let unclean: i64 = ends.iter().zip(&probes).map(|(end, probe)| end - probe).sum();
    let most = load.keys * load.partitions as u64 + u64::try_from(unclean)?;
    ensure!(left <= most, "{left} records are left, {most} at most should be");
    report.end().map(drop)
}

/// Waits until the broker has done what the fill left to do.
async fn rest(process: Process) -> Result<()> {
    for _ in 0..REST_WITHIN {
        let before = process.cpu_seconds()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if process.cpu_seconds()? - before < REST_CPU {
            return Ok(());
        }
    }
    bail!("the broker does not come to rest")
}

async fn set_lag(connection: &mut Connection, topic: &str, lag_ms: &str) -> Result<()> {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: topic.to_owned(),
            configs: vec![AlterableConfig {
                name: LAG.to_owned(),
                config_operation: SET,
                value: Some(lag_ms.to_owned()),
            }],
        }],
        validate_only: false,
    };
    let response = connection.call(&request, ALTER_CONFIGS_VERSION).await?;
    check(response.responses.first().context("no answer for the topic")?.error_code, "alter")
}

/// Whether every partition's probe has been cleaned away.
async fn all_gone(connection: &mut Connection, load: &Load, probes: &[i64]) -> Result<bool> {
    for (partition, probe) in (0..).zip(probes) {
        let request = consume::request(&load.topic, vec![(partition, *probe)], 1, 1);
        let response = connection.call(&request, FETCH_VERSION).await?;
        let answer = response.responses.iter().flat_map(|topic| &topic.partitions).next();
        let answer = answer.context("no answer for the partition")?;
        check(answer.error_code, "fetch")?;
        let bytes = answer.records.as_ref().map(Records::to_bytes).unwrap_or_default();
        let first = batches(&bytes).map_while(Result::ok).next();
        let first = first.with_context(|| format!("nothing at offset {probe}"))?;
        // What is left of a batch may be its header only.
        let header = first.header();
        if header.base_offset <= *probe && header.records_count > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes to all partitions in turn.
struct Filler<'a> {
    load: &'a Load,
    values: Vec<Vec<u8>>,
    seed: u64,
}

impl<'a> Filler<'a> {
    fn new(load: &'a Load) -> Result<Self> {
        ensure!(load.keys > 0 && load.record_bytes > 0, "no keys or no bytes");
        let mut seed = 0x5EED;
        let values = (0..64).map(|_| json(load.record_bytes, &mut seed)).collect();
        Ok(Self { load, values, seed })
    }

    /// `bytes` of values to each partition, under random keys.
    async fn fill(&mut self, connection: &mut Connection, bytes: u64) -> Result<()> {
        let records = bytes / self.load.record_bytes as u64;
        let per_batch = (self.load.batch_bytes / self.load.record_bytes).max(1) as u64;
        let mut left = records;
        let mut failed = None;
        let next = || {
            let count = left.min(per_batch);
            left -= count;
            match self.request(count) {
                Ok(request) if count > 0 => Some(((), request)),
                Ok(_) => None,
                Err(error) => {
                    failed = Some(error);
                    None
                }
            }
        };
        let answered = |(), response: ProduceResponse, _| check_produced(&response);
        pipeline::run(connection, PRODUCE_VERSION, IN_FLIGHT, next, answered).await?;
        failed.map_or(Ok(()), Err)
    }

    fn request(&mut self, count: u64) -> Result<ProduceRequest> {
        let mut data = Vec::new();
        for index in 0..self.load.partitions {
            let mut builder = BatchBuilder::new(Compression::None);
            for at in 0..i32::try_from(count)? {
                let key = next_random(&mut self.seed) % self.load.keys;
                let value = &self.values[(key % self.values.len() as u64) as usize];
                builder.append(at, now_ms()?, Some(&key.to_be_bytes()), Some(value), &[])?;
            }
            if count > 0 {
                data.push(partition_data(index, builder)?);
            }
        }
        Ok(produce::request(&self.load.topic, -1, data))
    }

    /// One record under the probe's key to each partition.
    async fn probe(&self, connection: &mut Connection) -> Result<()> {
        let mut data = Vec::new();
        for index in 0..self.load.partitions {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.append(0, now_ms()?, Some(PROBE_KEY), Some(PROBE_KEY), &[])?;
            data.push(partition_data(index, builder)?);
        }
        let request = produce::request(&self.load.topic, -1, data);
        check_produced(&connection.call(&request, PRODUCE_VERSION).await?)
    }
}

fn partition_data(index: i32, builder: BatchBuilder) -> Result<PartitionProduceData> {
    let mut records = Records::new();
    records.push(builder.build()?);
    Ok(PartitionProduceData { index, records: Some(records) })
}

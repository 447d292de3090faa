//! Fetches a topic from its start to the end it had at the beginning, counts the records and drops
//! them.
//!
//! Batches are walked by their headers only: neither checksums nor compressed bodies cost the
//! client anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::records::batches;

use crate::cluster::{check, end_offsets};
use crate::process::Process;
use crate::report::Report;
use crate::wire::Connection;

/// The newest version that names topics instead of giving their ids.
pub(crate) const FETCH_VERSION: i16 = 12;

/// What is read and how.
#[derive(Debug, Clone)]
pub struct Load {
    /// Topic, which exists.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Connections, each with its own share of partitions and one fetch in flight.
    pub connections: usize,
    /// `fetch.max.bytes`.
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub partition_max_bytes: i32,
}

/// Runs the load and prints its figures; `test` names the run.
pub async fn run(
    address: SocketAddr,
    load: &Load,
    label: &str,
    test: &str,
    process: Process,
) -> Result<()> {
    let ends = end_offsets(address, &load.topic, load.partitions).await?;
    let mut report = Report::begin(label, test, process)?;
    let mut readers = Vec::new();
    for at in 0..load.connections {
        let own: BTreeMap<i32, i64> = (0..load.partitions)
            .filter(|partition| *partition as usize % load.connections == at)
            .map(|partition| (partition, ends[partition as usize]))
            .collect();
        readers.push(read(address, load, own));
    }
    let (mut records, mut bytes) = (0, 0);
    for counted in join_all(readers).await {
        let (more_records, more_bytes) = counted?;
        records += more_records;
        bytes += more_bytes;
    }
    report.add("partitions", load.partitions);
    report.add("connections", load.connections);
    // Bytes are those on the wire: what the broker has moved.
    report.add_throughput(records, bytes)?;
    report.end()?;
    // More than the ends promised is no loss: what came later may share an answer with what did
    // not.
    let expected: i64 = ends.iter().sum();
    ensure!(records >= u64::try_from(expected)?, "{records} records of {expected} were read");
    Ok(())
}

/// Reads the topic once and counts its records.
pub(crate) async fn count(address: SocketAddr, topic: &str, partitions: i32) -> Result<u64> {
    let load = Load {
        topic: topic.to_owned(),
        partitions,
        connections: 1,
        max_bytes: 50 << 20,
        partition_max_bytes: 1 << 20,
    };
    let ends = end_offsets(address, topic, partitions).await?;
    read(address, &load, (0..).zip(ends).collect()).await.map(|(records, _)| records)
}

/// Runs futures beside each other on this thread.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = pinned.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in pinned.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Reads the partitions in `ends` from 0 up to there; returns records and bytes.
async fn read(address: SocketAddr, load: &Load, ends: BTreeMap<i32, i64>) -> Result<(u64, u64)> {
    let mut connection = Connection::open(address).await?;
    let mut positions: BTreeMap<i32, i64> = ends.keys().map(|partition| (*partition, 0)).collect();
    positions.retain(|partition, _| ends[partition] > 0);
    let (mut records, mut bytes) = (0, 0);
    let mut turn = 0;
    while !positions.is_empty() {
        let mut wanted: Vec<_> = positions.iter().map(|(at, offset)| (*at, *offset)).collect();
        // The broker fills the answer in this order: let everyone be first in turn.
        let first = turn % wanted.len();
        wanted.rotate_left(first);
        turn += 1;
        let request = request(&load.topic, wanted, load.max_bytes, load.partition_max_bytes);
        let response = connection.call(&request, FETCH_VERSION).await?;
        walk(&response, |partition, batch_records, batch_bytes, next_offset| {
            records += batch_records;
            bytes += batch_bytes;
            positions.insert(partition, next_offset);
        })?;
        positions.retain(|partition, offset| *offset < ends[partition]);
    }
    Ok((records, bytes))
}

/// A fetch of `positions`, outside any session.
pub(crate) fn request(
    topic: &str,
    positions: Vec<(i32, i64)>,
    max_bytes: i32,
    partition_max_bytes: i32,
) -> FetchRequest {
    let partition = |(partition, fetch_offset)| FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes,
        ..FetchPartition::default()
    };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: positions.into_iter().map(partition).collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// Calls `each` with partition, records, bytes and next offset of every whole batch in `response`.
fn walk(response: &FetchResponse, mut each: impl FnMut(i32, u64, u64, i64)) -> Result<()> {
    check(response.error_code, "fetch")?;
    for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
        check(partition.error_code, "fetch")?;
        let Some(records) = &partition.records else { continue };
        // What was cut off at the end by the size limit is fetched again.
        for batch in batches(&records.to_bytes()).map_while(Result::ok) {
            let header = batch.header();
            let count = u64::try_from(header.records_count).context("negative record count")?;
            each(
                partition.partition_index,
                count,
                batch.bytes().len() as u64,
                header.next_offset(),
            );
        }
    }
    Ok(())
}

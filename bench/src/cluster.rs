//! What a load needs of the cluster around it: a topic, its end offsets, a producer id.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use protocol::ErrorCode;
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::find_coordinator::FindCoordinatorRequest;
use protocol::messages::init_producer_id::InitProducerIdRequest;
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use protocol::messages::metadata::MetadataRequest;

use crate::wire::Connection;

const METADATA_VERSION: i16 = 9;
const CREATE_TOPICS_VERSION: i16 = 7;
const DELETE_TOPICS_VERSION: i16 = 6;
const LIST_OFFSETS_VERSION: i16 = 7;
const FIND_COORDINATOR_VERSION: i16 = 3;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
/// `key_type` of FindCoordinator.
const COORDINATOR_OF_TRANSACTIONS: i8 = 1;
/// `timestamp` of ListOffsets that asks for the end.
const LATEST: i64 = -1;
/// How often a request is tried that a broker which has just started, or a topic which was just
/// made, refuses for now.
const ATTEMPTS: u32 = 200;
/// Longest wait for a broker that was just started.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Resolves `host:port`.
pub async fn resolve(bootstrap: &str) -> Result<SocketAddr> {
    let mut found =
        tokio::net::lookup_host(bootstrap).await.with_context(|| bootstrap.to_owned())?;
    found.next().with_context(|| format!("{bootstrap} has no address"))
}

/// Waits until a Metadata request is answered with a broker.
pub async fn wait_until_it_answers(address: SocketAddr) -> Result<()> {
    let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if let Ok(mut connection) = Connection::open(address).await
            && let Ok(response) = connection.call(&request, METADATA_VERSION).await
            && !response.brokers.is_empty()
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bail!("no answer from {address} within {START_TIMEOUT:?}")
}

/// Makes a topic of one replica.
pub async fn create_topic(
    address: SocketAddr,
    name: &str,
    partitions: i32,
    configs: &[(String, String)],
) -> Result<()> {
    let configs = configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig {
            name: name.clone(),
            value: Some(value.clone()),
        })
        .collect();
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        configs,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let mut connection = Connection::open(address).await?;
    let response = connection.call(&request, CREATE_TOPICS_VERSION).await?;
    check(response.topics.first().context("no answer for the topic")?.error_code, "create topic")?;
    // Leaders are elected behind the answer.
    end_offsets(address, name, partitions).await.map(drop)
}

/// Deletes a topic.
pub async fn delete_topic(address: SocketAddr, name: &str) -> Result<()> {
    let topic = DeleteTopicState { name: Some(name.to_owned()), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..DeleteTopicsRequest::default()
    };
    let response = Connection::open(address).await?.call(&request, DELETE_TOPICS_VERSION).await?;
    check(response.responses.first().context("no answer for the topic")?.error_code, "delete topic")
}

/// The end offset of each partition, as soon as all have a leader.
pub async fn end_offsets(address: SocketAddr, topic: &str, partitions: i32) -> Result<Vec<i64>> {
    let mut connection = Connection::open(address).await?;
    let partition = |partition_index| ListOffsetsPartition {
        partition_index,
        current_leader_epoch: -1,
        timestamp: LATEST,
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.to_owned(),
            partitions: (0..partitions).map(partition).collect(),
        }],
        ..ListOffsetsRequest::default()
    };
    for _ in 0..ATTEMPTS {
        let response = connection.call(&request, LIST_OFFSETS_VERSION).await?;
        let mut found =
            response.topics.first().context("no answer for the topic")?.partitions.clone();
        found.sort_by_key(|partition| partition.partition_index);
        if found.iter().all(|partition| partition.error_code == 0) {
            return Ok(found.iter().map(|partition| partition.offset).collect());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("not every partition of {topic} has a leader")
}

/// A fresh id and epoch for an idempotent producer.
pub async fn producer_id(connection: &mut Connection) -> Result<(i64, i16)> {
    let request = InitProducerIdRequest {
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        transactional_id: None,
        ..InitProducerIdRequest::default()
    };
    for _ in 0..ATTEMPTS {
        let response = connection.call(&request, INIT_PRODUCER_ID_VERSION).await?;
        if response.error_code == 0 {
            return Ok((response.producer_id, response.producer_epoch));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("no producer id")
}

/// The id and epoch of a transactional producer; waits for the coordinator, which a broker makes
/// when it is first asked for.
pub async fn transactional_producer(
    connection: &mut Connection,
    transactional_id: &str,
) -> Result<(i64, i16)> {
    let find = FindCoordinatorRequest {
        key: transactional_id.to_owned(),
        key_type: COORDINATOR_OF_TRANSACTIONS,
        ..FindCoordinatorRequest::default()
    };
    let begin = InitProducerIdRequest {
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        transactional_id: Some(transactional_id.to_owned()),
        ..InitProducerIdRequest::default()
    };
    for _ in 0..ATTEMPTS {
        let found = connection.call(&find, FIND_COORDINATOR_VERSION).await?;
        if found.error_code == 0 {
            let response = connection.call(&begin, INIT_PRODUCER_ID_VERSION).await?;
            if response.error_code == 0 {
                return Ok((response.producer_id, response.producer_epoch));
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("no producer id for {transactional_id}")
}

/// An error unless `error_code` is none.
pub fn check(error_code: i16, doing: &str) -> Result<()> {
    ensure!(error_code == 0, "{doing}: {:?}", ErrorCode::from_code(error_code));
    Ok(())
}

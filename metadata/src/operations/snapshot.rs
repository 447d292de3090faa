//! The whole store as one JSON document, so that a bucket alone can rebuild it (design D9).
//!
//! The document is versioned and described in `docs/rfcs/0004-metadata.md`; a golden file in
//! `testdata/` holds one.

use std::collections::BTreeMap;

use common::{NodeId, ObjectId, PartitionKey, TopicId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    model::{
        Configs, EpochStart, Extent, ObjectLevel, ObjectRow, ObjectState, Partition, WalRange,
    },
    rows::{ClusterRow, Partitions, Rows, TopicRow},
};

/// The version of the document that this release writes, and the newest that it reads.
const VERSION: u32 = 1;

/// Everything in the store.
pub(crate) async fn export(rows: &mut dyn Rows) -> Result<Vec<u8>> {
    let cluster = rows.cluster().await?.ok_or(Error::NotInitialized)?;
    let mut topics = Vec::new();
    for topic in rows.topics().await? {
        let partitions = rows.partitions_of(topic.id).await?;
        topics.push(TopicDocument::from_rows(topic, partitions));
    }
    let node = |(node, configs): (Option<NodeId>, Configs)| (node.map(|id| id.0), configs.into());
    let document = Document {
        version: VERSION,
        cluster_id: cluster.cluster_id,
        next_producer_id: cluster.next_producer_id,
        sessions: rows.sessions().await?.into_iter().map(|(id, epoch)| (id.0, epoch)).collect(),
        topics,
        objects: rows.objects().await?.into_iter().map(ObjectDocument::from).collect(),
        broker_configs: rows.broker_configs().await?.into_iter().map(node).collect(),
        group_configs: rows
            .group_configs()
            .await?
            .into_iter()
            .map(|(group_id, configs)| (group_id, configs.into()))
            .collect(),
        pointers: rows.pointers().await?,
    };
    serde_json::to_vec(&document).map_err(|error| Error::Corrupt(format!("snapshot: {error}")))
}

/// Restores a document into an empty store.
pub(crate) async fn import(rows: &mut dyn Rows, snapshot: &[u8]) -> Result<()> {
    if let Some(cluster) = rows.cluster().await? {
        return Err(Error::NotEmpty { cluster_id: cluster.cluster_id });
    }
    let document = parse(snapshot)?;
    let cluster =
        ClusterRow { cluster_id: document.cluster_id, next_producer_id: document.next_producer_id };
    rows.put_cluster(&cluster).await?;
    for (node_id, epoch) in document.sessions {
        rows.put_session(NodeId(node_id), epoch).await?;
    }
    for topic in document.topics {
        let (topic, partitions) = topic.into_rows();
        rows.put_topic(&topic).await?;
        rows.put_partitions(&partitions).await?;
    }
    for object in document.objects {
        rows.put_object(&object.try_into()?).await?;
    }
    for (node_id, configs) in document.broker_configs {
        rows.put_broker_configs(node_id.map(NodeId), &configs.into()).await?;
    }
    for (group_id, configs) in document.group_configs {
        rows.put_group_configs(&group_id, &configs.into()).await?;
    }
    for (name, value) in document.pointers {
        rows.put_pointer(&name, &value).await?;
    }
    Ok(())
}

fn parse(snapshot: &[u8]) -> Result<Document> {
    let corrupt = |error| Error::Corrupt(format!("snapshot: {error}"));
    let head: Head = serde_json::from_slice(snapshot).map_err(corrupt)?;
    if head.version > VERSION {
        return Err(Error::NewerFormat {
            found: format!("snapshot version {}", head.version),
            supported: VERSION.to_string(),
        });
    }
    serde_json::from_slice(snapshot).map_err(corrupt)
}

/// A UUID, as text with hyphens.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Id(Uuid);

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.to_string()
    }
}

impl TryFrom<String> for Id {
    type Error = uuid::Error;

    fn try_from(text: String) -> std::result::Result<Self, uuid::Error> {
        Uuid::parse_str(&text).map(Self)
    }
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    cluster_id: String,
    next_producer_id: i64,
    sessions: Vec<(i32, i64)>,
    topics: Vec<TopicDocument>,
    objects: Vec<ObjectDocument>,
    broker_configs: Vec<(Option<i32>, ConfigsDocument)>,
    /// Absent where no group has any, as in documents of earlier releases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    group_configs: BTreeMap<String, ConfigsDocument>,
    pointers: BTreeMap<String, Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct ConfigsDocument {
    version: i64,
    values: BTreeMap<String, String>,
}

impl From<Configs> for ConfigsDocument {
    fn from(configs: Configs) -> Self {
        Self { version: configs.version, values: configs.values }
    }
}

impl From<ConfigsDocument> for Configs {
    fn from(document: ConfigsDocument) -> Self {
        Self { version: document.version, values: document.values }
    }
}

#[derive(Serialize, Deserialize)]
struct TopicDocument {
    id: Id,
    name: String,
    internal: bool,
    configs: ConfigsDocument,
    created_ms: i64,
    replication_factor: i16,
    partitions: Vec<PartitionDocument>,
}

#[derive(Serialize, Deserialize)]
struct PartitionDocument {
    partition: i32,
    replicas: Vec<i32>,
    owner: i32,
    leader_epoch: i32,
    /// (epoch, start offset)
    epoch_starts: Vec<(i32, i64)>,
    log_start_offset: i64,
    committed_end_offset: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readable_end_offset: Option<i64>,
}

impl TopicDocument {
    fn from_rows(topic: TopicRow, partitions: Partitions) -> Self {
        Self {
            id: Id(topic.id.0),
            name: topic.name,
            internal: topic.internal,
            configs: topic.configs.into(),
            created_ms: topic.created_ms,
            replication_factor: topic.replication_factor,
            partitions: partitions.into_values().map(PartitionDocument::from).collect(),
        }
    }

    fn into_rows(self) -> (TopicRow, Partitions) {
        let topic_id = TopicId(self.id.0);
        let keyed = |document: PartitionDocument| {
            (PartitionKey { topic_id, partition: document.partition }, document.into())
        };
        let partitions = self.partitions.into_iter().map(keyed).collect();
        let topic = TopicRow {
            id: topic_id,
            name: self.name,
            internal: self.internal,
            configs: self.configs.into(),
            created_ms: self.created_ms,
            replication_factor: self.replication_factor,
        };
        (topic, partitions)
    }
}

impl From<Partition> for PartitionDocument {
    fn from(row: Partition) -> Self {
        let pair = |start: EpochStart| (start.epoch, start.start_offset);
        Self {
            partition: row.partition,
            replicas: row.replicas,
            owner: row.owner.0,
            leader_epoch: row.leader_epoch,
            epoch_starts: row.epoch_starts.into_iter().map(pair).collect(),
            log_start_offset: row.log_start_offset,
            committed_end_offset: row.committed_end_offset,
            readable_end_offset: row.readable_end_offset,
        }
    }
}

impl From<PartitionDocument> for Partition {
    fn from(document: PartitionDocument) -> Self {
        let start = |(epoch, start_offset)| EpochStart { epoch, start_offset };
        Self {
            partition: document.partition,
            replicas: document.replicas,
            owner: NodeId(document.owner),
            leader_epoch: document.leader_epoch,
            epoch_starts: document.epoch_starts.into_iter().map(start).collect(),
            log_start_offset: document.log_start_offset,
            committed_end_offset: document.committed_end_offset,
            readable_end_offset: document.readable_end_offset,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ObjectDocument {
    id: Id,
    key: String,
    /// 0 or 1
    level: u8,
    /// `registered`, `committed` or `dead`
    state: String,
    size: u64,
    footer_position: u64,
    created_ms: i64,
    /// (WAL file, from, to)
    origin: Option<(u64, u64, u64)>,
    extents: Vec<ExtentDocument>,
}

#[derive(Serialize, Deserialize)]
struct ExtentDocument {
    topic_id: Id,
    partition: i32,
    leader_epoch: i32,
    base_offset: i64,
    end_offset: i64,
    bytes: u64,
    first_position: u64,
    min_timestamp: i64,
    max_timestamp: i64,
}

impl From<ObjectRow> for ObjectDocument {
    fn from(row: ObjectRow) -> Self {
        Self {
            id: Id(row.id.0),
            key: row.key,
            level: match row.level {
                ObjectLevel::L0 => 0,
                ObjectLevel::L1 => 1,
            },
            state: row.state.to_string(),
            size: row.size,
            footer_position: row.footer_position,
            created_ms: row.created_ms,
            origin: row.origin.map(|range| (range.file_id, range.from, range.to)),
            extents: row.extents.into_iter().map(ExtentDocument::from).collect(),
        }
    }
}

impl TryFrom<ObjectDocument> for ObjectRow {
    type Error = Error;

    fn try_from(document: ObjectDocument) -> Result<Self> {
        let corrupt = |what| Error::Corrupt(format!("snapshot: object {}: {what}", document.id.0));
        let level = match document.level {
            0 => ObjectLevel::L0,
            1 => ObjectLevel::L1,
            other => return Err(corrupt(format!("unknown level {other}"))),
        };
        let state = match document.state.as_str() {
            "registered" => ObjectState::Registered,
            "committed" => ObjectState::Committed,
            "dead" => ObjectState::Dead,
            other => return Err(corrupt(format!("unknown state {other}"))),
        };
        Ok(Self {
            id: ObjectId(document.id.0),
            key: document.key,
            level,
            state,
            size: document.size,
            footer_position: document.footer_position,
            created_ms: document.created_ms,
            origin: document.origin.map(|(file_id, from, to)| WalRange { file_id, from, to }),
            extents: document.extents.into_iter().map(Extent::from).collect(),
        })
    }
}

impl From<Extent> for ExtentDocument {
    fn from(extent: Extent) -> Self {
        Self {
            topic_id: Id(extent.key.topic_id.0),
            partition: extent.key.partition,
            leader_epoch: extent.leader_epoch,
            base_offset: extent.base_offset,
            end_offset: extent.end_offset,
            bytes: extent.bytes,
            first_position: extent.first_position,
            min_timestamp: extent.min_timestamp,
            max_timestamp: extent.max_timestamp,
        }
    }
}

impl From<ExtentDocument> for Extent {
    fn from(document: ExtentDocument) -> Self {
        Self {
            key: PartitionKey {
                topic_id: TopicId(document.topic_id.0),
                partition: document.partition,
            },
            leader_epoch: document.leader_epoch,
            base_offset: document.base_offset,
            end_offset: document.end_offset,
            bytes: document.bytes,
            first_position: document.first_position,
            min_timestamp: document.min_timestamp,
            max_timestamp: document.max_timestamp,
        }
    }
}

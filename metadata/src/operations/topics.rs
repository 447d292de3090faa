//! Topics: creation, deletion, more partitions, and the image that brokers start from.

use std::collections::BTreeMap;

use common::{NodeId, PartitionKey, TopicId};

use crate::{
    error::{Error, Result},
    model::{Configs, EpochStart, Image, Partition, Topic},
    operations::objects,
    request::NewTopic,
    rows::{Partitions, Rows, TopicRow},
};

/// Topics and broker configurations at one moment.
pub(crate) async fn load(rows: &mut dyn Rows) -> Result<Image> {
    let cluster = rows.cluster().await?.ok_or(Error::NotInitialized)?;
    let mut by_topic = BTreeMap::<TopicId, Partitions>::new();
    for (key, partition) in rows.partitions().await? {
        by_topic.entry(key.topic_id).or_default().insert(key, partition);
    }
    let mut topics = Vec::new();
    for row in rows.topics().await? {
        let partitions = by_topic.remove(&row.id).unwrap_or_default();
        topics.push(assemble(row, partitions));
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let broker_configs = rows.broker_configs().await?;
    let group_configs = rows.group_configs().await?;
    Ok(Image { cluster_id: cluster.cluster_id, topics, broker_configs, group_configs })
}

/// Creates a topic whose partitions begin at offset 0, epoch 0, owned by `owner`.
pub(crate) async fn create(rows: &mut dyn Rows, owner: NodeId, new: NewTopic) -> Result<Topic> {
    if new.name.is_empty() || new.partitions.is_empty() {
        return Err(Error::InvalidRequest(format!(
            "topic {:?} with {} partitions",
            new.name,
            new.partitions.len()
        )));
    }
    if let Some(other) = rows.topic_named(&new.name).await? {
        return Err(Error::TopicExists { name: new.name, id: other.id });
    }
    if let Some(other) = rows.topic(new.id).await? {
        return Err(Error::TopicIdExists { id: new.id, name: other.name });
    }
    let row = TopicRow {
        id: new.id,
        name: new.name,
        internal: new.internal,
        configs: Configs { version: 0, values: new.configs },
        created_ms: new.created_ms,
        replication_factor: new.replication_factor,
    };
    let partitions = new_partitions(new.id, owner, 0, new.partitions);
    rows.put_topic(&row).await?;
    rows.put_partitions(&partitions).await?;
    Ok(assemble(row, partitions))
}

/// Deletes a topic, its partitions, and its extents in all objects, and stores a note of it.
pub(crate) async fn delete(rows: &mut dyn Rows, id: TopicId, note: Option<String>) -> Result<()> {
    if rows.topic(id).await?.is_none() {
        return Err(Error::UnknownTopic { id });
    }
    let holders = rows.objects_of_topic(id).await?;
    objects::drop_extents(rows, holders, |extent| extent.key.topic_id == id).await?;
    if let Some(note) = note {
        rows.put_pointer(&note, &[]).await?;
    }
    rows.delete_topic(id).await
}

/// Adds partitions behind the existing ones.
pub(crate) async fn add_partitions(
    rows: &mut dyn Rows,
    owner: NodeId,
    id: TopicId,
    expected_count: i32,
    replicas: Vec<Vec<i32>>,
) -> Result<Topic> {
    let row = rows.topic(id).await?.ok_or(Error::UnknownTopic { id })?;
    let mut partitions = rows.partitions_of(id).await?;
    let found = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
    if found != expected_count {
        return Err(Error::PartitionCountMismatch {
            topic_id: id,
            expected: expected_count,
            found,
        });
    }
    if replicas.is_empty() {
        return Err(Error::InvalidRequest(format!("no partitions to add to topic {}", row.name)));
    }
    let added = new_partitions(id, owner, found, replicas);
    rows.put_partitions(&added).await?;
    partitions.extend(added);
    Ok(assemble(row, partitions))
}

fn new_partitions(
    topic_id: TopicId,
    owner: NodeId,
    first: i32,
    replicas: Vec<Vec<i32>>,
) -> Partitions {
    let indexes = first..;
    let partition = |(partition, replicas)| Partition {
        partition,
        replicas,
        owner,
        leader_epoch: 0,
        epoch_starts: vec![EpochStart { epoch: 0, start_offset: 0 }],
        log_start_offset: 0,
        committed_end_offset: 0,
        readable_end_offset: None,
    };
    let keyed = |row: Partition| (PartitionKey { topic_id, partition: row.partition }, row);
    indexes.zip(replicas).map(partition).map(keyed).collect()
}

fn assemble(row: TopicRow, partitions: Partitions) -> Topic {
    Topic {
        id: row.id,
        name: row.name,
        internal: row.internal,
        configs: row.configs.values,
        config_version: row.configs.version,
        created_ms: row.created_ms,
        replication_factor: row.replication_factor,
        partitions: partitions.into_values().collect(),
    }
}

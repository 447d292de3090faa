//! Table `partitions`. Many rows are one statement: its argument is a JSON array that `json_each`
//! turns into rows, and `CROSS JOIN` keeps that array the outer loop.

use std::collections::BTreeMap;

use common::{NodeId, PartitionKey, TopicId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{error::before_commit, json};
use crate::{
    error::Result,
    model::{EpochStart, Partition},
    rows::{Partitions, Position},
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT p.topic_id, p.partition, p.replicas, p.owner, p.leader_epoch, ",
            "p.epoch_starts, p.log_start_offset, p.committed_end_offset, ",
            "p.readable_end_offset ",
            $tail
        )
    };
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Partitions> {
    let rows = sqlx::query(select!("FROM partitions AS p"))
        .fetch_all(connection)
        .await
        .map_err(before_commit)?;
    rows.iter().map(from_row).collect()
}

pub(super) async fn of_topic(
    connection: &mut SqliteConnection,
    topic_id: TopicId,
) -> Result<Partitions> {
    let rows = sqlx::query(select!("FROM partitions AS p WHERE p.topic_id = ?1"))
        .bind(topic_id.0.as_bytes().as_slice())
        .fetch_all(connection)
        .await
        .map_err(before_commit)?;
    rows.iter().map(from_row).collect()
}

pub(super) async fn at(
    connection: &mut SqliteConnection,
    keys: &[PartitionKey],
) -> Result<Partitions> {
    let rows = sqlx::query(select!(
        "FROM json_each(?1) AS k CROSS JOIN partitions AS p \
         ON p.topic_id = unhex(k.value ->> 0) AND p.partition = k.value ->> 1"
    ))
    .bind(json::keys(keys)?)
    .fetch_all(connection)
    .await
    .map_err(before_commit)?;
    rows.iter().map(from_row).collect()
}

pub(super) async fn positions(
    connection: &mut SqliteConnection,
    keys: &[PartitionKey],
) -> Result<BTreeMap<PartitionKey, Position>> {
    let rows: Vec<(Vec<u8>, i32, i32, i64)> = sqlx::query_as(
        "SELECT p.topic_id, p.partition, p.leader_epoch, p.committed_end_offset \
         FROM json_each(?1) AS k CROSS JOIN partitions AS p \
         ON p.topic_id = unhex(k.value ->> 0) AND p.partition = k.value ->> 1",
    )
    .bind(json::keys(keys)?)
    .fetch_all(connection)
    .await
    .map_err(before_commit)?;
    let position =
        |(topic_id, partition, leader_epoch, committed_end_offset): (Vec<u8>, _, _, _)| {
            Ok((key(&topic_id, partition)?, Position { leader_epoch, committed_end_offset }))
        };
    rows.into_iter().map(position).collect()
}

pub(super) async fn put(connection: &mut SqliteConnection, rows: &Partitions) -> Result<()> {
    let rows = json::keyed(rows.iter().map(|(key, row)| (*key, row)), |row| {
        let starts: Vec<_> =
            row.epoch_starts.iter().map(|start| (start.epoch, start.start_offset)).collect();
        Ok(format!(
            ",{},{},{},{},{},{},{}",
            json::encode(&row.replicas)?,
            row.owner,
            row.leader_epoch,
            json::encode(&starts)?,
            row.log_start_offset,
            row.committed_end_offset,
            json::encode(&row.readable_end_offset)?
        ))
    })?;
    sqlx::query(
        "INSERT INTO partitions (topic_id, partition, replicas, owner, leader_epoch, \
         epoch_starts, log_start_offset, committed_end_offset, readable_end_offset) \
         SELECT unhex(k.value ->> 0), k.value ->> 1, k.value -> 2, \
         k.value ->> 3, k.value ->> 4, k.value -> 5, k.value ->> 6, k.value ->> 7, \
         k.value ->> 8 \
         FROM json_each(?1) AS k WHERE true \
         ON CONFLICT (topic_id, partition) DO UPDATE SET replicas = excluded.replicas, \
         owner = excluded.owner, leader_epoch = excluded.leader_epoch, \
         epoch_starts = excluded.epoch_starts, log_start_offset = excluded.log_start_offset, \
         committed_end_offset = excluded.committed_end_offset, \
         readable_end_offset = excluded.readable_end_offset",
    )
    .bind(rows)
    .execute(connection)
    .await
    .map_err(before_commit)?;
    Ok(())
}

pub(super) async fn set_committed_ends(
    connection: &mut SqliteConnection,
    ends: &BTreeMap<PartitionKey, i64>,
) -> Result<()> {
    let ends = json::keyed(ends.iter().map(|(key, end)| (*key, end)), |end| Ok(format!(",{end}")))?;
    sqlx::query(
        "UPDATE partitions SET committed_end_offset = k.value ->> 2 FROM json_each(?1) AS k \
         WHERE partitions.topic_id = unhex(k.value ->> 0) \
         AND partitions.partition = k.value ->> 1",
    )
    .bind(ends)
    .execute(connection)
    .await
    .map_err(before_commit)?;
    Ok(())
}

pub(super) async fn bump_leader_epochs(
    connection: &mut SqliteConnection,
    owner: NodeId,
) -> Result<BTreeMap<PartitionKey, i32>> {
    let rows: Vec<(Vec<u8>, i32, i32)> = sqlx::query_as(
        "UPDATE partitions SET leader_epoch = leader_epoch + 1 WHERE owner = ?1 \
         RETURNING topic_id, partition, leader_epoch",
    )
    .bind(owner.0)
    .fetch_all(connection)
    .await
    .map_err(before_commit)?;
    let keyed =
        |(topic_id, partition, epoch): (Vec<u8>, _, _)| Ok((key(&topic_id, partition)?, epoch));
    rows.into_iter().map(keyed).collect()
}

fn from_row(row: &SqliteRow) -> Result<(PartitionKey, Partition)> {
    let topic_id: Vec<u8> = row.try_get("topic_id").map_err(before_commit)?;
    let partition = row.try_get("partition").map_err(before_commit)?;
    let replicas: String = row.try_get("replicas").map_err(before_commit)?;
    let starts: String = row.try_get("epoch_starts").map_err(before_commit)?;
    let starts: Vec<(i32, i64)> = json::decode("partitions.epoch_starts", &starts)?;
    let start = |(epoch, start_offset)| EpochStart { epoch, start_offset };
    let partition = Partition {
        partition,
        replicas: json::decode("partitions.replicas", &replicas)?,
        owner: NodeId(row.try_get("owner").map_err(before_commit)?),
        leader_epoch: row.try_get("leader_epoch").map_err(before_commit)?,
        epoch_starts: starts.into_iter().map(start).collect(),
        log_start_offset: row.try_get("log_start_offset").map_err(before_commit)?,
        committed_end_offset: row.try_get("committed_end_offset").map_err(before_commit)?,
        readable_end_offset: row.try_get("readable_end_offset").map_err(before_commit)?,
    };
    Ok((key(&topic_id, partition.partition)?, partition))
}

fn key(topic_id: &[u8], partition: i32) -> Result<PartitionKey> {
    Ok(PartitionKey { topic_id: TopicId(json::uuid(topic_id)?), partition })
}

//! Tables `objects` and `l1_extents`.
//!
//! The extents of an L0 object are one packed blob in its row; the extent of an L1 object is a
//! row that is found by its partition. Both are read into [`ObjectRow::extents`].

use std::collections::BTreeMap;

use common::{ObjectId, PartitionKey, TopicId};
use futures::TryStreamExt;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{error::before_commit, json, packed};
use crate::{
    error::{Error, Result},
    model::{Extent, ObjectLevel, ObjectRow, ObjectState, WalRange},
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT o.object_id, o.object_key, o.level, o.state, o.size, o.footer_position, ",
            "o.created_ms, o.origin_file_id, o.origin_from, o.origin_to, o.extents, ",
            "e.topic_id, e.partition, e.base_offset, e.end_offset, e.leader_epoch, e.bytes, ",
            "e.first_position, e.min_timestamp, e.max_timestamp ",
            "FROM objects AS o LEFT JOIN l1_extents AS e ON e.object_id = o.object_id ",
            $tail
        )
    };
}

pub(super) async fn at(
    connection: &mut SqliteConnection,
    ids: &[ObjectId],
) -> Result<BTreeMap<ObjectId, ObjectRow>> {
    let rows = sqlx::query(select!(
        "WHERE o.object_id IN (SELECT unhex(k.value) FROM json_each(?1) AS k)"
    ))
    .bind(json::ids(ids)?)
    .fetch_all(connection)
    .await
    .map_err(before_commit)?;
    rows.iter().map(|row| from_row(row).map(|object| (object.id, object))).collect()
}

pub(super) async fn id_of_key(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Option<ObjectId>> {
    let id: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT object_id FROM objects WHERE object_key = ?1")
            .bind(key)
            .fetch_optional(connection)
            .await
            .map_err(before_commit)?;
    id.map(|id| Ok(ObjectId(json::uuid(&id)?))).transpose()
}

pub(super) async fn in_state(
    connection: &mut SqliteConnection,
    state: ObjectState,
    limit: usize,
) -> Result<Vec<ObjectRow>> {
    let rows =
        sqlx::query(select!("WHERE o.state = ?1 ORDER BY o.created_ms, o.object_id LIMIT ?2"))
            .bind(state_to_column(state))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .map_err(before_commit)?;
    rows.iter().map(from_row).collect()
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<ObjectRow>> {
    let rows = sqlx::query(select!("ORDER BY o.object_id"))
        .fetch_all(connection)
        .await
        .map_err(before_commit)?;
    rows.iter().map(from_row).collect()
}

pub(super) async fn below(
    connection: &mut SqliteConnection,
    offsets: &BTreeMap<PartitionKey, i64>,
) -> Result<Vec<ObjectRow>> {
    let ends = |extent: &Extent| {
        offsets.get(&extent.key).is_some_and(|&offset| extent.end_offset <= offset)
    };
    let mut found = l0_holding(connection, ends).await?;
    let argument = json::keyed(offsets.iter().map(|(key, offset)| (*key, offset)), |offset| {
        Ok(format!(",{offset}"))
    })?;
    let rows = sqlx::query(select!(
        "WHERE o.object_id IN (SELECT x.object_id \
         FROM json_each(?1) AS k CROSS JOIN l1_extents AS x \
         ON x.topic_id = unhex(k.value ->> 0) AND x.partition = k.value ->> 1 \
         AND x.base_offset < k.value ->> 2 AND x.end_offset <= k.value ->> 2)"
    ))
    .bind(argument)
    .fetch_all(connection)
    .await
    .map_err(before_commit)?;
    for row in &rows {
        found.push(from_row(row)?);
    }
    Ok(found)
}

pub(super) async fn of_topic(
    connection: &mut SqliteConnection,
    topic_id: TopicId,
) -> Result<Vec<ObjectRow>> {
    let mut found = l0_holding(connection, |extent| extent.key.topic_id == topic_id).await?;
    let rows = sqlx::query(select!("WHERE e.topic_id = ?1"))
        .bind(topic_id.0.as_bytes().as_slice())
        .fetch_all(connection)
        .await
        .map_err(before_commit)?;
    for row in &rows {
        found.push(from_row(row)?);
    }
    Ok(found)
}

/// The committed L0 objects with an extent of a kind. Reads all of their blobs, one at a time.
async fn l0_holding(
    connection: &mut SqliteConnection,
    holds: impl Fn(&Extent) -> bool,
) -> Result<Vec<ObjectRow>> {
    let mut rows = sqlx::query(select!("WHERE o.state = ?1 AND o.level = ?2"))
        .bind(state_to_column(ObjectState::Committed))
        .bind(level_to_column(ObjectLevel::L0))
        .fetch(connection);
    let mut found = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(before_commit)? {
        let object = from_row(&row)?;
        if object.extents.iter().any(&holds) {
            found.push(object);
        }
    }
    Ok(found)
}

pub(super) async fn put(connection: &mut SqliteConnection, row: &ObjectRow) -> Result<()> {
    let packed = (row.level == ObjectLevel::L0 && !row.extents.is_empty())
        .then(|| packed::encode(&row.extents));
    let origin = row.origin.as_ref();
    sqlx::query(
        "INSERT INTO objects VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
         ON CONFLICT (object_id) DO UPDATE SET state = excluded.state, size = excluded.size, \
         footer_position = excluded.footer_position, extents = excluded.extents",
    )
    .bind(row.id.0.as_bytes().as_slice())
    .bind(&row.key)
    .bind(level_to_column(row.level))
    .bind(state_to_column(row.state))
    .bind(to_column(row.size)?)
    .bind(to_column(row.footer_position)?)
    .bind(row.created_ms)
    .bind(origin.map(|range| to_column(range.file_id)).transpose()?)
    .bind(origin.map(|range| to_column(range.from)).transpose()?)
    .bind(origin.map(|range| to_column(range.to)).transpose()?)
    .bind(packed)
    .execute(&mut *connection)
    .await
    .map_err(before_commit)?;
    match row.level {
        ObjectLevel::L0 => Ok(()),
        ObjectLevel::L1 => put_l1_extents(connection, row).await,
    }
}

async fn put_l1_extents(connection: &mut SqliteConnection, row: &ObjectRow) -> Result<()> {
    let object_id = row.id.0.as_bytes().as_slice();
    sqlx::query("DELETE FROM l1_extents WHERE object_id = ?1")
        .bind(object_id)
        .execute(&mut *connection)
        .await
        .map_err(before_commit)?;
    for extent in &row.extents {
        sqlx::query("INSERT INTO l1_extents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")
            .bind(extent.key.topic_id.0.as_bytes().as_slice())
            .bind(extent.key.partition)
            .bind(extent.base_offset)
            .bind(extent.end_offset)
            .bind(extent.leader_epoch)
            .bind(to_column(extent.bytes)?)
            .bind(to_column(extent.first_position)?)
            .bind(extent.min_timestamp)
            .bind(extent.max_timestamp)
            .bind(object_id)
            .execute(&mut *connection)
            .await
            .map_err(before_commit)?;
    }
    Ok(())
}

/// Deletes objects; extents of L1 objects go by the foreign key.
pub(super) async fn delete(connection: &mut SqliteConnection, ids: &[ObjectId]) -> Result<()> {
    sqlx::query(
        "DELETE FROM objects WHERE object_id IN (SELECT unhex(k.value) FROM json_each(?1) AS k)",
    )
    .bind(json::ids(ids)?)
    .execute(connection)
    .await
    .map_err(before_commit)?;
    Ok(())
}

fn from_row(row: &SqliteRow) -> Result<ObjectRow> {
    let id: Vec<u8> = row.try_get("object_id").map_err(before_commit)?;
    let packed: Option<Vec<u8>> = row.try_get("extents").map_err(before_commit)?;
    let id = ObjectId(json::uuid(&id)?);
    let level = level_from_column(row.try_get("level").map_err(before_commit)?)?;
    let extents = match (level, packed) {
        (ObjectLevel::L0, Some(blob)) => {
            packed::decode(&blob).map_err(|error| in_object(error, id))?
        }
        (ObjectLevel::L0, None) => Vec::new(),
        (ObjectLevel::L1, _) => l1_extent(row)?.into_iter().collect(),
    };
    Ok(ObjectRow {
        id,
        key: row.try_get("object_key").map_err(before_commit)?,
        level,
        state: state_from_column(row.try_get("state").map_err(before_commit)?)?,
        size: from_column(row, "size")?,
        footer_position: from_column(row, "footer_position")?,
        created_ms: row.try_get("created_ms").map_err(before_commit)?,
        origin: origin(row)?,
        extents,
    })
}

fn origin(row: &SqliteRow) -> Result<Option<WalRange>> {
    let file_id: Option<i64> = row.try_get("origin_file_id").map_err(before_commit)?;
    if file_id.is_none() {
        return Ok(None);
    }
    Ok(Some(WalRange {
        file_id: from_column(row, "origin_file_id")?,
        from: from_column(row, "origin_from")?,
        to: from_column(row, "origin_to")?,
    }))
}

fn l1_extent(row: &SqliteRow) -> Result<Option<Extent>> {
    let topic_id: Option<Vec<u8>> = row.try_get("topic_id").map_err(before_commit)?;
    let Some(topic_id) = topic_id else { return Ok(None) };
    Ok(Some(Extent {
        key: PartitionKey {
            topic_id: TopicId(json::uuid(&topic_id)?),
            partition: row.try_get("partition").map_err(before_commit)?,
        },
        leader_epoch: row.try_get("leader_epoch").map_err(before_commit)?,
        base_offset: row.try_get("base_offset").map_err(before_commit)?,
        end_offset: row.try_get("end_offset").map_err(before_commit)?,
        bytes: from_column(row, "bytes")?,
        first_position: from_column(row, "first_position")?,
        min_timestamp: row.try_get("min_timestamp").map_err(before_commit)?,
        max_timestamp: row.try_get("max_timestamp").map_err(before_commit)?,
    }))
}

fn in_object(error: Error, id: ObjectId) -> Error {
    match error {
        Error::Corrupt(what) => Error::Corrupt(format!("object {id}: {what}")),
        other => other,
    }
}

fn to_column(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::InvalidRequest(format!("{value} is too large")))
}

fn from_column(row: &SqliteRow, column: &'static str) -> Result<u64> {
    let value: i64 = row.try_get(column).map_err(before_commit)?;
    u64::try_from(value).map_err(|_| Error::Corrupt(format!("objects.{column} is {value}")))
}

// The numbers are persisted: keep them stable.

fn level_to_column(level: ObjectLevel) -> i64 {
    match level {
        ObjectLevel::L0 => 0,
        ObjectLevel::L1 => 1,
    }
}

fn level_from_column(value: i64) -> Result<ObjectLevel> {
    match value {
        0 => Ok(ObjectLevel::L0),
        1 => Ok(ObjectLevel::L1),
        other => Err(Error::Corrupt(format!("objects.level is {other}"))),
    }
}

fn state_to_column(state: ObjectState) -> i64 {
    match state {
        ObjectState::Registered => 0,
        ObjectState::Committed => 1,
        ObjectState::Dead => 2,
    }
}

fn state_from_column(value: i64) -> Result<ObjectState> {
    match value {
        0 => Ok(ObjectState::Registered),
        1 => Ok(ObjectState::Committed),
        2 => Ok(ObjectState::Dead),
        other => Err(Error::Corrupt(format!("objects.state is {other}"))),
    }
}

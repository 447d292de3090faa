//! Table `topics`.

use common::TopicId;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{error::before_commit, json};
use crate::{error::Result, model::Configs, rows::TopicRow};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT topic_id, name, internal, configs, config_version, created_ms, ",
            "replication_factor FROM topics ",
            $tail
        )
    };
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<TopicRow>> {
    let rows = sqlx::query(select!("ORDER BY topic_id"))
        .fetch_all(connection)
        .await
        .map_err(before_commit)?;
    rows.iter().map(from_row).collect()
}

pub(super) async fn by_id(
    connection: &mut SqliteConnection,
    id: TopicId,
) -> Result<Option<TopicRow>> {
    let row = sqlx::query(select!("WHERE topic_id = ?1"))
        .bind(id.0.as_bytes().as_slice())
        .fetch_optional(connection)
        .await
        .map_err(before_commit)?;
    row.as_ref().map(from_row).transpose()
}

pub(super) async fn by_name(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Option<TopicRow>> {
    let row = sqlx::query(select!("WHERE name = ?1"))
        .bind(name)
        .fetch_optional(connection)
        .await
        .map_err(before_commit)?;
    row.as_ref().map(from_row).transpose()
}

pub(super) async fn put(connection: &mut SqliteConnection, row: &TopicRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO topics VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (topic_id) DO UPDATE SET name = excluded.name, \
         internal = excluded.internal, configs = excluded.configs, \
         config_version = excluded.config_version, created_ms = excluded.created_ms, \
         replication_factor = excluded.replication_factor",
    )
    .bind(row.id.0.as_bytes().as_slice())
    .bind(&row.name)
    .bind(row.internal)
    .bind(json::encode(&row.configs.values)?)
    .bind(row.configs.version)
    .bind(row.created_ms)
    .bind(row.replication_factor)
    .execute(connection)
    .await
    .map_err(before_commit)?;
    Ok(())
}

/// Deletes the topic; its partitions go by the foreign key.
pub(super) async fn delete(connection: &mut SqliteConnection, id: TopicId) -> Result<()> {
    sqlx::query("DELETE FROM topics WHERE topic_id = ?1")
        .bind(id.0.as_bytes().as_slice())
        .execute(connection)
        .await
        .map_err(before_commit)?;
    Ok(())
}

fn from_row(row: &SqliteRow) -> Result<TopicRow> {
    let id: Vec<u8> = row.try_get("topic_id").map_err(before_commit)?;
    let configs: String = row.try_get("configs").map_err(before_commit)?;
    let version = row.try_get("config_version").map_err(before_commit)?;
    Ok(TopicRow {
        id: TopicId(json::uuid(&id)?),
        name: row.try_get("name").map_err(before_commit)?,
        internal: row.try_get("internal").map_err(before_commit)?,
        configs: Configs { version, values: json::decode("topics.configs", &configs)? },
        created_ms: row.try_get("created_ms").map_err(before_commit)?,
        replication_factor: row.try_get("replication_factor").map_err(before_commit)?,
    })
}

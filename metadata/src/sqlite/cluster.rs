//! Tables `cluster` and `sessions`.

use std::collections::BTreeMap;

use common::NodeId;
use sqlx::SqliteConnection;

use super::error::before_commit;
use crate::{error::Result, rows::ClusterRow};

pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Option<ClusterRow>> {
    let row: Option<(String, i64)> =
        sqlx::query_as("SELECT cluster_id, next_producer_id FROM cluster")
            .fetch_optional(connection)
            .await
            .map_err(before_commit)?;
    Ok(row.map(|(cluster_id, next_producer_id)| ClusterRow { cluster_id, next_producer_id }))
}

pub(super) async fn put(connection: &mut SqliteConnection, row: &ClusterRow) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO cluster VALUES (1, ?1, ?2)")
        .bind(&row.cluster_id)
        .bind(row.next_producer_id)
        .execute(connection)
        .await
        .map_err(before_commit)?;
    Ok(())
}

pub(super) async fn sessions(connection: &mut SqliteConnection) -> Result<BTreeMap<NodeId, i64>> {
    let rows: Vec<(i32, i64)> = sqlx::query_as("SELECT node_id, session_epoch FROM sessions")
        .fetch_all(connection)
        .await
        .map_err(before_commit)?;
    Ok(rows.into_iter().map(|(node_id, epoch)| (NodeId(node_id), epoch)).collect())
}

pub(super) async fn session_epoch(
    connection: &mut SqliteConnection,
    node_id: NodeId,
) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT session_epoch FROM sessions WHERE node_id = ?1")
        .bind(node_id.0)
        .fetch_optional(connection)
        .await
        .map_err(before_commit)
}

pub(super) async fn put_session(
    connection: &mut SqliteConnection,
    node_id: NodeId,
    epoch: i64,
) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO sessions VALUES (?1, ?2)")
        .bind(node_id.0)
        .bind(epoch)
        .execute(connection)
        .await
        .map_err(before_commit)?;
    Ok(())
}

//! Table `broker_configs`. What applies to all brokers is stored under node id -1.

use std::collections::BTreeMap;

use common::NodeId;
use sqlx::SqliteConnection;

use super::{error::before_commit, json};
use crate::{error::Result, model::Configs};

const ALL_BROKERS: i32 = -1;

pub(super) async fn all(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<Option<NodeId>, Configs>> {
    let rows: Vec<(i32, i64, String)> =
        sqlx::query_as("SELECT node_id, version, configs FROM broker_configs")
            .fetch_all(connection)
            .await
            .map_err(before_commit)?;
    let mut configs = BTreeMap::new();
    for (node_id, version, values) in rows {
        let broker = (node_id != ALL_BROKERS).then_some(NodeId(node_id));
        let values = json::decode("broker_configs.configs", &values)?;
        configs.insert(broker, Configs { version, values });
    }
    Ok(configs)
}

pub(super) async fn put(
    connection: &mut SqliteConnection,
    broker: Option<NodeId>,
    configs: &Configs,
) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO broker_configs VALUES (?1, ?2, ?3)")
        .bind(broker.map_or(ALL_BROKERS, |id| id.0))
        .bind(configs.version)
        .bind(json::encode(&configs.values)?)
        .execute(connection)
        .await
        .map_err(before_commit)?;
    Ok(())
}

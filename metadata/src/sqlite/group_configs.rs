//! Table `group_configs`.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::{error::before_commit, json};
use crate::{error::Result, model::Configs};

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<BTreeMap<String, Configs>> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT group_id, version, configs FROM group_configs")
            .fetch_all(connection)
            .await
            .map_err(before_commit)?;
    let mut configs = BTreeMap::new();
    for (group_id, version, values) in rows {
        let values = json::decode("group_configs.configs", &values)?;
        configs.insert(group_id, Configs { version, values });
    }
    Ok(configs)
}

pub(super) async fn put(
    connection: &mut SqliteConnection,
    group_id: &str,
    configs: &Configs,
) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO group_configs VALUES (?1, ?2, ?3)")
        .bind(group_id)
        .bind(configs.version)
        .bind(json::encode(&configs.values)?)
        .execute(connection)
        .await
        .map_err(before_commit)?;
    Ok(())
}

//! Table `pointers`.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::error::before_commit;
use crate::error::Result;

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<BTreeMap<String, Vec<u8>>> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT name, value FROM pointers")
        .fetch_all(connection)
        .await
        .map_err(before_commit)?;
    Ok(rows.into_iter().collect())
}

pub(super) async fn read(connection: &mut SqliteConnection, name: &str) -> Result<Option<Vec<u8>>> {
    sqlx::query_scalar("SELECT value FROM pointers WHERE name = ?1")
        .bind(name)
        .fetch_optional(connection)
        .await
        .map_err(before_commit)
}

pub(super) async fn put(connection: &mut SqliteConnection, name: &str, value: &[u8]) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO pointers VALUES (?1, ?2)")
        .bind(name)
        .bind(value)
        .execute(connection)
        .await
        .map_err(before_commit)?;
    Ok(())
}

pub(super) async fn names(connection: &mut SqliteConnection, prefix: &str) -> Result<Vec<String>> {
    sqlx::query_scalar("SELECT name FROM pointers WHERE name >= ?1 AND name < ?2 ORDER BY name")
        .bind(prefix)
        .bind(format!("{prefix}{}", char::MAX))
        .fetch_all(connection)
        .await
        .map_err(before_commit)
}

pub(super) async fn delete(connection: &mut SqliteConnection, name: &str) -> Result<()> {
    sqlx::query("DELETE FROM pointers WHERE name = ?1")
        .bind(name)
        .execute(connection)
        .await
        .map_err(before_commit)?;
    Ok(())
}

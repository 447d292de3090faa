//! `/api/v1/tables`: what tables there are, how they are doing, and what can be done with them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use lakehouse_sink::{ReplayError, TableStatus};
use serde::{Deserialize, Serialize};
use table::{
    dry_run::DryRunError,
    state::Gap,
    table::{Table, TableError},
};

use super::{Slot, not_ready};
use crate::{
    output::{self, ColumnInfo},
    running::Failure,
};

/// Records of a dry run where the request does not say.
const DRY_RUN_RECORDS: usize = 1000;

/// A table as the API shows it.
#[derive(Debug, Serialize)]
struct TableInfo {
    /// As SQL has it.
    name: String,
    /// The name of its dead-letter table.
    dead_letters: String,
    topic: String,
    location: String,
    incarnation: u32,
    schema_version: Option<u32>,
    columns: Vec<ColumnInfo>,
    gaps: Vec<Gap>,
    #[serde(flatten)]
    status: Option<TableStatus>,
    /// How far a rebuild is.
    rebuild: Option<TableStatus>,
}

#[derive(Debug, Serialize)]
struct TableList {
    tables: Vec<TableInfo>,
    refused: Vec<RefusedInfo>,
}

#[derive(Debug, Serialize)]
struct RefusedInfo {
    topic: String,
    reason: String,
}

pub(super) async fn list(State(slot): State<Slot>) -> Response {
    let Some(parts) = slot.get() else { return not_ready() };
    let info = |table: Arc<Table>| TableInfo {
        name: table.name().to_owned(),
        dead_letters: table.dead_letters().to_string(),
        topic: table.topic().to_owned(),
        location: parts.sink.store().location(&table.directory()).to_string(),
        incarnation: table.incarnation(),
        schema_version: table.schema().map(|schema| schema.version),
        columns: table.schema().map(|s| output::columns(&s.arrow())).unwrap_or_default(),
        gaps: table.gaps(),
        status: parts.sink.status(table.topic_id()),
        rebuild: parts.sink.rebuild_status(table.topic_id()),
    };
    let refused = parts.catalog.refused().into_iter();
    let list = TableList {
        tables: parts.catalog.tables().into_iter().map(info).collect(),
        refused: refused
            .map(|refused| RefusedInfo { topic: refused.topic, reason: refused.reason })
            .collect(),
    };
    Json(list).into_response()
}

/// What a rebuild is asked for with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rebuild {
    /// Whether rows may be lost whose records the log no longer has.
    #[serde(default)]
    allow_loss: bool,
}

pub(super) async fn rebuild(
    State(slot): State<Slot>,
    Path(name): Path<String>,
    request: Option<Json<Rebuild>>,
) -> Response {
    let Some(parts) = slot.get() else { return not_ready() };
    let Json(Rebuild { allow_loss }) = request.unwrap_or_default();
    match parts.catalog.rebuild(&name, allow_loss, parts.clock.now_ms()).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => failed(&error),
    }
}

/// What a replay is asked for with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    /// An SQL expression that mends the values.
    fix: Option<String>,
}

pub(super) async fn replay(
    State(slot): State<Slot>,
    Path(name): Path<String>,
    request: Option<Json<Replay>>,
) -> Response {
    let Some(parts) = slot.get() else { return not_ready() };
    let Json(Replay { fix }) = request.unwrap_or_default();
    let sink = Arc::clone(&parts.sink);
    // It goes on if the client does not wait for it.
    match parts.threads.spawn(async move { sink.replay(&name, fix.as_deref()).await }).await {
        Ok(Ok(replayed)) => Json(replayed).into_response(),
        Ok(Err(error @ ReplayError::Busy)) => {
            let failure = Failure { error: error.to_string(), sql_state: "55006" };
            (StatusCode::CONFLICT, Json(failure)).into_response()
        }
        Ok(Err(ReplayError::Sink(error))) => unavailable(error.to_string()),
        Ok(Err(error)) => refused(error.to_string()),
        Err(ended) => ended_early(&ended),
    }
}

fn ended_early(ended: &tokio::task::JoinError) -> Response {
    let failure = Failure { error: format!("the run ended early: {ended}"), sql_state: "XX000" };
    (StatusCode::INTERNAL_SERVER_ERROR, Json(failure)).into_response()
}

/// What a dry run is asked for with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DryRunRequest {
    /// Keys that are to have other values.
    #[serde(default)]
    configs: BTreeMap<String, String>,
    /// How many records to look at.
    records: Option<usize>,
}

pub(super) async fn dry_run(
    State(slot): State<Slot>,
    Path(topic): Path<String>,
    request: Option<Json<DryRunRequest>>,
) -> Response {
    let Some(parts) = slot.get() else { return not_ready() };
    let Json(DryRunRequest { configs, records }) = request.unwrap_or_default();
    let catalog = Arc::clone(&parts.catalog);
    let run =
        async move { catalog.dry_run(&topic, &configs, records.unwrap_or(DRY_RUN_RECORDS)).await };
    // Decoding takes time: not on the threads that serve requests.
    match parts.threads.spawn(run).await {
        Ok(Ok(found)) => Json(found).into_response(),
        Ok(Err(DryRunError::Table(error))) => failed(&error),
        Ok(Err(error)) => refused(error.to_string()),
        Err(ended) => ended_early(&ended),
    }
}

fn failed(error: &TableError) -> Response {
    if let TableError::Rebuild(_) = error {
        return refused(error.to_string());
    }
    unavailable(error.to_string())
}

fn unavailable(error: String) -> Response {
    let failure = Failure { error, sql_state: "58030" };
    (StatusCode::SERVICE_UNAVAILABLE, Json(failure)).into_response()
}

fn refused(error: String) -> Response {
    let failure = Failure { error, sql_state: "22023" };
    (StatusCode::BAD_REQUEST, Json(failure)).into_response()
}

//! Queries that run, over HTTP.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Slot, not_ready};
use crate::running::{Failure, QueryInfo};

#[derive(Debug, Serialize)]
struct QueryList {
    queries: Vec<QueryInfo>,
}

/// A query as it is or as it ended.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum QueryState {
    Running(QueryInfo),
    Failed(Failure),
}

/// `GET /api/v1/queries`.
pub(super) async fn list(State(slot): State<Slot>) -> Response {
    let Some(parts) = slot.get() else { return not_ready() };
    Json(QueryList { queries: parts.engine.queries().list() }).into_response()
}

/// `GET /api/v1/queries/{id}`: also of one that failed a short while ago.
pub(super) async fn show(State(slot): State<Slot>, Path(id): Path<u64>) -> Response {
    let Some(parts) = slot.get() else { return not_ready() };
    let queries = parts.engine.queries();
    let running = queries.get(id).map(QueryState::Running);
    match running.or_else(|| queries.failure(id).map(QueryState::Failed)) {
        Some(state) => Json(state).into_response(),
        None => unknown(id),
    }
}

/// `DELETE /api/v1/queries/{id}`.
pub(super) async fn cancel(State(slot): State<Slot>, Path(id): Path<u64>) -> Response {
    let Some(parts) = slot.get() else { return not_ready() };
    if parts.engine.queries().cancel(id) {
        return StatusCode::NO_CONTENT.into_response();
    }
    unknown(id)
}

fn unknown(id: u64) -> Response {
    let failure = Failure { error: format!("no query {id} runs"), sql_state: "02000" };
    (StatusCode::NOT_FOUND, Json(failure)).into_response()
}

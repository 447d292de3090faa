//! `/live`: the process answers. `/ready`: clients are served and metadata answers. `/health`: what
//! a person wants to see first.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::{Phase, Status};

/// Longest wait for the metadata store before the broker counts as not ready.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// `/`: the list of endpoints.
pub(super) async fn index() -> Json<Value> {
    Json(json!({
        "name": "streamhouse",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": ["/health", "/live", "/metrics", "/ready"],
    }))
}

/// `/live`: 200 for as long as the process answers at all.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// `/ready`: 200 only while clients are served.
pub(super) async fn ready(State(status): State<Status>) -> (StatusCode, Json<Value>) {
    let phase = status.phase();
    if phase != Phase::Serving {
        return unavailable(phase.name(), None);
    }
    match metadata_failure(&status).await {
        None => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Some(reason) => unavailable("metadata unavailable", Some(reason)),
    }
}

/// `/health`: the broker's identity, age and size; 503 where it is not ready.
pub(super) async fn health(State(status): State<Status>) -> (StatusCode, Json<Value>) {
    let phase = status.phase();
    let mut body = json!({
        "status": phase.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": status.uptime().as_secs(),
    });
    if let Some(broker) = status.broker() {
        let (log, image) = (broker.log.stats(), broker.catalog.image());
        body["node_id"] = json!(broker.node_id.0);
        body["cluster_id"] = json!(broker.cluster_id);
        body["topics"] = json!(image.len());
        body["partitions"] = json!(log.partitions);
        body["wal_bytes"] = json!(log.wal_bytes);
        body["tail_bytes"] = json!(log.tail_bytes);
        body["task_panics"] = json!(broker.spawner.panics());
    }
    let failure = metadata_failure(&status).await;
    let is_healthy = phase == Phase::Serving && failure.is_none();
    if let Some(reason) = failure {
        body["metadata"] = json!(reason);
    }
    let code = if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body))
}

async fn metadata_failure(status: &Status) -> Option<String> {
    let broker = status.broker()?;
    match tokio::time::timeout(PING_TIMEOUT, broker.metadata.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the metadata store does not answer".to_owned()),
    }
}

fn unavailable(state: &str, reason: Option<String>) -> (StatusCode, Json<Value>) {
    let body = match reason {
        Some(reason) => json!({ "status": state, "reason": reason }),
        None => json!({ "status": state }),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}

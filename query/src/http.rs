//! SQL over HTTP.
//!
//! `POST /api/v1/query` takes `{"sql": …, "format": "json" | "ndjson" | "csv" | "arrow",
//! "limit": rows, "timeout_ms": …}` or the statement as plain text. JSON answers come whole, with
//! at most `limit` rows and `truncated` if there were more; the others stream. Closing the
//! connection cancels the query. Errors are `{"error", "sql_state"}`. The header
//! `streamhouse-query-id` names the query from the beginning of its answer.
//! `GET /api/v1/queries` lists what runs, `DELETE /api/v1/queries/{id}` cancels.
//! `GET /api/v1/tables` lists the tables and how they are doing; `POST /api/v1/tables/{name}/rebuild`
//! builds one anew, `POST /api/v1/tables/{topic}/dry-run` says what a configuration would do.

mod running;
mod tables;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arrow::array::RecordBatch;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use common::clock::SharedClock;
use datafusion::error::DataFusionError;
use futures::TryStreamExt as _;
use lakehouse_sink::Sink;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use table::catalog::TableCatalog;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    engine::{Answer, QueryEngine, TIMEOUT_DEFAULT},
    error::QueryError,
    output::{self, ColumnInfo, Format, RowsWriter},
    running::Failure,
};

/// Rows of a JSON answer where the request does not say.
const LIMIT_DEFAULT: usize = 10_000;
/// Longest statement, bytes.
const SQL_BYTES_MAX: usize = 1 << 20;
/// The header with a query's id.
const ID_HEADER: &str = "streamhouse-query-id";

/// What the endpoints work with, once the broker has started.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Runs statements.
    pub engine: Arc<QueryEngine>,
    /// Which topics are tables.
    pub catalog: Arc<TableCatalog>,
    /// Writes them.
    pub sink: Arc<Sink>,
    /// Time.
    pub clock: SharedClock,
    /// Where statements run, apart from the threads that serve the requests.
    pub threads: tokio::runtime::Handle,
}

/// A place for the parts, which are there only after the start.
pub type Slot = Arc<OnceLock<Parts>>;

/// The endpoints.
pub fn router(slot: Slot) -> Router {
    Router::new()
        .route("/api/v1/query", post(query))
        .route("/api/v1/queries", get(running::list))
        .route("/api/v1/queries/{id}", get(running::show).delete(running::cancel))
        .route("/api/v1/tables", get(tables::list))
        .route("/api/v1/tables/{name}/rebuild", post(tables::rebuild))
        .route("/api/v1/tables/{name}/replay", post(tables::replay))
        .route("/api/v1/tables/{topic}/dry-run", post(tables::dry_run))
        .layer(axum::extract::DefaultBodyLimit::max(SQL_BYTES_MAX))
        .with_state(slot)
}

/// A request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    sql: String,
    #[serde(default)]
    format: Format,
    limit: Option<usize>,
    timeout_ms: Option<u64>,
}

/// The same in the query string, for a statement as plain text.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(default)]
    format: Format,
    limit: Option<usize>,
    timeout_ms: Option<u64>,
}

/// A JSON answer.
#[derive(Debug, Serialize)]
struct Whole {
    columns: Vec<ColumnInfo>,
    rows: Box<RawValue>,
    row_count: usize,
    truncated: bool,
    took_ms: u64,
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Syntax(_) | Self::NotOne(_) | Self::Plan(_) | Self::ReadOnly(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Timeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Execution(_) | Self::Output(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // Waited too long, or cancelled.
        let status = if self.sql_state() == "57014" { StatusCode::REQUEST_TIMEOUT } else { status };
        let failure = Failure { sql_state: self.sql_state(), error: self.to_string() };
        (status, Json(failure)).into_response()
    }
}

fn not_ready() -> Response {
    let failure = Failure { error: "the broker is starting".to_owned(), sql_state: "57P03" };
    (StatusCode::SERVICE_UNAVAILABLE, Json(failure)).into_response()
}

async fn query(
    State(slot): State<Slot>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(parts) = slot.get() else { return not_ready() };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(|kind| kind.starts_with("application/json"));
    let request = if is_json || body.first() == Some(&b'{') {
        match serde_json::from_slice::<Request>(&body) {
            Ok(request) => request,
            Err(error) => {
                return QueryError::Syntax(format!("the request: {error}")).into_response();
            }
        }
    } else {
        let Parameters { format, limit, timeout_ms } = parameters;
        Request { sql: String::from_utf8_lossy(&body).into_owned(), format, limit, timeout_ms }
    };
    // Dropping the task's handle, as a closed connection does, cancels the query.
    let task = parts.threads.spawn(run(parts.clone(), request));
    match AbortOnDropHandle::new(task).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => error.into_response(),
        Err(ended) => {
            let error = DataFusionError::Execution(format!("the query ended early: {ended}"));
            QueryError::Execution(error).into_response()
        }
    }
}

async fn run(parts: Parts, request: Request) -> Result<Response, QueryError> {
    let started = parts.clock.monotonic();
    let time = request.timeout_ms.map_or(TIMEOUT_DEFAULT, Duration::from_millis);
    let answer = parts.engine.query_within(&request.sql, time).await?;
    let id = answer.id;
    if request.format != Format::Json {
        let limit = request.limit.unwrap_or(usize::MAX);
        // Two pieces: one being sent while the next is made.
        let (sender, receiver) = mpsc::channel(2);
        let engine = Arc::clone(&parts.engine);
        parts.threads.spawn(async move {
            let sent = send_rows(answer, request.format, limit, &sender);
            // Nobody waits for an answer that nobody reads.
            let sent = tokio::select! {
                sent = within(time, sent) => sent,
                () = sender.closed() => return,
            };
            if let Err(error) = sent {
                engine.queries().failed(id, &error);
                // What fails on the way breaks the connection off before its end, so that nobody
                // takes a part for the whole. Nobody reads any more if this fails.
                let _ = sender.send(Err(error)).await;
            }
        });
        let body = Body::from_stream(ReceiverStream::new(receiver));
        let headers = [
            (header::CONTENT_TYPE, request.format.content_type().to_owned()),
            (HeaderName::from_static(ID_HEADER), id.to_string()),
        ];
        return Ok((headers, body).into_response());
    }
    let columns = output::columns(&answer.schema);
    let limit = request.limit.unwrap_or(LIMIT_DEFAULT);
    let (rows, truncated) = within(time, collect(answer, limit)).await?;
    let whole = Whole {
        columns,
        row_count: rows.iter().map(RecordBatch::num_rows).sum(),
        rows: output::json_rows(&rows)?,
        truncated,
        took_ms: u64::try_from(parts.clock.monotonic().saturating_sub(started).as_millis())
            .unwrap_or(u64::MAX),
    };
    Ok(([(HeaderName::from_static(ID_HEADER), id.to_string())], Json(whole)).into_response())
}

/// With a bound on its time.
async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, QueryError>>,
) -> Result<T, QueryError> {
    let limit_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    timeout(time, work).await.map_err(|_| QueryError::Timeout { limit_ms })?
}

/// Up to `limit` rows, and whether there were more.
async fn collect(mut answer: Answer, limit: usize) -> Result<(Vec<RecordBatch>, bool), QueryError> {
    let (mut batches, mut room) = (Vec::new(), limit);
    while let Some(batch) = answer.rows.try_next().await.map_err(QueryError::Execution)? {
        if batch.num_rows() > room {
            batches.push(batch.slice(0, room));
            return Ok((batches, true));
        }
        room -= batch.num_rows();
        batches.push(batch);
    }
    Ok((batches, false))
}

/// Sends rows as they come.
async fn send_rows(
    mut answer: Answer,
    format: Format,
    limit: usize,
    sender: &mpsc::Sender<Result<Vec<u8>, QueryError>>,
) -> Result<(), QueryError> {
    let mut writer = RowsWriter::new(format, &answer.schema)?;
    let mut room = limit;
    while room > 0 {
        let next = answer.rows.try_next().await.map_err(QueryError::Execution)?;
        let Some(batch) = next else { break };
        let batch = batch.slice(0, batch.num_rows().min(room));
        room -= batch.num_rows();
        let piece = writer.write(&batch)?;
        if !piece.is_empty() && sender.send(Ok(piece)).await.is_err() {
            return Ok(());
        }
    }
    // Nobody reads any more if this fails.
    let _ = sender.send(Ok(writer.finish()?)).await;
    Ok(())
}

//! Queries that run: seen and cancelled by their ids.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::clock::SharedClock;
use datafusion::{
    execution::SendableRecordBatchStream,
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter},
};
use futures::{TryStreamExt as _, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::{QueryError, ViewError};

/// Failed queries whose reasons are kept: a client whose answer broke off can ask for it.
const FAILED_MAX: usize = 64;

/// The queries of a broker.
#[derive(Debug)]
pub struct Queries {
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    running: BTreeMap<u64, Arc<Running>>,
    failed: VecDeque<(u64, Failure)>,
}

/// What a query failed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What went wrong.
    pub error: String,
    /// Its code.
    pub sql_state: &'static str,
}

/// A query that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueryInfo {
    /// Its id, until the broker is started again.
    pub id: u64,
    /// The statement.
    pub sql: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// For how long it has been running.
    pub elapsed_ms: u64,
    /// Rows read from tables and the log so far.
    pub rows_read: u64,
    /// Rows answered so far.
    pub rows: u64,
}

#[derive(Debug)]
struct Running {
    sql: String,
    started_ms: i64,
    started: Duration,
    cancelled: CancellationToken,
    rows: AtomicU64,
    tail: Arc<TailRows>,
    plan: OnceLock<Arc<dyn ExecutionPlan>>,
}

/// Rows that a query has read from the log.
#[derive(Debug, Default)]
pub(crate) struct TailRows(AtomicU64);

impl TailRows {
    pub(crate) fn add(&self, rows: usize) {
        self.0.fetch_add(rows as u64, Ordering::Relaxed);
    }
}

impl Queries {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// The queries that run, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<QueryInfo> {
        let running = self.state().running.clone();
        running.iter().map(|(id, running)| self.info(*id, running)).collect()
    }

    /// A query, if it runs.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<QueryInfo> {
        let running = self.state().running.get(&id).cloned()?;
        Some(self.info(id, &running))
    }

    /// What a query failed with, for some time.
    #[must_use]
    pub fn failure(&self, id: u64) -> Option<Failure> {
        let state = self.state();
        state.failed.iter().find(|(failed, _)| *failed == id).map(|(_, failure)| failure.clone())
    }

    /// Cancels a query; whoever waits for it gets SQLSTATE 57014. False where it does not run.
    pub fn cancel(&self, id: u64) -> bool {
        let running = self.state().running.get(&id).cloned();
        running.map(|running| running.cancelled.cancel()).is_some()
    }

    pub(crate) fn failed(&self, id: u64, error: &QueryError) {
        let failure = Failure { error: error.to_string(), sql_state: error.sql_state() };
        let mut state = self.state();
        state.failed.push_back((id, failure));
        if state.failed.len() > FAILED_MAX {
            state.failed.pop_front();
        }
    }

    pub(crate) fn begin(self: &Arc<Self>, sql: &str) -> Ticket {
        let running = Arc::new(Running {
            sql: sql.to_owned(),
            started_ms: self.clock.now_ms(),
            started: self.clock.monotonic(),
            cancelled: CancellationToken::new(),
            rows: AtomicU64::new(0),
            tail: Arc::default(),
            plan: OnceLock::new(),
        });
        let mut state = self.state();
        state.last_id += 1;
        let id = state.last_id;
        state.running.insert(id, Arc::clone(&running));
        Ticket { id, queries: Arc::clone(self), running }
    }

    fn info(&self, id: u64, running: &Running) -> QueryInfo {
        let elapsed = self.clock.monotonic().saturating_sub(running.started);
        let tail = running.tail.0.load(Ordering::Relaxed);
        QueryInfo {
            id,
            sql: running.sql.clone(),
            started_ms: running.started_ms,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            rows_read: running.plan.get().map_or(0, |plan| rows_of_leaves(plan.as_ref())) + tail,
            rows: running.rows.load(Ordering::Relaxed),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the plan's scans of files have read. Those of the log count for themselves.
fn rows_of_leaves(plan: &dyn ExecutionPlan) -> u64 {
    let children = plan.children();
    if children.is_empty() {
        let rows = plan.metrics().and_then(|metrics| metrics.output_rows());
        return rows.unwrap_or(0) as u64;
    }
    children.iter().map(|child| rows_of_leaves(child.as_ref())).sum()
}

/// A place among the queries that run, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) id: u64,
    queries: Arc<Queries>,
    running: Arc<Running>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queries.state().running.remove(&self.id);
    }
}

impl Ticket {
    /// Where the scans of the log count.
    pub(crate) fn tail(&self) -> Arc<TailRows> {
        Arc::clone(&self.running.tail)
    }

    /// The result of some work, or that the query was cancelled meanwhile.
    pub(crate) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        tokio::select! {
            biased;
            () = self.running.cancelled.cancelled() => {
                Err(QueryError::Execution(ViewError::Cancelled.into()))
            }
            done = work => done,
        }
    }

    /// Rows that are counted, and end when the query is cancelled.
    pub(crate) fn watch(
        self,
        plan: Arc<dyn ExecutionPlan>,
        rows: SendableRecordBatchStream,
    ) -> SendableRecordBatchStream {
        let schema = rows.schema();
        // It is set once only, as a query has one plan.
        let _ = self.running.plan.set(plan);
        let watched = stream::try_unfold((rows, self), |(mut rows, ticket)| async move {
            let next = tokio::select! {
                biased;
                () = ticket.running.cancelled.cancelled() => Err(ViewError::Cancelled.into()),
                next = rows.try_next() => next,
            };
            Ok(next?.map(|batch| {
                ticket.running.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                (batch, (rows, ticket))
            }))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, watched))
    }
}

//! Running statements within bounds: memory (spilling), time, rows, and how many at once.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use common::clock::{SharedClock, SystemClock};
use datafusion::{
    common::ParamValues,
    execution::{
        SendableRecordBatchStream, SessionStateBuilder, TaskContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, execute_stream},
    prelude::{SQLOptions, SessionConfig, SessionContext},
    sql::parser::Statement,
};
use futures::{FutureExt as _, TryFutureExt as _};
use lakehouse_sink::TableStore;
use table::{catalog::TableCatalog, name::DEFAULT_NAMESPACE};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    catalog::{QueryCatalog, Tables},
    error::QueryError,
    running::{Queries, Ticket},
    statement, travel,
    yielding::Yielding,
};

/// The catalog and schema that unqualified names are looked up in, as PostgreSQL's clients expect.
pub(crate) const CATALOG: &str = "streamhouse";
pub(crate) const SCHEMA: &str = DEFAULT_NAMESPACE;
/// The longest a query may take where it does not say.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// Bounds of all queries of a broker.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Bytes that all queries together hold in memory; what needs more spills or fails.
    pub memory_bytes: usize,
    /// Where they spill.
    pub spill_directory: PathBuf,
    /// Queries at once; the next one is refused.
    pub queries_max: usize,
    /// Threads that one query is spread over.
    pub parallelism: usize,
}

/// Runs statements over the tables of a broker.
#[derive(Debug)]
pub struct QueryEngine {
    tables: Arc<Tables>,
    runtime: Arc<RuntimeEnv>,
    permits: Arc<Semaphore>,
    queries: Arc<Queries>,
    options: QueryOptions,
}

/// What a statement answers: rows as they come.
pub struct Answer {
    /// The query's id among [`QueryEngine::queries`].
    pub id: u64,
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub rows: SendableRecordBatchStream,
    /// Held for as long as the query runs.
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Plans a statement that [`statement::check`](crate::statement) let through.
pub(crate) async fn plan(
    context: &SessionContext,
    statement: Statement,
) -> Result<LogicalPlan, QueryError> {
    let plan = context.state().statement_to_plan(statement).await.map_err(QueryError::Plan)?;
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&plan).map_err(QueryError::Plan)?;
    Ok(plan)
}

/// Starts a plan; permit and ticket are held for as long as its rows are.
pub(crate) fn start(
    plan: Arc<dyn ExecutionPlan>,
    tasks: TaskContext,
    permit: OwnedSemaphorePermit,
    ticket: Ticket,
) -> Result<Answer, QueryError> {
    let config = tasks.session_config().clone().with_extension(ticket.tail());
    let tasks = Arc::new(tasks.with_session_config(config));
    let rows = execute_stream(Arc::clone(&plan), tasks).map_err(QueryError::Execution)?;
    let (id, rows) = (ticket.id, ticket.watch(plan, rows));
    Ok(Answer { id, schema: rows.schema(), rows, _permit: permit })
}

impl QueryEngine {
    /// An engine over a broker's tables.
    ///
    /// # Errors
    /// Where the spill directory cannot be used.
    pub fn new(
        catalog: Arc<TableCatalog>,
        store: TableStore,
        options: QueryOptions,
    ) -> Result<Self, QueryError> {
        let spill = DiskManagerMode::Directories(vec![options.spill_directory.clone()]);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(spill))
            .build_arc()
            .map_err(QueryError::Execution)?;
        Ok(Self {
            tables: Arc::new(Tables::new(catalog, store)),
            runtime,
            permits: Arc::new(Semaphore::new(options.queries_max)),
            queries: Arc::new(Queries::new(SystemClock::shared())),
            options,
        })
    }

    /// With another clock than the system's, which tells since when queries run.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.queries = Arc::new(Queries::new(clock));
        self
    }

    /// The queries that run.
    #[must_use]
    pub fn queries(&self) -> &Queries {
        &self.queries
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn query(&self, sql: &str) -> Result<Answer, QueryError> {
        self.query_within(sql, TIMEOUT_DEFAULT).await
    }

    /// As [`Self::query`], with a bound on the time until it has started.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn query_within(&self, sql: &str, time: Duration) -> Result<Answer, QueryError> {
        let statement = statement::parse(sql)?;
        let context = self.session_within(time);
        self.run(&context, sql, statement, None, time).await
    }

    /// Runs a statement that [`statement::check`] let through, within a session, with values for
    /// its parameters; `time` bounds the time until it has started.
    pub(crate) async fn run(
        &self,
        context: &SessionContext,
        sql: &str,
        statement: Statement,
        values: Option<&ParamValues>,
        time: Duration,
    ) -> Result<Answer, QueryError> {
        let ticket = self.queries.begin(sql);
        // Before there is a permit: others may run while this one waits.
        let waits = travel::waits(&statement).map_err(|error| QueryError::Plan(error.into()))?;
        for (table, offsets) in waits {
            let (namespace, table) = (table.schema().unwrap_or(SCHEMA), table.table());
            let reached = self.tables.reached((namespace, table), &offsets, time);
            let reached = reached.map_err(|error| QueryError::Plan(error.into()));
            ticket.unless_cancelled(reached).await?;
        }
        let permit = self.permit()?;
        let limit_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let planned = timeout(time, async {
            let mut plan = plan(context, statement).await?;
            if let Some(values) = values {
                plan = plan.replace_params_with_values(values).map_err(QueryError::Plan)?;
            }
            let frame = context.execute_logical_plan(plan).await.map_err(QueryError::Plan)?;
            let tasks = frame.task_ctx();
            let plan = frame.create_physical_plan().await.map_err(QueryError::Execution)?;
            Ok((tasks, plan))
        });
        let planned = planned.map(|done| done.map_err(|_| QueryError::Timeout { limit_ms })?);
        let (tasks, plan) = ticket.unless_cancelled(planned).await?;
        start(plan, tasks, permit, ticket)
    }

    /// How many queries hold a place among those that run at once.
    #[must_use]
    pub fn places_taken(&self) -> usize {
        self.options.queries_max.saturating_sub(self.permits.available_permits())
    }

    /// A place among the queries that run at once.
    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| QueryError::Busy(self.options.queries_max))
    }

    /// What queries see.
    pub(crate) fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// A session that sees the tables and waits for records for some time.
    pub(crate) fn session_within(&self, time: Duration) -> SessionContext {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true)
            .with_target_partitions(self.options.parallelism);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(Yielding))
            .build();
        let context = SessionContext::new_with_state(state);
        let catalog =
            QueryCatalog { tables: Arc::clone(&self.tables), time, system: BTreeMap::new() };
        context.register_catalog(CATALOG, Arc::new(catalog));
        context
    }
}

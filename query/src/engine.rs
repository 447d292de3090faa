//! Running statements within bounds: memory (spilling), time, rows, and how many at once.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use datafusion::{
    catalog::{CatalogProvider, MemoryCatalogProvider},
    execution::{
        SendableRecordBatchStream, SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    prelude::{SQLOptions, SessionConfig, SessionContext},
};
use lakehouse_sink::TableStore;
use table::catalog::TableCatalog;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    catalog::{QuerySchema, Tables},
    error::QueryError,
    statement,
};

/// The catalog and schema that unqualified names are looked up in, as PostgreSQL's clients expect.
const CATALOG: &str = "streamhouse";
const SCHEMA: &str = "public";
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
    options: QueryOptions,
}

/// What a statement answers: rows as they come.
pub struct Answer {
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
            options,
        })
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn query(&self, sql: &str) -> Result<Answer, QueryError> {
        let statement = statement::parse(sql)?;
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| QueryError::Busy(self.options.queries_max))?;
        let context = self.session()?;
        let state = context.state();
        let plan = state.statement_to_plan(statement).await.map_err(QueryError::Plan)?;
        let read_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(QueryError::Plan)?;
        let frame = context.execute_logical_plan(plan).await.map_err(QueryError::Plan)?;
        let rows = frame.execute_stream().await.map_err(QueryError::Execution)?;
        Ok(Answer { schema: rows.schema(), rows, _permit: permit })
    }

    /// A session for one statement.
    fn session(&self) -> Result<SessionContext, QueryError> {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true)
            .with_target_partitions(self.options.parallelism);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        let catalog = MemoryCatalogProvider::new();
        catalog
            .register_schema(SCHEMA, Arc::new(QuerySchema(Arc::clone(&self.tables))))
            .map_err(QueryError::Execution)?;
        context.register_catalog(CATALOG, Arc::new(catalog));
        Ok(context)
    }
}

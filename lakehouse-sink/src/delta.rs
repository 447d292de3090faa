//! One Delta table as its committer and its readers need it: progress, files, commits.
//!
//! Invariant: a commit succeeds only on a version whose progress is what its rows build on. delta-rs
//! would rebase it past commits of other application ids, and accepts a version that goes back; so
//! its own retries are off. Where others moved the table on, progress is compared again first.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc, time::Duration};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Fields, Schema, SchemaRef},
};
use deltalake::{
    DeltaTable, DeltaTableError,
    datafile::writer::{DeltaWriter, WriterConfig},
    datafusion::{self, catalog::TableProvider},
    kernel::{
        Action, Add, MetadataExt as _, StructType, Transaction,
        engine::arrow_conversion::{TryIntoArrow as _, TryIntoKernel as _},
        transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError},
    },
    operations::create::CreateBuilder,
    parquet::{
        basic::{Compression, ZstdLevel},
        file::properties::WriterProperties,
    },
    protocol::{DeltaOperation, SaveMode},
    table::config::{TablePropertiesExt as _, TableProperty},
};
use table::table::{Offsets, Table};

use crate::{error::SinkError, store::TableStore, upsert};

/// What the commits of the sink say of themselves.
const ENGINE: &str = concat!("streamhouse/", env!("CARGO_PKG_VERSION"));
/// Level of zstd for Parquet: what more costs twice the time for a few percent.
const ZSTD_LEVEL: i32 = 1;

/// What commits of the sink do.
pub(crate) const APPEND: DeltaOperation =
    DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };

/// How often a commit is tried while others (who merge files, or clean up) move the table on.
const COMMIT_ATTEMPTS_MAX: usize = 50;

/// A Delta table's log.
#[derive(Debug, Clone)]
pub struct TableLog {
    table: DeltaTable,
}

/// Progress of one partition in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advance {
    pub(crate) application_id: String,
    pub(crate) partition: i32,
    /// The progress that the rows build on: none in a table that never had a row of it.
    pub(crate) from: Option<i64>,
    pub(crate) to: i64,
}

impl TableLog {
    /// Opens a table; `None` where there is none yet.
    ///
    /// # Errors
    /// Where the object store or the log fails.
    pub async fn open(store: &TableStore, directory: &str) -> Result<Option<Self>, SinkError> {
        let mut table = DeltaTable::new(store.log_store(directory));
        // Looked for first: to the kernel a log that is not there is an error worth a line.
        if !table.verify_deltatable_existence().await? {
            return Ok(None);
        }
        table.load().await?;
        Ok(Some(Self { table }))
    }

    /// Keeps removed files in the log, by which a vacuum knows how long ago that was, for as long
    /// as their versions can be read.
    ///
    /// # Errors
    /// Where the object store or the log fails, or others were quicker.
    pub(crate) async fn keep_removed_for(&mut self, time: Duration) -> Result<(), SinkError> {
        let hours = time.as_secs().div_ceil(3600);
        let kept = self.table.snapshot()?.table_config().deleted_file_retention_duration();
        if kept.as_secs().div_ceil(3600) == hours {
            return Ok(());
        }
        let key = TableProperty::DeletedFileRetentionDuration.as_ref().to_owned();
        let properties = HashMap::from([(key, format!("interval {hours} hours"))]);
        let setting = self.table.clone().set_tbl_properties().with_properties(properties);
        self.table = setting.with_commit_properties(own_commit()).await?;
        Ok(())
    }

    /// Creates an empty table.
    pub(crate) async fn create(
        store: &TableStore,
        directory: &str,
        name: &str,
        schema: &Schema,
        partition_columns: Vec<String>,
    ) -> Result<Self, SinkError> {
        let delta: StructType = schema.try_into_kernel().map_err(DeltaTableError::from)?;
        let created = CreateBuilder::new()
            .with_log_store(store.log_store(directory))
            .with_table_name(name)
            .with_columns(delta.fields().cloned())
            .with_partition_columns(partition_columns)
            .with_save_mode(SaveMode::Ignore)
            .with_commit_properties(own_commit())
            .await?;
        Ok(Self { table: created })
    }

    /// A table that delta-rs just worked on.
    pub(crate) fn of(table: DeltaTable) -> Self {
        Self { table }
    }

    /// Reads on to the newest version.
    ///
    /// # Errors
    /// Where the object store or the log fails.
    pub async fn refresh(&mut self) -> Result<(), SinkError> {
        Ok(self.table.update_state().await?)
    }

    /// The Delta table, for readers.
    #[must_use]
    pub fn table(&self) -> &DeltaTable {
        &self.table
    }

    /// The rows of the version in hand, for queries. The snapshot's list of files is used as it is;
    /// the log is not read again.
    ///
    /// # Errors
    /// Where the version uses what delta-rs does not read.
    pub async fn rows(&self) -> datafusion::error::Result<Arc<dyn TableProvider>> {
        let snapshot = Arc::new(self.table.snapshot()?.snapshot().clone());
        self.table.table_provider().with_eager_snapshot(snapshot).await
    }

    /// The version in hand.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.table.version().unwrap_or(0)
    }

    /// The columns, as Arrow sees them.
    ///
    /// # Errors
    /// Where the log's schema is damaged.
    pub fn columns(&self) -> Result<SchemaRef, SinkError> {
        let schema = self.table.snapshot()?.schema();
        let arrow: Schema = schema.as_ref().try_into_arrow().map_err(DeltaTableError::from)?;
        Ok(Arc::new(arrow))
    }

    /// The next offset of a partition that the table lacks; `None` where it never had one.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub async fn progress(&self, application_id: &str) -> Result<Option<i64>, SinkError> {
        let state = self.table.snapshot()?;
        let log_store = self.table.log_store();
        Ok(state.transaction_version(log_store.as_ref(), application_id).await?)
    }

    /// The same of all partitions of a table; those that it never had a record of are left out.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub async fn progress_of(&self, table: &Table) -> Result<Offsets, SinkError> {
        let mut offsets = Offsets::new();
        for partition in table.partitions() {
            let index = partition.key().partition;
            if let Some(next) = self.progress(&table.application_id(index)).await? {
                offsets.insert(index, next);
            }
        }
        Ok(offsets)
    }

    /// A writer of files by a schema. They belong to nothing until they are committed.
    pub(crate) fn writer(
        &self,
        schema: SchemaRef,
        partition_columns: Vec<String>,
        target_file_bytes: usize,
    ) -> Result<DeltaWriter, SinkError> {
        let target = NonZeroU64::new(target_file_bytes as u64);
        let indexed = self.table.snapshot()?.table_config().num_indexed_cols();
        let config = WriterConfig::new(
            schema,
            partition_columns,
            Some(writer_properties()),
            target,
            None,
            indexed,
            None,
        );
        Ok(DeltaWriter::new(self.table.object_store(), config))
    }

    /// Commits files, the schema where it is new, and the progress that they make.
    ///
    /// # Errors
    /// [`SinkError::Overtaken`] where the table does not say that these rows are next; otherwise
    /// the outcome is unknown, and the table has to be opened again to see.
    pub(crate) async fn commit(
        &mut self,
        files: Vec<Add>,
        schema: &SchemaRef,
        advances: &[Advance],
        now_ms: i64,
    ) -> Result<(), SinkError> {
        let actions = |log: &Self| log.added(&files, schema);
        self.commit_actions(actions, advances, || progress_commit(advances, now_ms), &APPEND).await
    }

    /// Commits actions, made for each version that is tried, where it has the progress that they
    /// build on.
    ///
    /// # Errors
    /// As [`TableLog::commit`].
    pub(crate) async fn commit_actions(
        &mut self,
        actions: impl Fn(&Self) -> Result<Vec<Action>, SinkError>,
        advances: &[Advance],
        properties: impl Fn() -> CommitProperties,
        operation: &DeltaOperation,
    ) -> Result<(), SinkError> {
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            self.check(advances).await?;
            let actions = actions(self)?;
            match self.try_commit(actions, properties(), operation.clone()).await {
                Err(SinkError::Delta(error)) if was_moved_on(&error) => self.refresh().await?,
                outcome => return outcome,
            }
        }
        Err(SinkError::Contended(COMMIT_ATTEMPTS_MAX))
    }

    /// Commits changes of rows, told apart by the columns of `identity`, and the progress that
    /// they make.
    ///
    /// # Errors
    /// As [`TableLog::commit`].
    pub(crate) async fn merge(
        &mut self,
        changes: RecordBatch,
        identity: &[&str],
        schema: &SchemaRef,
        advances: &[Advance],
        now_ms: i64,
    ) -> Result<(), SinkError> {
        if !contains(self.columns()?.fields(), schema.fields()) {
            self.commit(Vec::new(), schema, &[], now_ms).await?;
        }
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            self.check(advances).await?;
            let version = self.version();
            let properties = progress_commit(advances, now_ms);
            match upsert::merge(self.table.clone(), changes.clone(), identity, properties).await {
                Ok(table) => self.table = table,
                Err(error) if was_moved_on(&error) => {
                    self.refresh().await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            if self.version() != version {
                return Ok(());
            }
            // It changed nothing: the progress is all that there is to commit.
            return self.commit(Vec::new(), schema, advances, now_ms).await;
        }
        Err(SinkError::Contended(COMMIT_ATTEMPTS_MAX))
    }

    /// Whether the version in hand has the progress that rows build on.
    async fn check(&self, advances: &[Advance]) -> Result<(), SinkError> {
        for advance in advances {
            let found = self.progress(&advance.application_id).await?;
            if found != advance.from {
                return Err(SinkError::Overtaken {
                    partition: advance.partition,
                    expected: advance.from.unwrap_or(-1),
                    found: found.unwrap_or(-1),
                });
            }
        }
        Ok(())
    }

    /// Files as actions, and the schema where it is new.
    pub(crate) fn added(
        &self,
        files: &[Add],
        schema: &SchemaRef,
    ) -> Result<Vec<Action>, SinkError> {
        let mut actions: Vec<Action> = files.iter().cloned().map(Action::Add).collect();
        // A newer schema of another writer has all that is in an older one, and stays.
        if !contains(self.columns()?.fields(), schema.fields()) {
            let delta: StructType =
                schema.as_ref().try_into_kernel().map_err(DeltaTableError::from)?;
            let metadata = self.table.snapshot()?.metadata().clone();
            let metadata = metadata.with_schema(&delta).map_err(DeltaTableError::from)?;
            actions.push(Action::Metadata(metadata));
        }
        Ok(actions)
    }

    /// Commits on the very version in hand, or not at all.
    async fn try_commit(
        &mut self,
        actions: Vec<Action>,
        properties: CommitProperties,
        operation: DeltaOperation,
    ) -> Result<(), SinkError> {
        let state = self.table.snapshot()?;
        let reference: &dyn TableReference = state;
        let committed = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(reference), self.table.log_store(), operation)
            .await?;
        self.table.state = Some(committed.snapshot());
        Ok(())
    }
}

/// How the sink writes Parquet.
pub(crate) fn writer_properties() -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by(ENGINE.to_owned())
        .build()
}

/// A commit with progress: on the version in hand or not at all.
fn progress_commit(advances: &[Advance], now_ms: i64) -> CommitProperties {
    marked_commit(advances, offsets_info(advances), now_ms)
}

/// A commit with application transactions, which says one thing more of itself: on the version in
/// hand or not at all.
pub(crate) fn marked_commit(
    advances: &[Advance],
    info: (String, serde_json::Value),
    now_ms: i64,
) -> CommitProperties {
    let transactions = advances
        .iter()
        .map(|advance| Transaction {
            app_id: advance.application_id.clone(),
            version: advance.to,
            last_updated: Some(now_ms),
        })
        .collect();
    own_commit()
        .with_max_retries(0)
        .with_metadata(engine_info().into_iter().chain([info]))
        .with_application_transactions(transactions)
}

/// What all commits of the sink have in common. Which versions are forgotten is upkeep's to say:
/// delta-rs would go by the log's age only.
pub(crate) fn own_commit() -> CommitProperties {
    CommitProperties::default().with_metadata(engine_info()).with_cleanup_expired_logs(Some(false))
}

/// Whether a commit failed because another one came first, and for certain had no effect.
fn was_moved_on(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::MaxCommitAttempts(_) | TransactionError::VersionAlreadyExists(_)
        ),
        _ => false,
    }
}

/// Whether columns have all of the others, those within structures included.
fn contains(columns: &Fields, others: &Fields) -> bool {
    others.iter().all(|other| {
        let found = columns.iter().find(|column| column.name() == other.name());
        found.is_some_and(|found| contains_type(found.data_type(), other.data_type()))
    })
}

fn contains_type(kind: &DataType, other: &DataType) -> bool {
    match (kind, other) {
        (DataType::Struct(fields), DataType::Struct(others)) => contains(fields, others),
        (DataType::List(element), DataType::List(other)) => {
            contains_type(element.data_type(), other.data_type())
        }
        (kind, other) => kind == other,
    }
}

fn engine_info() -> HashMap<String, serde_json::Value> {
    HashMap::from([("engine".to_owned(), ENGINE.into())])
}

/// The progress for people and programs that read the history: next offsets by partition.
fn offsets_info(advances: &[Advance]) -> (String, serde_json::Value) {
    let offsets: serde_json::Map<_, _> =
        advances.iter().map(|a| (a.partition.to_string(), a.to.into())).collect();
    ("kafkaOffsets".to_owned(), offsets.into())
}

//! The SQLite back end: the embedded default. One file in WAL mode, synced at every commit.
//!
//! One connection writes and two read. A write begins with `BEGIN IMMEDIATE`, so the fence is
//! checked under the file's lock: a second process on the same file, which the lock file of the
//! data directory normally refuses, is fenced or busy but corrupts nothing.
//! Format: `docs/rfcs/0004-metadata.md`.

mod broker_configs;
mod cluster;
mod error;
mod group_configs;
mod json;
mod objects;
mod packed;
mod partitions;
mod pointers;
#[cfg(test)]
mod tests;
mod topics;
mod transaction;

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use common::spawn::Fatal;
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::Mutex;

use self::transaction::{Slot, SqliteTransaction};
use crate::{
    engine::Backend,
    error::{Error, Result},
};

/// The newest format version that this release reads, and the one that it writes.
const FORMAT_VERSION: i64 = 1;

/// The incompatible features that this release understands, as bits.
const INCOMPATIBLE_FEATURES: i64 = 0;

/// How long a statement waits for another process's lock before it is busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many rows the connection's thread reads ahead; a query over thousands of partitions costs
/// a thread switch per so many.
const ROW_BUFFER_ROWS: usize = 1024;

/// What the write-ahead file is cut to after a checkpoint that emptied it.
const JOURNAL_BYTES_MAX: &str = "67108864";

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// A metadata store in an SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Arc<Mutex<Slot>>,
    readers: [Arc<Mutex<Slot>>; 2],
}

impl SqliteStore {
    /// Opens the store, creating the file or bringing its schema up to date.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] where a newer release wrote it, [`Error::Corrupt`] where the file
    /// is something else, [`Error::Busy`] where another process holds it.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = options(path)?;
        Self::open_with(path, options).await
    }

    /// Has `fatal` told of a commit whose outcome is unknown: like after a failed fsync, only a
    /// new start can find out what is durable.
    pub async fn on_unknown_outcome(self, fatal: Fatal) -> Self {
        self.writer.lock().await.fatal = Some(fatal);
        self
    }

    async fn open_with(path: &Path, options: SqliteConnectOptions) -> Result<Self> {
        let mut connection = options.connect().await.map_err(error::before_commit)?;
        refuse_newer(&mut connection).await?;
        // Not `run`, whose future is not `Send` for a borrowed connection.
        MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(error::of_migration)?;
        sync_directory(path)?;
        let slot = |connection| Arc::new(Mutex::new(Slot::new(options.clone(), connection)));
        Ok(Self { writer: slot(Some(connection)), readers: [slot(None), slot(None)] })
    }

    /// Closes the file, which moves what was written from the write-ahead file into it. The store
    /// opens it again if it is used after this.
    ///
    /// # Errors
    /// Those of the file; everything that was committed is durable in spite of them.
    pub async fn close(&self) -> Result<()> {
        for slot in self.readers.iter().chain([&self.writer]) {
            let connection = slot.lock().await.take();
            if let Some(connection) = connection {
                connection.close().await.map_err(error::before_commit)?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for SqliteStore {
    type Transaction = SqliteTransaction;

    async fn begin_write(&self) -> Result<SqliteTransaction> {
        let slot = Arc::clone(&self.writer).lock_owned().await;
        SqliteTransaction::begin_write(slot).await
    }

    async fn begin_read(&self) -> Result<SqliteTransaction> {
        let [first, second] = &self.readers;
        let slot = match Arc::clone(first).try_lock_owned() {
            Ok(slot) => slot,
            Err(_) => Arc::clone(second).lock_owned().await,
        };
        SqliteTransaction::begin_read(slot).await
    }
}

fn options(path: &Path) -> Result<SqliteConnectOptions> {
    let options = SqliteConnectOptions::from_str("sqlite:").map_err(error::before_commit)?;
    Ok(options
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_size_limit", JOURNAL_BYTES_MAX)
        .row_buffer_size(ROW_BUFFER_ROWS)
        .thread_name(|id| format!("metadata-{id}"))
        .disable_statement_logging())
}

/// Fails where the file needs more than this release knows; runs before anything is changed.
async fn refuse_newer(connection: &mut SqliteConnection) -> Result<()> {
    let present = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = 'format'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(error::before_commit)?;
    if present.is_none() {
        return Ok(());
    }
    let row = sqlx::query("SELECT version, incompatible_features FROM format")
        .fetch_one(connection)
        .await
        .map_err(error::before_commit)?;
    let version: i64 = row.try_get(0).map_err(error::before_commit)?;
    let features: i64 = row.try_get(1).map_err(error::before_commit)?;
    let unknown = features & !INCOMPATIBLE_FEATURES;
    let found = match (version > FORMAT_VERSION, unknown) {
        (false, 0) => return Ok(()),
        (true, _) => format!("version {version}"),
        (false, _) => format!("feature bits {unknown:#x}"),
    };
    Err(Error::NewerFormat { found, supported: format!("version {FORMAT_VERSION}") })
}

/// Makes the file's name durable; SQLite itself syncs the directory only for its journals.
fn sync_directory(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let synced = std::fs::File::open(&parent).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::Io(format!("syncing {}: {error}", parent.display())))
}

//! How a table is doing, for the API, for SQL and for metrics.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use table::table::Offsets;
use tokio::sync::watch;

/// What a committer is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Activity {
    /// It waits for the values that settle the first schema.
    Settling,
    /// It commits what comes.
    Running,
    /// It stands before a record that cannot be decoded (`table.errors=suspend`).
    Suspended {
        /// The record's partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// Its last attempt failed; it tries again.
    Failing {
        /// What failed.
        error: String,
    },
}

/// A table's progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableStatus {
    /// What it is at.
    pub activity: Activity,
    /// The Delta version committed last; none before the first commit.
    pub version: Option<u64>,
    /// The next offsets that the table lacks, by partition.
    pub offsets: Offsets,
    /// Records that could be read when it looked last and that the table lacked; those left out
    /// by compaction and markers of transactions count.
    pub lag: u64,
    /// Rows committed since the start.
    pub rows: u64,
    /// Files committed since the start.
    pub files: u64,
    /// Records given to the dead-letter table, or skipped, since the start.
    pub dead: u64,
    /// Values kept in `kafka_rescued` since the start.
    pub rescued_values: u64,
    /// When it committed last, milliseconds since the Unix epoch.
    pub last_commit_ms: Option<i64>,
    /// Small files merged into larger ones since the start.
    pub merged_files: u64,
    /// Files that no kept version has, deleted since the start.
    pub vacuumed_files: u64,
    /// Rows deleted by `table.retention.ms` since the start, as far as they were counted.
    pub expired_rows: u64,
    /// When it was last cleaned of expired rows and files, milliseconds since the Unix epoch.
    pub last_cleaning_ms: Option<i64>,
}

/// A status that one task writes and others read.
#[derive(Debug)]
pub(crate) struct StatusCell {
    status: Mutex<TableStatus>,
    table: String,
    /// Commits so far.
    commits: watch::Sender<u64>,
}

impl StatusCell {
    pub(crate) fn new(table: &str) -> Self {
        let status = TableStatus {
            activity: Activity::Settling,
            version: None,
            offsets: Offsets::new(),
            lag: 0,
            rows: 0,
            files: 0,
            dead: 0,
            rescued_values: 0,
            last_commit_ms: None,
            merged_files: 0,
            vacuumed_files: 0,
            expired_rows: 0,
            last_cleaning_ms: None,
        };
        Self { status: Mutex::new(status), table: table.to_owned(), commits: watch::Sender::new(0) }
    }

    pub(crate) fn get(&self) -> TableStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how much the table lacks.
    pub(crate) fn lags(&self, lag: u64) {
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("streamhouse_table_lag_records", "table" => self.table.clone())
            .set(lag as f64);
        self.update(|status| status.lag = lag);
    }

    /// Counts commits.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    pub(crate) fn update(&self, update: impl FnOnce(&mut TableStatus)) {
        update(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn activity(&self, activity: Activity) {
        if matches!(activity, Activity::Failing { .. }) {
            metrics::counter!("streamhouse_table_errors_total", "table" => self.table.clone())
                .increment(1);
        }
        self.update(|status| status.activity = activity);
    }

    /// Counts upkeep.
    pub(crate) fn kept_up(&self, done: Upkept) {
        let label = || ("table", self.table.clone());
        metrics::counter!("streamhouse_table_merged_files_total", &[label()])
            .increment(done.merged_files);
        metrics::counter!("streamhouse_table_vacuumed_files_total", &[label()])
            .increment(done.vacuumed_files);
        metrics::counter!("streamhouse_table_expired_rows_total", &[label()])
            .increment(done.expired_rows);
        self.update(|status| {
            status.merged_files += done.merged_files;
            status.vacuumed_files += done.vacuumed_files;
            status.expired_rows += done.expired_rows;
        });
    }

    /// Counts a commit.
    pub(crate) fn committed(&self, commit: &Committed) {
        let label = || ("table", self.table.clone());
        metrics::counter!("streamhouse_table_rows_total", &[label()]).increment(commit.rows);
        metrics::counter!("streamhouse_table_files_total", &[label()]).increment(commit.files);
        metrics::counter!("streamhouse_table_dead_records_total", &[label()])
            .increment(commit.dead);
        metrics::counter!("streamhouse_table_rescued_values_total", &[label()])
            .increment(commit.rescued_values);
        metrics::histogram!("streamhouse_table_commit_seconds", &[label()])
            .record(commit.took.as_secs_f64());
        self.update(|status| {
            status.activity = Activity::Running;
            status.version = Some(commit.version);
            status.offsets.clone_from(&commit.offsets);
            status.rows += commit.rows;
            status.files += commit.files;
            status.dead += commit.dead;
            status.rescued_values += commit.rescued_values;
            status.last_commit_ms = Some(commit.now_ms);
        });
        self.commits.send_modify(|commits| *commits += 1);
    }
}

/// Upkeep, for counting.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Upkept {
    pub(crate) merged_files: u64,
    pub(crate) vacuumed_files: u64,
    pub(crate) expired_rows: u64,
}

/// A commit, for counting.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) version: u64,
    pub(crate) offsets: Offsets,
    pub(crate) rows: u64,
    pub(crate) files: u64,
    pub(crate) dead: u64,
    pub(crate) rescued_values: u64,
    pub(crate) now_ms: i64,
    pub(crate) took: std::time::Duration,
}

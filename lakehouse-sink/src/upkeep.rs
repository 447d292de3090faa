//! Upkeep of a table: small files are merged, rows and files that were kept long enough go.
//!
//! It runs beside the committer and its commits carry no progress. Whoever of the two comes second
//! commits again on top (`TableLog::commit`); merging and deleting is abandoned where that is not
//! possible, and looked at again later. Application transactions survive all of it, as no
//! transaction retention is set on our tables.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::clock::SharedClock;
use deltalake::{
    datafusion::{
        common::ScalarValue,
        prelude::{col, lit},
    },
    operations::vacuum::{Clock as VacuumClock, VacuumMode},
};
use table::{schema::TIMESTAMP, table::Table};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    dead_letter,
    delta::{self, TableLog},
    error::SinkError,
    status::{StatusCell, Upkept},
    store::TableStore,
};

/// Commits between two looks at a table's files.
const COMMITS_PER_LOOK: u64 = 8;
/// Files of one size class in one partition that are worth merging.
const FILES_MIN: usize = 8;
/// Size classes as parts of the target size. A file is rewritten once per class, about: so small
/// files are merged soon without rewriting large ones over and over.
const CLASSES: [u64; 3] = [64, 8, 1];
/// How often expired rows and files are looked for.
const CLEANING_INTERVAL: Duration = Duration::from_secs(3600);
/// The same where that failed.
const CLEANING_RETRY: Duration = Duration::from_secs(300);
/// Rows expire in steps of this part of their retention: a file is rewritten that often at most.
const EXPIRY_STEPS: u32 = 24;

pub(crate) struct Upkeep {
    pub(crate) table: Arc<Table>,
    pub(crate) store: TableStore,
    pub(crate) clock: SharedClock,
    pub(crate) status: Arc<StatusCell>,
    pub(crate) stop: CancellationToken,
    /// By directory: of what nothing could be deleted, as old versions that are kept have it.
    /// Finding that out takes reading each of those versions.
    pub(crate) kept: Mutex<BTreeMap<String, Kept>>,
}

/// A version, the old ones that are kept with it, and how many files of its past there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    version: u64,
    old: Vec<u64>,
    files: usize,
}

impl Upkeep {
    /// Runs until it is stopped.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = self.rounds() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn rounds(&self) {
        let mut commits = self.status.commits();
        let (mut looked, mut dead) = (0, None);
        let mut clean_at = self.clock.monotonic();
        loop {
            let now = self.clock.monotonic();
            let is_cleaning = now >= clean_at;
            if is_cleaning {
                clean_at = now + CLEANING_INTERVAL;
            }
            if self.table.config().merges_files {
                self.merge_all(&mut dead).await;
            }
            if is_cleaning && !self.clean().await {
                clean_at = self.clock.monotonic() + CLEANING_RETRY;
            }
            let rest = clean_at.saturating_sub(self.clock.monotonic());
            // Either way there is a reason to look again.
            let _ =
                timeout(rest, commits.wait_for(|commits| *commits >= looked + COMMITS_PER_LOOK))
                    .await;
            looked = *commits.borrow();
        }
    }

    /// Merges small files, and those of dead letters where there are others than at the last time.
    async fn merge_all(&self, dead: &mut Option<u64>) {
        self.succeeds("merging files", &self.merge(&self.table.directory()).await);
        let found = Some(self.status.get().dead);
        if *dead != found {
            let directory = dead_letter::directory(&self.table);
            let merged = self.merge_dead_letters(&directory).await;
            if self.succeeds("merging dead letters", &merged) {
                *dead = found;
            }
        }
    }

    /// Deletes what was kept long enough, each kind whether or not the others fail. Returns
    /// whether none did.
    async fn clean(&self) -> bool {
        let directory = self.table.directory();
        let dead_letters = dead_letter::directory(&self.table);
        let mut is_done = self.succeeds("deleting expired rows", &self.expire(&directory).await);
        for directory in [&directory, &dead_letters] {
            is_done &= self.succeeds("deleting old files", &self.vacuum(directory).await);
        }
        is_done &= self.succeeds("deleting what was rebuilt", &self.delete_replaced().await);
        if is_done {
            let now_ms = self.clock.now_ms();
            self.status.update(|status| status.last_cleaning_ms = Some(now_ms));
        }
        is_done
    }

    fn succeeds(&self, what: &str, outcome: &Result<(), SinkError>) -> bool {
        if let Err(error) = outcome {
            // Nothing is lost by trying later.
            warn!(table = self.table.name(), what, %error, "upkeep of the table failed; trying later");
        }
        outcome.is_ok()
    }

    /// Deletes what rebuilds left behind, once nobody reads it any more.
    async fn delete_replaced(&self) -> Result<(), SinkError> {
        if self.table.is_shadow() {
            return Ok(());
        }
        let retention = self.table.config().snapshot_retention;
        let kept_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        for replaced in self.table.replaced() {
            if self.clock.now_ms().saturating_sub(replaced.at_ms) < kept_ms {
                continue;
            }
            self.store.delete(&replaced.directory).await?;
            self.store.delete(&format!("{}{}", replaced.directory, dead_letter::SUFFIX)).await?;
            self.table.forget_replaced(&replaced.directory).await?;
            info!(table = self.table.name(), replaced.directory, "deleted what was rebuilt");
        }
        Ok(())
    }

    /// Merges small files, class by class.
    async fn merge(&self, directory: &str) -> Result<(), SinkError> {
        let Some(mut log) = TableLog::open(&self.store, directory).await? else { return Ok(()) };
        let target = self.table.config().target_file_bytes as u64;
        for class in CLASSES {
            let size = target / class;
            if small_files(&log, size)? < FILES_MIN {
                continue;
            }
            let merging = log.table().clone().optimize();
            let (table, metrics) = merging
                .with_target_size(NonZeroU64::new(size).unwrap_or(NonZeroU64::MIN))
                .with_max_concurrent_tasks(1)
                .with_writer_properties(delta::writer_properties())
                .with_commit_properties(delta::own_commit())
                .await?;
            info!(
                table = self.table.name(),
                from = metrics.num_files_removed,
                to = metrics.num_files_added,
                "merged small files"
            );
            self.status
                .kept_up(Upkept { merged_files: metrics.num_files_removed, ..Upkept::default() });
            log = TableLog::of(table);
        }
        Ok(())
    }

    async fn merge_dead_letters(&self, directory: &str) -> Result<(), SinkError> {
        let Some(mut log) = TableLog::open(&self.store, directory).await? else { return Ok(()) };
        let merged_files = dead_letter::merge::merge(&mut log, self.clock.now_ms()).await?;
        if merged_files > 0 {
            info!(table = self.table.name(), merged_files, "merged small files of dead letters");
        }
        self.status.kept_up(Upkept { merged_files, ..Upkept::default() });
        Ok(())
    }

    /// Deletes rows that were kept long enough.
    async fn expire(&self, directory: &str) -> Result<(), SinkError> {
        let Some(retention) = self.table.config().retention else { return Ok(()) };
        let Some(log) = TableLog::open(&self.store, directory).await? else { return Ok(()) };
        let step = i64::try_from((retention / EXPIRY_STEPS).as_millis()).unwrap_or(i64::MAX).max(1);
        let kept = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let before_ms = self.clock.now_ms().saturating_sub(kept).div_euclid(step) * step;
        if before_ms <= 0 {
            return Ok(());
        }
        let before = ScalarValue::TimestampMicrosecond(
            Some(before_ms.saturating_mul(1000)),
            Some("UTC".into()),
        );
        let deleting = log.table().clone().delete().with_predicate(col(TIMESTAMP).lt(lit(before)));
        let (_, metrics) = deleting
            .with_writer_properties(delta::writer_properties())
            .with_commit_properties(delta::own_commit())
            .await?;
        if metrics.num_removed_files > 0 {
            info!(
                table = self.table.name(),
                files = metrics.num_removed_files,
                rewritten = metrics.num_added_files,
                rows = metrics.num_deleted_rows,
                "deleted expired rows"
            );
        }
        let expired_rows = metrics.num_deleted_rows.unwrap_or(0) as u64;
        self.status.kept_up(Upkept { expired_rows, ..Upkept::default() });
        Ok(())
    }

    /// Deletes files that no kept version has: replaced ones, and those of commits that never were.
    async fn vacuum(&self, directory: &str) -> Result<(), SinkError> {
        let Some(mut log) = TableLog::open(&self.store, directory).await? else { return Ok(()) };
        let config = self.table.config();
        let retention = config.snapshot_retention;
        let kept = chrono::Duration::from_std(retention).unwrap_or(chrono::Duration::MAX);
        let since_ms = self.clock.now_ms().saturating_sub(kept.num_milliseconds());
        log.keep_removed_for(retention).await?;
        let kept_anyway = log.newest_versions(config.snapshots_min).await?;
        if let Some((oldest, _)) = kept_anyway.last() {
            log.forget_before(*oldest, since_ms).await?;
        }
        let old = kept_anyway.into_iter().filter(|(_, at_ms)| *at_ms < since_ms);
        let old: Vec<_> = old.map(|(version, _)| version).collect();
        let vacuum = |is_dry: bool, kept_versions: &[u64]| {
            let vacuum = log.table().clone().vacuum();
            let vacuum = match kept_versions {
                [] => vacuum,
                versions => vacuum.with_keep_versions(versions),
            };
            vacuum
                .with_mode(VacuumMode::Full)
                .with_retention_period(kept)
                .with_enforce_retention_duration(false)
                .with_clock(Arc::new(Now(Arc::clone(&self.clock))))
                .with_dry_run(is_dry)
                .with_commit_properties(delta::own_commit())
        };
        // A vacuum writes two commits even if it deletes nothing, and plans to delete what is gone.
        let (_, planned) = vacuum(true, &[]).await?;
        let mut files = self.store.count_of(directory, &planned.files_deleted).await?;
        if files > 0 && !old.is_empty() {
            let found = Kept { version: log.version(), old: old.clone(), files };
            let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept().get(directory) == Some(&found) {
                return Ok(());
            }
            let (_, planned) = vacuum(true, &old).await?;
            files = self.store.count_of(directory, &planned.files_deleted).await?;
            if files == 0 {
                kept().insert(directory.to_owned(), found);
            }
        }
        if files == 0 {
            return Ok(());
        }
        vacuum(false, &old).await?;
        let vacuumed_files = files as u64;
        info!(table = self.table.name(), files = vacuumed_files, "deleted files of old versions");
        self.status.kept_up(Upkept { vacuumed_files, ..Upkept::default() });
        Ok(())
    }
}

/// Most files of at most half a size in one partition.
fn small_files(log: &TableLog, size: u64) -> Result<usize, SinkError> {
    let mut found: BTreeMap<_, usize> = BTreeMap::new();
    for file in log.table().snapshot()?.log_data().iter() {
        if u64::try_from(file.size()).unwrap_or(0) <= size / 2 {
            let division: BTreeMap<_, _> = file.partition_values_map().into_iter().collect();
            *found.entry(division).or_default() += 1;
        }
    }
    Ok(found.into_values().max().unwrap_or(0))
}

/// The broker's clock, as delta-rs wants one.
#[derive(Debug)]
struct Now(SharedClock);

impl VacuumClock for Now {
    fn current_timestamp_millis(&self) -> i64 {
        self.0.now_ms()
    }
}

//! Earlier versions of a table, for readers.

use std::collections::BTreeSet;

use arrow::temporal_conversions::timestamp_ms_to_datetime;
use deltalake::{
    DeltaTable, DeltaTableError, checkpoints::cleanup_expired_logs_for,
    logstore::commit_uri_from_version,
};
use object_store::{Error as StoreError, ObjectStoreExt as _, path::Path};

use crate::{delta::TableLog, error::SinkError};

impl TableLog {
    /// The table as it was at a version; `None` where the log has no such version, not yet or not
    /// any more.
    ///
    /// # Errors
    /// Where the object store or the log fails.
    pub async fn at_version(&self, version: u64) -> Result<Option<Self>, SinkError> {
        if version > self.version() {
            return Ok(None);
        }
        let mut table = self.table().clone();
        match table.load_version(version).await {
            Ok(()) => Ok(Some(Self::of(table))),
            Err(error) => match exists(&table, &commit_uri_from_version(Some(version))).await? {
                true => Err(error.into()),
                false => Ok(None),
            },
        }
    }

    /// The table as it was at a time, milliseconds since the Unix epoch: the last version that
    /// was committed at or before it, by the times of the commits' files, as Delta has it. `None`
    /// where the log does not reach back so far.
    ///
    /// # Errors
    /// Where the object store or the log fails.
    pub async fn at_time(&self, time_ms: i64) -> Result<Option<Self>, SinkError> {
        let Some(time) = timestamp_ms_to_datetime(time_ms) else { return Ok(None) };
        let mut table = self.table().clone();
        table.load_with_datetime(time.and_utc()).await?;
        let log = Self::of(table);
        // Of a time before the first commit delta-rs makes the first commit.
        let path = commit_uri_from_version(Some(log.version()));
        let committed = log.table().object_store().head(&path).await;
        let committed = committed.map_err(DeltaTableError::from)?.last_modified;
        Ok((committed.timestamp_millis() <= time_ms).then_some(log))
    }

    /// The numbers of the newest versions, up to `count` of them, and when they were committed,
    /// milliseconds since the Unix epoch; the newest first, as far as the log has them.
    /// Those that a vacuum makes are none: it must not crowd out what it is to keep.
    ///
    /// # Errors
    /// Where the object store fails.
    pub(crate) async fn newest_versions(&self, count: usize) -> Result<Vec<(u64, i64)>, SinkError> {
        let mut found = Vec::new();
        for version in (0..=self.version()).rev() {
            if found.len() >= count.max(1) {
                break;
            }
            let commit = commit_uri_from_version(Some(version));
            let commit = match self.table().object_store().get(&commit).await {
                Ok(commit) => commit,
                Err(StoreError::NotFound { .. }) => break,
                Err(error) => return Err(delta(error)),
            };
            let at_ms = commit.meta.last_modified.timestamp_millis();
            if !is_vacuum(&commit.bytes().await.map_err(delta)?) {
                found.push((version, at_ms));
            }
        }
        Ok(found)
    }

    /// Deletes the log of versions before `version` that were committed before a time,
    /// milliseconds since the Unix epoch, as far as a checkpoint stands in for it.
    ///
    /// # Errors
    /// Where the object store fails.
    pub(crate) async fn forget_before(&self, version: u64, time_ms: i64) -> Result<(), SinkError> {
        let log_store = self.table().log_store();
        cleanup_expired_logs_for(version, log_store.as_ref(), time_ms, None).await?;
        Ok(())
    }

    /// Files of this version that a newer one does not have: they are deleted some time later.
    ///
    /// # Errors
    /// None is known.
    pub fn files_not_in(&self, newer: &Self) -> Result<Vec<String>, SinkError> {
        Ok(self.files()?.difference(&newer.files()?).cloned().collect())
    }

    /// Whether a file is there.
    ///
    /// # Errors
    /// Where the object store fails.
    pub async fn has_file(&self, file: &str) -> Result<bool, SinkError> {
        let path = Path::parse(file).map_err(|error| delta(error.into()))?;
        exists(self.table(), &path).await
    }

    fn files(&self) -> Result<BTreeSet<String>, SinkError> {
        let state = self.table().snapshot()?;
        Ok(state.log_data().iter().map(|file| file.path().to_string()).collect())
    }
}

/// Whether a commit is one of those of a vacuum.
fn is_vacuum(commit: &[u8]) -> bool {
    let mut actions = commit.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    actions.any(|action| {
        let action: serde_json::Value = serde_json::from_slice(action).unwrap_or_default();
        let operation = action.get("commitInfo").and_then(|info| info.get("operation")?.as_str());
        operation.is_some_and(|operation| operation.starts_with("VACUUM"))
    })
}

fn delta(error: StoreError) -> SinkError {
    DeltaTableError::from(error).into()
}

async fn exists(table: &DeltaTable, path: &Path) -> Result<bool, SinkError> {
    match table.object_store().head(path).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(delta(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use deltalake::checkpoints::create_checkpoint;
    use object_store::memory::InMemory;
    use table::{rules::ValueFormat, schema::TableSchema};
    use url::Url;

    use super::*;
    use crate::{delta::Advance, store::TableStore};

    #[tokio::test]
    async fn old_versions_are_forgotten_where_a_checkpoint_stands_in_for_them() {
        let url = Url::parse("memory:///").unwrap();
        let store = TableStore::new(Arc::new(InMemory::new()), Path::default(), url).unwrap();
        let columns = TableSchema::first(ValueFormat::Raw, Vec::new()).arrow();
        let mut log = TableLog::create(&store, "t", "t", &columns, Vec::new()).await.unwrap();
        for n in 0..6 {
            let from = (n > 0).then_some(n);
            let application_id = "a".to_owned();
            let advance = Advance { application_id, partition: 0, from, to: n + 1 };
            log.commit(Vec::new(), &columns, &[advance], 0).await.unwrap();
            if n == 3 {
                create_checkpoint(log.table(), None).await.unwrap();
            }
        }
        let numbers = |found: Vec<(u64, i64)>| -> Vec<u64> {
            found.into_iter().map(|(version, _)| version).collect()
        };
        assert_eq!(numbers(log.newest_versions(3).await.unwrap()), [6, 5, 4]);
        assert_eq!(numbers(log.newest_versions(100).await.unwrap()), [6, 5, 4, 3, 2, 1, 0]);
        let last = log.newest_versions(1).await.unwrap()[0].1;
        // Before the checkpoint's version nothing can be forgotten, nor what is not old.
        log.forget_before(3, last + 1000).await.unwrap();
        log.forget_before(5, last - 60_000).await.unwrap();
        assert_eq!(log.newest_versions(100).await.unwrap().len(), 7);
        log.forget_before(5, last + 1000).await.unwrap();
        assert_eq!(numbers(log.newest_versions(100).await.unwrap()), [6, 5, 4]);
        for (version, is_there) in [(3, false), (4, true), (5, true)] {
            assert_eq!(log.at_version(version).await.unwrap().is_some(), is_there, "{version}");
        }
    }
}

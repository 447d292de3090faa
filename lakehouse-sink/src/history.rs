//! Earlier versions of a table, for readers.

use std::collections::BTreeSet;

use arrow::temporal_conversions::timestamp_ms_to_datetime;
use deltalake::{DeltaTable, DeltaTableError, logstore::commit_uri_from_version};
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

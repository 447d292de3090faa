//! Earlier versions of a table, for readers.

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
            Err(error) => match has_commit(&table, version).await? {
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

    /// A file of this version that is gone: what a newer version does not have any more is
    /// deleted some time later (VACUUM).
    ///
    /// # Errors
    /// Where the object store fails.
    pub async fn missing_file(&self, newest: &Self) -> Result<Option<String>, SinkError> {
        let still = newest.files()?;
        let store = self.table().object_store();
        for file in self.files()?.difference(&still) {
            match store.head(&Path::parse(file).map_err(StoreError::from).map_err(delta)?).await {
                Ok(_) => {}
                Err(StoreError::NotFound { .. }) => return Ok(Some(file.clone())),
                Err(error) => return Err(delta(error)),
            }
        }
        Ok(None)
    }

    fn files(&self) -> Result<std::collections::BTreeSet<String>, SinkError> {
        let state = self.table().snapshot()?;
        Ok(state.log_data().iter().map(|file| file.path().to_string()).collect())
    }
}

fn delta(error: StoreError) -> SinkError {
    DeltaTableError::from(error).into()
}

async fn has_commit(table: &DeltaTable, version: u64) -> Result<bool, SinkError> {
    match table.object_store().head(&commit_uri_from_version(Some(version))).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(delta(error)),
    }
}

//! The object store as this crate uses it: put once, read ranges, list, delete.
//!
//! A thin layer over [`object_store::ObjectStore`], which is the seam for faults: per-attempt
//! timeouts, hedged reads, bounded retries out of one budget (an outage at most doubles the request rate),
//! metrics, and unknown outcomes resolved. Invariant: when [`ObjectStorage::put`] or
//! [`ObjectStorage::put_parts`] returns `Ok`, exactly the given bytes are durable under the key.
//!
//! Keys are relative to the URL's path; they are never used twice (each contains a fresh id).

mod budget;
pub mod faulty;
mod hedge;
mod local;
mod multipart;
#[cfg(test)]
pub(crate) mod s3_server;
mod url;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use common::{clock::SharedClock, retry::Backoff, rng::Rng, spawn::Spawner};
use futures::{Future, StreamExt, TryStreamExt};
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, path::Path,
};
use tokio::sync::Semaphore;

use self::{budget::RetryBudget, hedge::Hedging};
pub use self::{local::DurableLocalStore, multipart::PartSource};
use crate::object::{Error, Result};

/// How the object store is called.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// Bound on one attempt of a read, a delete or a page of a listing.
    pub read_timeout: Duration,
    /// Bound on one attempt of a put (of one part, for large objects).
    pub write_timeout: Duration,
    /// Attempts of one operation, the first included.
    pub attempts_max: u32,
    /// First pause between attempts.
    pub backoff_initial: Duration,
    /// Longest pause between attempts.
    pub backoff_max: Duration,
    /// Requests in flight for readers: cold reads never crowd out uploads (design D6).
    pub reads_in_flight_max: usize,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(60),
            attempts_max: 4,
            backoff_initial: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            reads_in_flight_max: 16,
        }
    }
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, Unix milliseconds by the store's clock.
    pub last_modified_ms: i64,
}

/// An object store with its manners. Shared by readers, uploader, compaction and GC.
#[derive(Debug)]
pub struct ObjectStorage {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    local_root: Option<PathBuf>,
    options: StorageOptions,
    clock: SharedClock,
    rng: Rng,
    budget: RetryBudget,
    hedging: Hedging,
    reads: Semaphore,
    /// One put of a large body at a time.
    large_puts: Semaphore,
}

impl ObjectStorage {
    /// Opens the store at `url`: `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix` or `memory:///`. `settings` are the store's own keys (such as
    /// `aws_access_key_id`); what is missing comes from the environment.
    ///
    /// # Errors
    /// [`Error::Configuration`], and [`Error::Io`] where a local root cannot be created.
    pub async fn open(
        url: &str,
        settings: &BTreeMap<String, String>,
        options: StorageOptions,
        spawner: &Spawner,
        clock: SharedClock,
        rng: Rng,
    ) -> Result<Self> {
        let opened = url::open(url, settings, spawner).await?;
        let mut storage = Self::new(opened.store, options, clock, rng);
        storage.prefix = opened.prefix;
        storage.local_root = opened.local_root;
        Ok(storage)
    }

    /// Over any store, from its root.
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        options: StorageOptions,
        clock: SharedClock,
        rng: Rng,
    ) -> Self {
        let reads = Semaphore::new(options.reads_in_flight_max.max(1));
        let budget = RetryBudget::new();
        let (prefix, large_puts, hedging) = (Path::default(), Semaphore::new(1), Hedging::new());
        Self {
            store,
            prefix,
            local_root: None,
            options,
            clock,
            rng,
            budget,
            hedging,
            reads,
            large_puts,
        }
    }

    /// The directory of a store of local files: its objects may be read and made there directly.
    #[must_use]
    pub fn local_root(&self) -> Option<&FilePath> {
        self.local_root.as_deref()
    }

    /// The store itself and what precedes every key in it, for readers and writers of other
    /// formats. None of the manners here apply to it.
    #[must_use]
    pub fn raw(&self) -> (Arc<dyn ObjectStore>, &Path) {
        (Arc::clone(&self.store), &self.prefix)
    }

    /// The file of a key in a store of local files.
    #[must_use]
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        self.local_root.as_ref().map(|root| root.join(key))
    }

    /// A fresh sequence of pauses for callers that retry for ever.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.options.backoff_initial, self.options.backoff_max, self.rng.clone())
    }

    /// Puts an object under a key that was never used. After an unknown outcome of an earlier
    /// attempt, or of an earlier call with the same bytes, the contents are compared.
    ///
    /// # Errors
    /// [`Error::ForeignContents`] where the key holds other bytes; [`Error::Store`] or
    /// [`Error::Timeout`] where the outcome is still unknown.
    pub async fn put(&self, key: &str, parts: &[Bytes]) -> Result<()> {
        let size: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let location = self.location(key);
        let timeout = self.write_timeout(size);
        let put = self
            .retried("put", key, timeout, || {
                let payload: PutPayload = parts.iter().cloned().collect();
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                self.store.put_opts(&location, payload, options)
            })
            .await;
        match put {
            Ok(_) => {}
            Err(Error::Store { source, .. })
                if matches!(*source, StoreError::AlreadyExists { .. }) =>
            {
                let tail = parts.last().cloned().unwrap_or_default();
                self.verify(key, size, &tail).await?;
            }
            Err(error) => return Err(error),
        }
        metrics::counter!("streamhouse_object_store_bytes_total", "direction" => "out")
            .increment(size);
        Ok(())
    }

    /// Succeeds if the object exists with this size and ends in `tail`.
    async fn verify(&self, key: &str, size: u64, tail: &Bytes) -> Result<()> {
        let foreign = || Error::ForeignContents { key: key.to_owned() };
        if self.size(key).await? != Some(size) {
            return Err(foreign());
        }
        let start = size.checked_sub(tail.len() as u64).ok_or_else(foreign)?;
        if tail.is_empty() || self.get_range(key, start..size).await? == *tail {
            return Ok(());
        }
        Err(foreign())
    }

    /// Reads exactly `range`, under a reader's permit.
    ///
    /// # Errors
    /// [`Error::Store`] with `NotFound` where the object is gone; other failures after retries.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        #[allow(clippy::expect_used, reason = "the semaphore is private and never closed")]
        let _permit = self.reads.acquire().await.expect("the permits are never closed");
        let location = self.location(key);
        let bytes = self.repeated(|| self.get_hedged(key, &location, &range)).await?;
        metrics::counter!("streamhouse_object_store_bytes_total", "direction" => "in")
            .increment(bytes.len() as u64);
        Ok(bytes)
    }

    /// The object's size; `None` where it does not exist.
    ///
    /// # Errors
    /// Failures after retries.
    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        let location = self.location(key);
        let head =
            self.retried("head", key, self.options.read_timeout, || self.store.head(&location));
        match head.await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the object; one that does not exist is deleted already.
    ///
    /// # Errors
    /// Failures after retries.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let location = self.location(key);
        let delete =
            self.retried("delete", key, self.options.read_timeout, || self.store.delete(&location));
        match delete.await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Up to `limit` objects under `prefix` (a whole path component), in the store's order, after
    /// the key `after` where the store can.
    ///
    /// # Errors
    /// Failures after retries.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>> {
        let location = self.location(prefix);
        let after = after.map(|key| self.location(key));
        let listed = self
            .retried("list", prefix, self.options.read_timeout, || {
                let entries = match &after {
                    Some(after) => self.store.list_with_offset(Some(&location), after),
                    None => self.store.list(Some(&location)),
                };
                entries.take(limit).try_collect::<Vec<_>>()
            })
            .await?;
        let key_of = |path: &Path| {
            let full = path.as_ref();
            let relative = full.strip_prefix(self.prefix.as_ref()).unwrap_or(full);
            relative.trim_start_matches('/').to_owned()
        };
        let row = |meta: &object_store::ObjectMeta| Listed {
            key: key_of(&meta.location),
            size: meta.size,
            last_modified_ms: meta.last_modified.timestamp_millis(),
        };
        Ok(listed.iter().map(row).collect())
    }

    fn location(&self, key: &str) -> Path {
        let mut path = self.prefix.clone();
        for part in key.split('/').filter(|part| !part.is_empty()) {
            path = path.join(part);
        }
        path
    }

    /// [`Self::repeated`] with a bound on each attempt.
    async fn retried<T, F, Fut>(
        &self,
        operation: &'static str,
        key: &str,
        timeout: Duration,
        mut attempt: F,
    ) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = object_store::Result<T>>,
    {
        self.repeated(|| self.once(operation, key, timeout, attempt())).await
    }

    /// Runs `attempt` until it succeeds, fails for good, or the attempts or the budget run out.
    async fn repeated<T, F, Fut>(&self, mut attempt: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let mut backoff = self.backoff();
        let mut attempts = 1;
        loop {
            let error = match attempt().await {
                Ok(value) => {
                    self.budget.succeeded();
                    return Ok(value);
                }
                Err(error) => error,
            };
            let again = is_transient(&error) && attempts < self.options.attempts_max;
            if !again || !self.budget.take() {
                return Err(error);
            }
            attempts += 1;
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn once<T>(
        &self,
        operation: &'static str,
        key: &str,
        timeout: Duration,
        attempt: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        let started = self.clock.monotonic();
        let result = match tokio::time::timeout(timeout, attempt).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => {
                Err(Error::Store { operation, key: key.to_owned(), source: Arc::new(source) })
            }
            Err(_) => Err(Error::Timeout {
                operation,
                key: key.to_owned(),
                timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            }),
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(Error::Timeout { .. }) => "timeout",
            Err(error) if is_transient(error) => "unavailable",
            Err(_) => "refused",
        };
        metrics::counter!("streamhouse_object_store_requests_total",
            "operation" => operation, "outcome" => outcome)
        .increment(1);
        metrics::histogram!("streamhouse_object_store_request_seconds", "operation" => operation)
            .record(self.clock.monotonic().saturating_sub(started).as_secs_f64());
        result
    }
}

/// Reads the range and refuses a body that is shorter or longer than asked for.
async fn get_exactly(
    store: &Arc<dyn ObjectStore>,
    location: &Path,
    range: Range<u64>,
) -> object_store::Result<Bytes> {
    let asked = range.end - range.start;
    if asked == 0 {
        return Ok(Bytes::new());
    }
    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
    let bytes = store.get_opts(location, options).await?.bytes().await?;
    if bytes.len() as u64 == asked {
        return Ok(bytes);
    }
    Err(StoreError::Generic {
        store: "object store",
        source: format!("{} bytes instead of {asked}", bytes.len()).into(),
    })
}

/// Whether the object is not there.
pub(crate) fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Store { source, .. } if matches!(**source, StoreError::NotFound { .. }))
}

/// Whether the same request may succeed later.
pub(crate) fn is_transient(error: &Error) -> bool {
    match error {
        Error::Timeout { .. } => true,
        Error::Store { source, .. } => {
            matches!(**source, StoreError::Generic { .. } | StoreError::JoinError { .. })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;

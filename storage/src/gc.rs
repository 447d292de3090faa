//! Deletes what nobody refers to: dead objects, and orphans in the store.
//!
//! Invariants (OBJ-2): only a dead object is deleted, once those who read it had time to resolve
//! its extents again, and its row is forgotten after its bytes; a
//! registered object is declared dead only when it is older than the grace time and this process
//! is not making it; a key without a row is deleted only after the grace time, and only where the
//! rows were read *after* the listing, so that none registered meanwhile is missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{ObjectId, clock::SharedClock};
use metadata::{Fence, MetadataStore, ObjectRow, ObjectState};
use tracing::{debug, info, warn};

use crate::{
    object::{ObjectReader, ObjectStorage},
    producer_snapshot,
    upload::ObjectsInUse,
};

/// Objects deleted, or rows read, at a time.
const BATCH: usize = 256;
/// Keys listed at a time.
const LIST_PAGE: usize = 1000;

/// How the collector works.
#[derive(Debug, Clone)]
pub struct CollectorOptions {
    /// What precedes every key, as in the uploader's options.
    pub key_prefix: String,
    /// Time between two looks at dead objects.
    pub interval: Duration,
    /// Time between two listings of the store for orphans.
    pub orphan_interval: Duration,
    /// How long a registered object or an unknown key is left alone.
    pub grace: Duration,
    /// How long a dead object is left to those who are reading it.
    pub dead_grace: Duration,
}

impl Default for CollectorOptions {
    fn default() -> Self {
        Self {
            key_prefix: String::new(),
            interval: Duration::from_secs(30),
            orphan_interval: Duration::from_secs(6 * 3600),
            grace: Duration::from_secs(3600),
            dead_grace: Duration::from_secs(60),
        }
    }
}

/// What the collector works with.
#[derive(Debug)]
pub struct CollectorDeps {
    /// Durable metadata.
    pub metadata: Arc<dyn MetadataStore>,
    /// This process' session.
    pub fence: Fence,
    /// The object store.
    pub storage: Arc<ObjectStorage>,
    /// Keeps open files and cached chunks, which go with the object.
    pub reader: ObjectReader,
    /// What this process is making.
    pub in_use: ObjectsInUse,
    /// Ages registrations and keys.
    pub clock: SharedClock,
}

/// Deletes dead objects and orphans.
#[derive(Debug)]
pub struct Collector {
    deps: CollectorDeps,
    options: CollectorOptions,
    /// When each dead object was first seen, by the monotonic clock.
    seen: Mutex<BTreeMap<ObjectId, Duration>>,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Dead objects deleted and forgotten.
    pub dead: usize,
    /// Registrations given up.
    pub abandoned: usize,
    /// Orphans deleted.
    pub orphans: usize,
}

impl Collector {
    /// A collector; nothing happens before [`Collector::run`].
    #[must_use]
    pub fn new(deps: CollectorDeps, options: CollectorOptions) -> Self {
        Self { deps, options, seen: Mutex::default() }
    }

    /// Collects by the clock, for ever: drop the future to stop.
    pub async fn run(&self) {
        let mut since_listing = Duration::ZERO;
        loop {
            tokio::time::sleep(self.options.interval).await;
            since_listing += self.options.interval;
            let orphans = since_listing >= self.options.orphan_interval;
            if orphans {
                since_listing = Duration::ZERO;
            }
            match self.collect(orphans).await {
                Ok(collected) if collected != Collected::default() => {
                    info!(?collected, "objects collected");
                }
                Ok(_) => {}
                Err(error) => warn!(%error, "collecting objects failed, will try again"),
            }
        }
    }

    /// One run: gives up old registrations, deletes dead objects and, if asked to, orphans.
    ///
    /// # Errors
    /// The first failure of a store; what was done before it stays done.
    pub async fn collect(&self, orphans: bool) -> Result<Collected, crate::Error> {
        let mut collected = Collected { abandoned: self.abandon().await?, ..Collected::default() };
        collected.dead = self.delete_dead().await?;
        if orphans {
            collected.orphans = self.delete_orphans().await?;
        }
        let outcome = [
            ("dead", collected.dead),
            ("abandoned", collected.abandoned),
            ("orphan", collected.orphans),
        ];
        for (kind, count) in outcome {
            metrics::counter!("streamhouse_gc_objects_total", "kind" => kind)
                .increment(count as u64);
        }
        Ok(collected)
    }

    fn is_old(&self, since_ms: i64) -> bool {
        let grace_ms = i64::try_from(self.options.grace.as_millis()).unwrap_or(i64::MAX);
        self.deps.clock.now_ms().saturating_sub(since_ms) >= grace_ms
    }

    async fn abandon(&self) -> Result<usize, crate::Error> {
        let rows = self.deps.metadata.list_objects(ObjectState::Registered, BATCH).await?;
        let given_up =
            |row: &&ObjectRow| self.is_old(row.created_ms) && !self.deps.in_use.contains(&row.id);
        let ids: Vec<_> = rows.iter().filter(given_up).map(|row| row.id).collect();
        if !ids.is_empty() {
            self.deps.metadata.mark_dead(&self.deps.fence, &ids).await?;
        }
        Ok(ids.len())
    }

    async fn delete_dead(&self) -> Result<usize, crate::Error> {
        let mut deleted = 0;
        loop {
            // Objects that are left alone stay in front, so more rows are asked for than deleted.
            let rows = self.deps.metadata.list_objects(ObjectState::Dead, 4 * BATCH).await?;
            let rows = self.deletable(rows);
            if rows.is_empty() {
                return Ok(deleted);
            }
            let mut ids = Vec::with_capacity(rows.len());
            for row in &rows {
                self.deps.storage.delete(&row.key).await?;
                // A descriptor that stays open would keep the space of a local file.
                self.deps.reader.forget(&row.id);
                debug!(object = %row.id, key = row.key, "dead object deleted");
                ids.push(row.id);
            }
            self.deps.metadata.forget_objects(&self.deps.fence, &ids).await?;
            deleted += ids.len();
            tokio::task::yield_now().await;
        }
    }

    /// The rows that have been dead for long enough and are not kept back.
    fn deletable(&self, rows: Vec<ObjectRow>) -> Vec<ObjectRow> {
        let now = self.deps.clock.monotonic();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known: BTreeMap<_, _> =
            rows.iter().map(|row| (row.id, seen.get(&row.id).copied().unwrap_or(now))).collect();
        *seen = known;
        let old = |row: &ObjectRow| {
            let since = seen.get(&row.id).copied().unwrap_or(now);
            now.saturating_sub(since) >= self.options.dead_grace
                && !self.deps.in_use.contains(&row.id)
        };
        rows.into_iter().filter(old).take(BATCH).collect()
    }

    async fn delete_orphans(&self) -> Result<usize, crate::Error> {
        let mut deleted = 0;
        for kind in ["l0", "l1", "producers"] {
            let prefix = match self.options.key_prefix.as_str() {
                "" => kind.to_owned(),
                prefix => format!("{prefix}/{kind}"),
            };
            let mut after: Option<String> = None;
            loop {
                let page = self.deps.storage.list(&prefix, after.as_deref(), LIST_PAGE).await?;
                let last = page.last().map(|listed| listed.key.clone());
                let old: Vec<_> =
                    page.iter().filter(|listed| self.is_old(listed.last_modified_ms)).collect();
                if !old.is_empty() {
                    let known = self.known_keys().await?;
                    for orphan in old.iter().filter(|listed| !known.contains(&listed.key)) {
                        warn!(key = orphan.key, size = orphan.size, "orphan deleted");
                        self.deps.storage.delete(&orphan.key).await?;
                        deleted += 1;
                    }
                }
                // A store that lists in no order gets another run later.
                if page.len() < LIST_PAGE || last <= after {
                    break;
                }
                after = last;
            }
        }
        Ok(deleted)
    }

    async fn known_keys(&self) -> Result<BTreeSet<String>, crate::Error> {
        let mut known: BTreeSet<String> =
            self.deps.metadata.committed_objects().await?.into_iter().map(|row| row.key).collect();
        for state in [ObjectState::Registered, ObjectState::Dead] {
            let rows = self.deps.metadata.list_objects(state, usize::MAX >> 1).await?;
            known.extend(rows.into_iter().map(|row| row.key));
        }
        let snapshot = self.deps.metadata.pointer(producer_snapshot::POINTER).await?;
        known.extend(snapshot.and_then(|key| String::from_utf8(key).ok()));
        Ok(known)
    }
}

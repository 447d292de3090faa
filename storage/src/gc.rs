//! Deletes what nobody refers to: dead objects, and orphans in the store.
//!
//! Invariants (OBJ-2): only a dead object is deleted, and its row is forgotten after its bytes; a
//! registered object is declared dead only when it is older than the grace time and this process
//! is not making it; a key without a row is deleted only after the grace time, and only where the
//! rows were read *after* the listing, so that none registered meanwhile is missed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::clock::SharedClock;
use metadata::{Fence, MetadataStore, ObjectRow, ObjectState};
use tracing::{debug, info, warn};

use crate::{object::ObjectStorage, upload::ObjectsInUse};

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
}

impl Default for CollectorOptions {
    fn default() -> Self {
        Self {
            key_prefix: String::new(),
            interval: Duration::from_secs(30),
            orphan_interval: Duration::from_secs(6 * 3600),
            grace: Duration::from_secs(3600),
        }
    }
}

/// Deletes dead objects and orphans.
#[derive(Debug)]
pub struct Collector {
    /// Durable metadata.
    pub metadata: Arc<dyn MetadataStore>,
    /// This process' session.
    pub fence: Fence,
    /// The object store.
    pub storage: Arc<ObjectStorage>,
    /// What this process is making.
    pub in_use: ObjectsInUse,
    /// Ages registrations and keys.
    pub clock: SharedClock,
    /// Intervals and grace.
    pub options: CollectorOptions,
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
        self.clock.now_ms().saturating_sub(since_ms) >= grace_ms
    }

    async fn abandon(&self) -> Result<usize, crate::Error> {
        let rows = self.metadata.list_objects(ObjectState::Registered, BATCH).await?;
        let given_up =
            |row: &&ObjectRow| self.is_old(row.created_ms) && !self.in_use.contains(&row.id);
        let ids: Vec<_> = rows.iter().filter(given_up).map(|row| row.id).collect();
        if !ids.is_empty() {
            self.metadata.mark_dead(&self.fence, &ids).await?;
        }
        Ok(ids.len())
    }

    async fn delete_dead(&self) -> Result<usize, crate::Error> {
        let mut deleted = 0;
        loop {
            // Kept-back objects stay in front, so more rows are asked for than are deleted.
            let rows = self.metadata.list_objects(ObjectState::Dead, 4 * BATCH).await?;
            let rows: Vec<_> =
                rows.into_iter().filter(|row| !self.in_use.contains(&row.id)).take(BATCH).collect();
            if rows.is_empty() {
                return Ok(deleted);
            }
            let mut ids = Vec::with_capacity(rows.len());
            for row in &rows {
                self.storage.delete(&row.key).await?;
                debug!(object = %row.id, key = row.key, "dead object deleted");
                ids.push(row.id);
            }
            self.metadata.forget_objects(&self.fence, &ids).await?;
            deleted += ids.len();
            tokio::task::yield_now().await;
        }
    }

    async fn delete_orphans(&self) -> Result<usize, crate::Error> {
        let mut deleted = 0;
        for level in ["l0", "l1"] {
            let prefix = match self.options.key_prefix.as_str() {
                "" => level.to_owned(),
                prefix => format!("{prefix}/{level}"),
            };
            let mut after: Option<String> = None;
            loop {
                let page = self.storage.list(&prefix, after.as_deref(), LIST_PAGE).await?;
                let last = page.last().map(|listed| listed.key.clone());
                let old: Vec<_> =
                    page.iter().filter(|listed| self.is_old(listed.last_modified_ms)).collect();
                if !old.is_empty() {
                    let known = self.known_keys().await?;
                    for orphan in old.iter().filter(|listed| !known.contains(&listed.key)) {
                        warn!(key = orphan.key, size = orphan.size, "orphan deleted");
                        self.storage.delete(&orphan.key).await?;
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
            self.metadata.committed_objects().await?.into_iter().map(|row| row.key).collect();
        for state in [ObjectState::Registered, ObjectState::Dead] {
            let rows = self.metadata.list_objects(state, usize::MAX >> 1).await?;
            known.extend(rows.into_iter().map(|row| row.key));
        }
        Ok(known)
    }
}

//! Deletes the tables of deleted topics, where they go with them.
//!
//! The metadata store has a note of each. What is found of a table is deleted at once, again and
//! again; the note is forgotten once nothing was found for a while: files of the committer, of
//! upkeep or of a replay may have been on their way, though all of them end with the topic.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::clock::SharedClock;
use table::catalog::TableCatalog;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{dead_letter, error::SinkError, store::TableStore};

/// First and longest pause between two looks at what is left of a table.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often notes are looked for though no topic changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);
/// The log of a Delta table, which goes first: without it there is no table.
const LOG_DIRECTORY: &str = "_delta_log";

pub(crate) struct Removal {
    pub(crate) catalog: Arc<TableCatalog>,
    pub(crate) store: TableStore,
    pub(crate) clock: SharedClock,
    /// How long nothing has to be found.
    pub(crate) grace: Duration,
}

/// A deleted table that is looked at; times are of the monotonic clock.
struct Watched {
    next_look: Duration,
    pause: Duration,
    empty_since: Option<Duration>,
}

impl Removal {
    /// Runs until it is stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.looks() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn looks(&self) {
        let mut changes = self.catalog.changes();
        let mut watched = BTreeMap::new();
        loop {
            changes.borrow_and_update();
            let rest = match self.look(&mut watched).await {
                Ok(rest) => rest,
                Err(error) => {
                    warn!(%error, "tables of deleted topics are not to be had; trying again");
                    PAUSE_MAX
                }
            };
            // Nobody changes topics any more: the broker is gone.
            if let Ok(Err(_)) = timeout(rest, changes.changed()).await {
                return;
            }
        }
    }

    /// Looks at the tables that are due; how long until the next one is.
    async fn look(&self, watched: &mut BTreeMap<String, Watched>) -> Result<Duration, SinkError> {
        let notes = self.catalog.deletion_notes().await?;
        watched.retain(|note, _| notes.contains(note));
        for note in notes {
            let now = self.clock.monotonic();
            let first = Watched { next_look: now, pause: PAUSE, empty_since: None };
            let table = watched.entry(note.clone()).or_insert(first);
            if table.next_look > now {
                continue;
            }
            match self.delete(&note).await {
                Ok(0) => {
                    let since = *table.empty_since.get_or_insert(now);
                    if now.saturating_sub(since) >= self.grace {
                        self.catalog.forget_deleted(&note).await?;
                        watched.remove(&note);
                        continue;
                    }
                }
                Ok(objects) => {
                    info!(note, objects, "deleted the table of a deleted topic");
                    (table.empty_since, table.pause) = (None, PAUSE);
                }
                Err(error) => {
                    warn!(note, %error, "deleting the table of a deleted topic failed; trying again");
                    table.empty_since = None;
                }
            }
            table.next_look = now + table.pause;
            table.pause = (table.pause * 2).min(PAUSE_MAX);
        }
        let next = watched.values().map(|table| table.next_look).min();
        let now = self.clock.monotonic();
        Ok(next.map_or(LOOK_INTERVAL, |next| next.saturating_sub(now)))
    }

    /// Deletes what there is of a table; how many objects that was.
    async fn delete(&self, note: &str) -> Result<usize, SinkError> {
        let mut objects = 0;
        for directory in self.catalog.deleted_directories(note).await? {
            for directory in [format!("{directory}{}", dead_letter::SUFFIX), directory] {
                objects += self.store.delete(&format!("{directory}/{LOG_DIRECTORY}")).await?;
                objects += self.store.delete(&directory).await?;
            }
        }
        Ok(objects)
    }
}

//! Deletes the tables of deleted topics, where they go with them.
//!
//! The metadata store has a note of each. A pass deletes what it finds of a table; once two passes
//! in a row have found nothing, the note is forgotten: a write of the table's committer, which ends
//! with the topic, may have been on its way during the first.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use table::catalog::TableCatalog;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{dead_letter, error::SinkError, store::TableStore};

/// Pause between passes as long as something is left to do.
const PASS_PAUSE: Duration = Duration::from_secs(1);
/// How often notes are looked for though no topic changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);
/// The log of a Delta table, which goes first: without it there is no table.
const LOG_DIRECTORY: &str = "_delta_log";

pub(crate) struct Removal {
    pub(crate) catalog: Arc<TableCatalog>,
    pub(crate) store: TableStore,
}

impl Removal {
    /// Runs until it is stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.passes() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn passes(&self) {
        let mut changes = self.catalog.changes();
        let mut empty = BTreeSet::new();
        loop {
            changes.borrow_and_update();
            let pause = match self.pass(&mut empty).await {
                Ok(true) => LOOK_INTERVAL,
                Ok(false) => PASS_PAUSE,
                Err(error) => {
                    warn!(%error, "deleting tables of deleted topics failed; trying again");
                    PASS_PAUSE
                }
            };
            // Nobody changes topics any more: the broker is gone.
            if let Ok(Err(_)) = timeout(pause, changes.changed()).await {
                return;
            }
        }
    }

    /// Whether nothing is left. `empty` has the notes of which the pass before found nothing.
    async fn pass(&self, empty: &mut BTreeSet<String>) -> Result<bool, SinkError> {
        let mut is_done = true;
        for deleted in self.catalog.deleted().await? {
            let mut objects = 0;
            for directory in &deleted.directories {
                for directory in [directory.clone(), format!("{directory}{}", dead_letter::SUFFIX)]
                {
                    objects += self.store.delete(&format!("{directory}/{LOG_DIRECTORY}")).await?;
                    objects += self.store.delete(&directory).await?;
                }
            }
            if objects > 0 {
                info!(?deleted.directories, objects, "deleted the table of a deleted topic");
            }
            if objects == 0 && empty.remove(&deleted.note) {
                self.catalog.forget(&deleted).await?;
                continue;
            }
            is_done = false;
            if objects == 0 {
                empty.insert(deleted.note);
            }
        }
        Ok(is_done)
    }
}

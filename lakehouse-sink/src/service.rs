//! The sink as a whole: a committer for each table of the catalog.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{TopicId, clock::SharedClock, spawn::Spawner};
use table::{catalog::TableCatalog, table::Table};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    budget::Budget,
    committer::Committer,
    error::SinkError,
    removal::Removal,
    replay::{Replay, ReplayError, Replayed},
    status::{StatusCell, TableStatus},
    store::TableStore,
    upkeep::Upkeep,
};

/// How often the catalog is looked at though nothing changed: a refresh may have failed.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// What a sink is built on.
#[derive(Debug, Clone)]
pub struct SinkDeps {
    /// Which topics are tables.
    pub catalog: Arc<TableCatalog>,
    /// Where tables are kept.
    pub store: TableStore,
    /// Time.
    pub clock: SharedClock,
    /// Bytes of the log that all tables together hold on their way into a commit.
    pub memory_bytes: usize,
    /// How long after nothing was found of a deleted table it is looked for.
    pub removal_grace: Duration,
    /// Tasks; those of the runtime that [`Sink::run`] is called in.
    pub spawner: Spawner,
}

/// The sink of a broker.
#[derive(Debug)]
pub struct Sink {
    deps: SinkDeps,
    /// By topic and incarnation.
    running: Mutex<BTreeMap<(TopicId, u32), Running>>,
    budget: Arc<Budget>,
    stop: CancellationToken,
    /// Held while dead letters are replayed.
    replaying: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Running {
    table: Arc<Table>,
    status: Arc<StatusCell>,
    stop: CancellationToken,
}

impl Sink {
    /// A sink that does nothing until it runs.
    #[must_use]
    pub fn new(deps: SinkDeps) -> Arc<Self> {
        let (running, stop) = (Mutex::default(), CancellationToken::new());
        let budget = Budget::new(deps.memory_bytes);
        Arc::new(Self { deps, running, budget, stop, replaying: tokio::sync::Mutex::default() })
    }

    /// Writes tables until it is stopped.
    pub async fn run(self: Arc<Self>) {
        let removal = Removal {
            catalog: Arc::clone(&self.deps.catalog),
            store: self.deps.store.clone(),
            clock: Arc::clone(&self.deps.clock),
            grace: self.deps.removal_grace,
        };
        self.deps.spawner.spawn("table-removal", removal.run(self.stop.clone()));
        let mut changes = self.deps.catalog.changes();
        let mut rebuilds = self.deps.catalog.rebuilds();
        while !self.stop.is_cancelled() {
            if let Err(error) = self.deps.catalog.refresh().await {
                warn!(%error, "some tables cannot be written for now");
            }
            self.start_and_stop();
            tokio::select! {
                () = self.stop.cancelled() => {}
                // The catalog, whose sender it is, lives as long as this.
                _ = rebuilds.changed() => {}
                // Nobody changes topics any more: the broker is gone.
                changed = timeout(REFRESH_INTERVAL, changes.changed()) => {
                    if matches!(changed, Ok(Err(_))) {
                        return;
                    }
                }
            }
        }
    }

    /// Stops writing. What is on its way is written by the next process.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Where tables are kept.
    #[must_use]
    pub fn store(&self) -> &TableStore {
        &self.deps.store
    }

    /// How a table is doing.
    #[must_use]
    pub fn status(&self, topic_id: TopicId) -> Option<TableStatus> {
        self.status_of(topic_id, |table| !table.is_shadow())
    }

    /// How far a table's rebuild is, if it is being rebuilt.
    #[must_use]
    pub fn rebuild_status(&self, topic_id: TopicId) -> Option<TableStatus> {
        self.status_of(topic_id, Table::is_shadow)
    }

    /// Replays the dead letters of a table: what can be decoded now becomes rows of it, once and
    /// in order. `fix` is an SQL expression over the columns of the dead-letter table, and `text`,
    /// the value where it is UTF-8; it gives the mended value, or NULL to leave one alone.
    ///
    /// # Errors
    /// [`ReplayError`]; what was replayed until then stays, and asking again goes on.
    pub async fn replay(&self, name: &str, fix: Option<&str>) -> Result<Replayed, ReplayError> {
        let _one = self.replaying.try_lock().map_err(|_| ReplayError::Busy)?;
        self.deps.catalog.refresh().await.map_err(SinkError::from)?;
        let table = self.deps.catalog.table_named(name);
        let table = table.ok_or_else(|| ReplayError::NoTable(name.to_owned()))?;
        let now_ms = self.deps.clock.now_ms();
        let replay = Replay::new(&self.deps.store, &table, fix, now_ms)?;
        let key = (table.topic_id(), table.incarnation());
        self.start_and_stop();
        let stop = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.get(&key).map_or_else(|| self.stop.clone(), |running| running.stop.clone())
        };
        tokio::select! {
            replayed = replay.run() => replayed,
            () = stop.cancelled() => {
                Err(ReplayError::Impossible(format!("table {name} is gone, or the broker stops")))
            }
        }
    }

    fn status_of(&self, topic_id: TopicId, is_it: impl Fn(&Table) -> bool) -> Option<TableStatus> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut incarnations = running.range((topic_id, 0)..=(topic_id, u32::MAX));
        let found = incarnations.find(|(_, running)| is_it(&running.table));
        found.map(|(_, running)| running.status.get())
    }

    fn start_and_stop(&self) {
        let mut tables = self.deps.catalog.tables();
        tables.extend(self.deps.catalog.shadows());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, running| {
            let stays = tables.iter().any(|table| Arc::ptr_eq(table, &running.table));
            if !stays {
                running.stop.cancel();
            }
            stays
        });
        for table in tables {
            let key = (table.topic_id(), table.incarnation());
            running.entry(key).or_insert_with(|| self.start(table));
        }
    }

    fn start(&self, table: Arc<Table>) -> Running {
        let status = Arc::new(StatusCell::new(table.name()));
        let stop = self.stop.child_token();
        let committer = Committer {
            table: Arc::clone(&table),
            catalog: Arc::clone(&self.deps.catalog),
            store: self.deps.store.clone(),
            clock: Arc::clone(&self.deps.clock),
            status: Arc::clone(&status),
            budget: Arc::clone(&self.budget),
            stop: stop.clone(),
        };
        self.deps.spawner.spawn("table", committer.run());
        let upkeep = Upkeep {
            table: Arc::clone(&table),
            store: self.deps.store.clone(),
            clock: Arc::clone(&self.deps.clock),
            status: Arc::clone(&status),
            stop: stop.clone(),
            kept: Mutex::default(),
        };
        self.deps.spawner.spawn("table-upkeep", upkeep.run());
        Running { table, status, stop }
    }
}

//! Compaction and garbage collection as background tasks of the log. They end with it, between two
//! steps; both may be cut off anywhere and be begun again.

use std::{future::Future, sync::Arc};

use tokio::time::sleep;
use tracing::{debug, warn};

use crate::{
    compaction::{Compactor, CompactorDeps, CompactorOptions},
    gc::{Collector, CollectorDeps, CollectorOptions},
    log::Log,
    object::Partitions,
    upload::ObjectsInUse,
};

impl Log {
    /// Starts what works by the clock.
    pub(crate) fn start_background(self: &Arc<Self>, in_use: ObjectsInUse) {
        let compactor = self.compactor(in_use.clone());
        self.spawn_background("compaction", async move { compactor.run().await });
        if self.deps.config.cleaner_enabled {
            let cleaner = self.compactor(in_use.clone());
            self.spawn_background("log-cleaner", Arc::clone(self).clean(cleaner));
        }
        let collector = self.collector(in_use);
        self.spawn_background("object-gc", async move { collector.run().await });
        self.spawn_background("log-maintenance", Arc::clone(self).maintain());
    }

    fn spawn_background(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let ended = self.background.clone();
        self.deps.spawner.spawn(name, async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = work => {}
            }
        });
    }

    fn compactor(self: &Arc<Self>, in_use: ObjectsInUse) -> Compactor {
        let deps = &self.deps;
        let compactor_deps = CompactorDeps {
            metadata: Arc::clone(&deps.metadata),
            fence: deps.fence,
            storage: Arc::clone(&deps.objects),
            reader: self.shared().reader.clone(),
            partitions: Arc::clone(self) as Arc<dyn Partitions>,
            in_use,
            clock: Arc::clone(&deps.clock),
            rng: deps.rng.clone(),
            wal_fs: Arc::clone(&deps.wal_fs),
            live: self.watch_config(),
        };
        let options = CompactorOptions {
            key_prefix: self.shared().key_prefix.clone(),
            interval: deps.config.compaction_interval,
            policy: deps.config.compaction,
            disk_reserve_bytes: deps.config.disk_reserve_bytes,
        };
        Compactor::new(compactor_deps, options)
    }

    /// Cleans compacted topics by the clock, for ever: drop the future to stop.
    async fn clean(self: Arc<Self>, cleaner: Compactor) {
        loop {
            self.back_off().await;
            self.seal_for_cleaning().await;
            let round = cleaner.clean_once().await;
            if round.forgotten > 0 {
                self.make_forgetting_durable().await;
            }
        }
    }

    /// A transaction that only memory has forgotten would be back after a crash, and the next round
    /// may remove its marker.
    async fn make_forgetting_durable(&self) {
        while let Err(error) = self.snapshot_producers().await {
            warn!(%error, "producer snapshot failed, cleaning waits");
            self.back_off().await;
        }
    }

    /// Waits for `log.cleaner.backoff.ms`, counted from now, whatever it is changed to meanwhile.
    async fn back_off(&self) {
        let mut live = self.watch_config();
        let began = self.deps.clock.monotonic();
        loop {
            let until = began + live.borrow_and_update().cleaner_backoff;
            tokio::select! {
                () = sleep(until.saturating_sub(self.deps.clock.monotonic())) => return,
                // The sender is this log's own.
                Ok(()) = live.changed() => {}
            }
        }
    }

    /// Seals the WAL's file where a compacted topic would roll its segment or has records older
    /// than it may keep out of compaction: only what lies in objects is cleaned.
    async fn seal_for_cleaning(&self) {
        let now_ms = self.deps.clock.now_ms();
        if !self.partitions().iter().any(|partition| partition.lock().wants_seal(now_ms)) {
            return;
        }
        let Some(wal) = self.shared().wal.get() else { return };
        if let Err(error) = wal.seal().await {
            debug!(%error, "sealing for compaction by key");
        }
    }

    fn collector(&self, in_use: ObjectsInUse) -> Collector {
        let deps = &self.deps;
        let collector_deps = CollectorDeps {
            metadata: Arc::clone(&deps.metadata),
            fence: deps.fence,
            storage: Arc::clone(&deps.objects),
            reader: self.shared().reader.clone(),
            in_use,
            clock: Arc::clone(&deps.clock),
        };
        let options = CollectorOptions {
            key_prefix: self.shared().key_prefix.clone(),
            interval: deps.config.gc_interval,
            orphan_interval: deps.config.gc_orphan_interval,
            grace: deps.config.gc_grace,
            ..CollectorOptions::default()
        };
        Collector::new(collector_deps, options)
    }
}

//! What goes wrong in one life of the broker, and how that life ends: drawn from the seed.

use std::time::Duration;

use common::rng::Rng;
use storage::{
    object_store::faulty::{FaultRates, FaultyObjectStore},
    wal::{
        WalFs,
        sim_fs::{Faults, SimWalFs},
    },
};

use crate::{history::History, incarnation::DISK_BYTES, options::FaultToggles};

/// How a life ends if nothing ends it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedEnd {
    /// The process is killed.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// SIGTERM.
    CleanStop,
}

/// One life's plan.
#[derive(Debug, Clone)]
pub struct LifePlan {
    /// Faults of the disk.
    pub disk: Faults,
    /// Faults of the object store.
    pub store: FaultRates,
    /// When the disk is full: from, for how long.
    pub disk_full: Option<(Duration, Duration)>,
    /// When the object store is away: from, for how long.
    pub outage: Option<(Duration, Duration)>,
    /// How long it lasts.
    pub duration: Duration,
    /// How it ends.
    pub end: PlannedEnd,
}

impl LifePlan {
    /// Draws a life under these faults.
    #[must_use]
    pub fn draw(rng: &Rng, faults: &FaultToggles) -> Self {
        let coin = || rng.below(2) == 0;
        let between = |from: u64, to: u64| Duration::from_millis(from + rng.below(to - from));
        let disk = Faults {
            capacity: Some(DISK_BYTES),
            fail_write_after: (faults.write_errors && coin()).then(|| rng.below(300)),
            fail_sync_after: (faults.sync_failure && coin()).then(|| rng.below(300)),
            power_loss_after: (faults.power_loss && coin()).then(|| rng.below(600)),
            write_error_one_in: if faults.write_errors { 40 + rng.below(200) } else { 0 },
            latency_ms_max: if faults.slow_disk { 20 + rng.below(480) } else { 1 + rng.below(8) },
        };
        let disk_full =
            (faults.disk_full && coin()).then(|| (between(300, 4000), between(1000, 12_000)));
        let outage = (faults.object_outage && coin())
            .then(|| (between(300, 4000), between(20_000, 180_000)));
        // The long ones let retention, compaction and GC take their turn between faults.
        let calm = if rng.below(4) == 0 { between(20_000, 60_000) } else { between(2000, 9000) };
        let last = outage.map_or(calm, |(from, length)| from + length + calm);
        Self {
            disk,
            store: store_faults(rng, faults),
            disk_full,
            outage,
            // Half of the outages do not end before the broker does.
            duration: if outage.is_some() && coin() { calm } else { last },
            end: end(rng, faults),
        }
    }

    /// A life in which nothing goes wrong.
    #[must_use]
    pub fn calm(duration: Duration) -> Self {
        let disk = Faults { capacity: Some(DISK_BYTES), latency_ms_max: 2, ..Faults::default() };
        let store = FaultRates { latency_max: Duration::from_millis(20), ..FaultRates::default() };
        let end = PlannedEnd::Kill;
        Self { disk, store, disk_full: None, outage: None, duration, end }
    }

    /// Puts the faults in place; those with a time come from a task of the current runtime.
    pub fn begin(&self, wal_fs: &SimWalFs, store: &FaultyObjectStore, history: &History) {
        wal_fs.set_faults(self.disk.clone());
        store.set_rates(self.store);
        store.set_outage(false);
        if let Some((from, length)) = self.disk_full {
            let (wal_fs, disk, trace) = (wal_fs.clone(), self.disk.clone(), history.trace.clone());
            tokio::spawn(async move {
                tokio::time::sleep(from).await;
                // The one-time faults that are due by now have struck, or never will.
                let rest = Faults {
                    fail_write_after: None,
                    fail_sync_after: None,
                    power_loss_after: None,
                    ..disk
                };
                let free = wal_fs.free_bytes().await.unwrap_or(DISK_BYTES);
                let full = Faults { capacity: Some(DISK_BYTES - free), ..rest.clone() };
                trace.line("fault: disk full");
                trace.mark("sim: disk full");
                wal_fs.set_faults(full);
                tokio::time::sleep(length).await;
                trace.line("fault over: disk full");
                wal_fs.set_faults(rest);
            });
        }
        if let Some((from, length)) = self.outage {
            let (store, trace) = (store.clone(), history.trace.clone());
            tokio::spawn(async move {
                tokio::time::sleep(from).await;
                trace.line("fault: object store away");
                trace.mark("sim: object store away");
                store.set_outage(true);
                tokio::time::sleep(length).await;
                trace.line("fault over: object store away");
                store.set_outage(false);
            });
        }
    }
}

fn store_faults(rng: &Rng, faults: &FaultToggles) -> FaultRates {
    let rate = |per_mille: u64| if faults.object_errors { rng.below(per_mille) } else { 0 };
    FaultRates {
        unavailable: rate(120),
        timeout: rate(30),
        reset_before: rate(60),
        reset_after: rate(100),
        truncated: rate(60),
        latency_max: Duration::from_millis(if faults.object_latency { 3000 } else { 50 }),
    }
}

fn end(rng: &Rng, faults: &FaultToggles) -> PlannedEnd {
    let mut ends = Vec::new();
    if faults.power_loss {
        ends.push(PlannedEnd::PowerLoss);
    }
    if faults.clean_stop {
        ends.push(PlannedEnd::CleanStop);
    }
    if faults.kill || ends.is_empty() {
        ends.push(PlannedEnd::Kill);
    }
    let chosen = rng.below(ends.len() as u64) as usize;
    ends.get(chosen).copied().unwrap_or(PlannedEnd::Kill)
}

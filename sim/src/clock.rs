//! The simulated clock: tokio's paused time, continued across the runtimes of one run (each start
//! of the broker has its own runtime, so that a crash can drop all of its tasks).

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use common::clock::Clock;

/// Unix milliseconds at which every run begins: 2026-01-01.
const EPOCH_MS: i64 = 1_767_225_600_000;

#[derive(Debug, Default)]
struct Inner {
    before: Duration,
    running: Option<tokio::time::Instant>,
}

/// Time of one run.
#[derive(Debug, Default)]
pub struct SimClock {
    inner: Mutex<Inner>,
}

impl SimClock {
    /// Begins to follow the current runtime's time. Call inside it.
    #[allow(clippy::disallowed_methods, reason = "tokio's paused time is the simulator's clock")]
    pub fn attach(&self) {
        self.lock().running = Some(tokio::time::Instant::now());
    }

    /// Stops at the current runtime's time. Call inside it.
    pub fn detach(&self) {
        let mut inner = self.lock();
        if let Some(start) = inner.running.take() {
            inner.before += start.elapsed();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.monotonic().as_millis()).unwrap_or(i64::MAX - EPOCH_MS)
    }

    fn monotonic(&self) -> Duration {
        let inner = self.lock();
        inner.before + inner.running.map_or(Duration::ZERO, |start| start.elapsed())
    }
}

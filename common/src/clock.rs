//! The clock seam. A wall clock never decides correctness: it stamps records and ages them;
//! leases and timeouts use [`Clock::monotonic`] or tokio's (pausable) time.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A clock shared by the components of one broker.
pub type SharedClock = Arc<dyn Clock>;

/// Where time comes from.
pub trait Clock: Send + Sync + Debug {
    /// Wall-clock time in milliseconds since the Unix epoch. May jump.
    fn now_ms(&self) -> i64;

    /// Time since an arbitrary fixed point. Never moves back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the seam that wraps the real clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// The same as [`SystemClock::new`], ready to share.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the seam that wraps the real clock")]
    fn now_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Tokio's time as a clock: simulated where the runtime's time is paused. The wall clock is the
/// monotonic one plus a fixed start, so a seed sees the same timestamps each time.
#[derive(Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
    epoch_ms: i64,
}

impl TokioClock {
    /// A clock that reads `epoch_ms` (Unix milliseconds) now. Needs a tokio runtime.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "tokio's time is the simulator's clock")]
    pub fn starting_at(epoch_ms: i64) -> Self {
        Self { start: tokio::time::Instant::now(), epoch_ms }
    }
}

impl Clock for TokioClock {
    fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.monotonic().as_millis()).unwrap_or(i64::MAX);
        self.epoch_ms.saturating_add(elapsed)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

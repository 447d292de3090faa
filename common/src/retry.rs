//! Bounded exponential back-off with jitter.

use std::time::Duration;

use crate::rng::Rng;

/// The pauses between attempts: doubling from `initial` to `max`, each drawn from its upper half.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    max: Duration,
    rng: Rng,
}

impl Backoff {
    /// A fresh sequence of pauses.
    #[must_use]
    pub fn new(initial: Duration, max: Duration, rng: Rng) -> Self {
        Self { next: initial, max, rng }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.max);
        let half = base / 2;
        let jitter = self.rng.below(u64::try_from(half.as_micros()).unwrap_or(u64::MAX));
        half + Duration::from_micros(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_bound_and_no_further() {
        let mut backoff =
            Backoff::new(Duration::from_millis(10), Duration::from_millis(80), Rng::seeded(1));
        let pauses: Vec<_> = (0..10).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= Duration::from_millis(5) && pauses[0] <= Duration::from_millis(10));
        assert!(pauses[9] >= Duration::from_millis(40) && pauses[9] <= Duration::from_millis(80));
    }
}

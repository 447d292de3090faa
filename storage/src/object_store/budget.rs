//! The retry budget: retries are paid for by successes, so that an outage at most doubles the
//! request rate once the reserve is spent (no retry storm).

use std::sync::atomic::{AtomicU64, Ordering};

/// Retries allowed with no success in between.
const RESERVE: u64 = 64;

/// Retries that may still be made.
#[derive(Debug)]
pub(super) struct RetryBudget {
    tokens: AtomicU64,
}

impl RetryBudget {
    pub(super) fn new() -> Self {
        Self { tokens: AtomicU64::new(RESERVE) }
    }

    /// A request succeeded: one more retry is allowed, up to the reserve.
    pub(super) fn succeeded(&self) {
        let grow = |tokens| (tokens < RESERVE).then_some(tokens + 1);
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow);
    }

    /// Takes one retry; `false` where none is left, and then the caller fails at once. Callers
    /// that must not give up have their own, slower rhythm.
    pub(super) fn take(&self) -> bool {
        let spend = |tokens: u64| tokens.checked_sub(1);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_end_with_the_reserve_and_successes_pay_for_more() {
        let budget = RetryBudget::new();
        for _ in 0..RESERVE {
            assert!(budget.take());
        }
        assert!(!budget.take());
        budget.succeeded();
        assert!(budget.take());
        assert!(!budget.take());
        for _ in 0..3 * RESERVE {
            budget.succeeded();
        }
        assert_eq!(budget.tokens.load(Ordering::Relaxed), RESERVE);
    }
}

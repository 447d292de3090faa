//! The memory budget (design D13): permits are taken before bytes are read, so that overload
//! slows clients down and never ends in the kernel killing the process.
//!
//! Pools of one budget are separate [`MemoryBudget`]s whose sizes add up to the configured total:
//! a frame that waits for log memory must not hold what the log needs to move on.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes per permit.
const PAGE_BYTES: usize = 1024;

/// A bound on bytes in use. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    permits: Arc<Semaphore>,
    pages: usize,
}

/// Bytes taken from a budget, given back on drop.
#[derive(Debug)]
pub struct Reservation {
    _permit: OwnedSemaphorePermit,
}

impl MemoryBudget {
    /// A budget of `bytes`, at least one page.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let pages =
            bytes.div_ceil(PAGE_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { permits: Arc::new(Semaphore::new(pages)), pages }
    }

    /// Waits until `bytes` are free. What is larger than the whole budget takes all of it, so a
    /// single legal request always gets through, alone.
    pub async fn acquire(&self, bytes: usize) -> Reservation {
        #[allow(clippy::expect_used, reason = "the semaphore is private and never closed")]
        let permit = Arc::clone(&self.permits)
            .acquire_many_owned(self.pages_for(bytes))
            .await
            .expect("the budget's semaphore is never closed");
        Reservation { _permit: permit }
    }

    /// Takes `bytes` if they are free now.
    #[must_use]
    pub fn try_acquire(&self, bytes: usize) -> Option<Reservation> {
        let permit =
            Arc::clone(&self.permits).try_acquire_many_owned(self.pages_for(bytes)).ok()?;
        Some(Reservation { _permit: permit })
    }

    /// Bytes taken now, in whole pages.
    #[must_use]
    pub fn used(&self) -> usize {
        (self.pages - self.permits.available_permits()) * PAGE_BYTES
    }

    /// The bound, bytes.
    #[must_use]
    pub fn total(&self) -> usize {
        self.pages * PAGE_BYTES
    }

    fn pages_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(PAGE_BYTES).min(self.pages)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reservation_larger_than_the_budget_takes_all_of_it() {
        let budget = MemoryBudget::new(10 * PAGE_BYTES);
        let all = budget.acquire(1 << 30).await;
        assert_eq!(budget.used(), budget.total());
        assert!(budget.try_acquire(1).is_none());
        drop(all);
        assert_eq!(budget.used(), 0);
    }
}

//! How much of the log the open batches of all tables hold together.
//!
//! A batch on its way into a commit keeps rows in memory: encoded pages of Parquet, or changes of an
//! upsert table. Over the limit, those tables that hold at least an equal share commit early. One
//! of them always does.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The limit and what is used of it.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    shares: AtomicUsize,
}

/// What one table uses.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of bytes of the log.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), shares: AtomicUsize::new(0) })
    }

    /// A table's part, empty.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        self.shares.fetch_add(1, Ordering::Relaxed);
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// Takes up bytes; there is no waiting.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What it uses.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives all back.
    pub(crate) fn clear(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }

    /// Whether the table should commit now for the sake of the others.
    pub(crate) fn is_over(&self) -> bool {
        let Budget { limit, used, shares } = self.budget.as_ref();
        let equal = limit / shares.load(Ordering::Relaxed).max(1);
        used.load(Ordering::Relaxed) > *limit && self.bytes >= equal
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
        self.budget.shares.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_most_commits_first() {
        let budget = Budget::new(100);
        let (mut large, mut small) = (budget.share(), budget.share());
        large.add(80);
        small.add(20);
        assert!(!large.is_over() && !small.is_over());
        small.add(1);
        assert!(large.is_over() && !small.is_over());
        large.clear();
        assert!(!large.is_over() && !small.is_over());
        drop(large);
        small.add(80);
        assert!(small.is_over());
    }
}

//! Fetches that wait for records: bounded, woken by the partitions that they read, never polled.
//!
//! Each waits for itself: a sync wakes those that watch one of its partitions and no others.

use std::sync::Arc;

use storage::{Partition, ReadWaiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bound on delayed fetches.
#[derive(Debug)]
pub struct Purgatory {
    places: Arc<Semaphore>,
}

/// One delayed fetch.
#[derive(Debug)]
pub struct Delayed {
    waiter: Arc<ReadWaiter>,
    _place: OwnedSemaphorePermit,
}

impl Purgatory {
    /// Room for `delayed_max` fetches.
    #[must_use]
    pub fn new(delayed_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(delayed_max.min(Semaphore::MAX_PERMITS))) }
    }

    /// A place to wait in; `None` where all are taken, and the fetch is answered at once with what
    /// there is.
    #[must_use]
    pub fn enter(&self) -> Option<Delayed> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Delayed { waiter: Arc::default(), _place: place })
    }
}

impl Delayed {
    /// Has the fetch woken when the partition's high watermark moves from now on. Look at the
    /// partition again afterwards: it may have moved before.
    pub fn watch(&self, partition: &Partition) {
        partition.watch(&self.waiter);
    }

    /// Completes once a watched partition has moved. Wake-ups before the call count.
    pub async fn woken(&self) {
        self.waiter.woken().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_purgatory_takes_no_more_until_one_leaves() {
        let purgatory = Purgatory::new(1);
        let delayed = purgatory.enter();
        assert!(delayed.is_some());
        assert!(purgatory.enter().is_none());
        drop(delayed);
        assert!(purgatory.enter().is_some());
    }
}

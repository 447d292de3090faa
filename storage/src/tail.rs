//! The bound on the log's tail in memory: which runs keep their bytes for tail consumers.
//!
//! Runs enter in WAL order and leave first-in first-out. Neighbours in the queue share arenas, so
//! arenas are freed as their last run leaves. A run that left is read from its WAL file or object.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::partition::Partition;

/// What a run costs besides its bytes: its entries here and in its partition, and its share of the
/// arena's and the file's bookkeeping. Charged so that tiny runs are bounded, too.
const RUN_BYTES: usize = 160;

/// The queue of runs whose bytes are in memory.
#[derive(Debug)]
pub(crate) struct TailCache {
    bytes_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    runs: VecDeque<(Weak<Partition>, i64, usize)>,
    bytes: usize,
}

impl TailCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, queue: Mutex::default() }
    }

    /// Charges a partition's new runs (`(base offset, bytes)` each) and evicts the oldest runs of
    /// any partition while the bound is exceeded.
    pub(crate) fn admit(
        &self,
        partition: &Arc<Partition>,
        runs: impl Iterator<Item = (i64, usize)>,
    ) {
        for victim in self.charge(partition, runs) {
            if let Some(owner) = victim.0.upgrade() {
                owner.evict_run(victim.1);
            }
        }
    }

    /// Bytes of runs in memory, with what keeping them costs.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    fn charge(
        &self,
        partition: &Arc<Partition>,
        runs: impl Iterator<Item = (i64, usize)>,
    ) -> Vec<(Weak<Partition>, i64)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for (base_offset, bytes) in runs {
            let bytes = bytes + RUN_BYTES;
            queue.runs.push_back((Arc::downgrade(partition), base_offset, bytes));
            queue.bytes += bytes;
        }
        let mut victims = Vec::new();
        while queue.bytes > self.bytes_max {
            let Some((owner, base_offset, bytes)) = queue.runs.pop_front() else { break };
            queue.bytes -= bytes;
            victims.push((owner, base_offset));
        }
        victims
    }
}

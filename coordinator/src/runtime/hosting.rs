//! A coordinator's topic as a whole: hosted when it is there, given up when it goes, and asked which
//! of its partitions an id belongs to.

use std::sync::atomic::Ordering;

use protocol::ErrorCode;

use super::Runtime;
use crate::{partition::partition_for, shard::Shard};

impl<S: Shard> Runtime<S> {
    /// Hosts all partitions of the coordinator's topic, which has `count`: those that are new are
    /// loaded in the background.
    pub fn host(&self, count: i32) {
        self.inner.topic_partitions.store(count, Ordering::Release);
        for partition in 0..count {
            self.start(partition);
        }
    }

    /// Hosts nothing any more: the topic is gone.
    pub fn release(&self) {
        self.inner.topic_partitions.store(0, Ordering::Release);
        for partition in self.partitions() {
            self.stop(partition);
        }
    }

    /// The partition that an id belongs to.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` while there is no topic.
    pub fn partition_of(&self, id: &str) -> Result<i32, ErrorCode> {
        match self.inner.topic_partitions.load(Ordering::Acquire) {
            0 => Err(ErrorCode::NotCoordinator),
            count => Ok(partition_for(id, count)),
        }
    }
}

//! What decided transactions ask of the outside: markers in their partitions, and producer ids.
//!
//! A shard never waits. What it needs leaves through a queue once the record that asks for it is
//! durable, and comes back as an operation. A shard that is loaded asks again for all that was not
//! finished, so nothing is lost with a queue.

use std::{collections::BTreeSet, fmt::Debug};

use common::ProducerId;
use tokio::sync::mpsc;

use super::metadata::{TopicPartition, TransactionVersion};

/// Markers to write: the end of one transaction in each of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markers {
    /// Whose transaction it is.
    pub transactional_id: String,
    /// The offset of the decision in the shard's partition: no two have the same.
    pub decided_at: i64,
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch, as the decision bumped it.
    pub producer_epoch: i16,
    /// Committed, or aborted.
    pub committed: bool,
    /// What the client spoke: with KIP-890 a marker's epoch is above that of its records.
    pub version: TransactionVersion,
    /// Where they go.
    pub partitions: BTreeSet<TopicPartition>,
}

/// Something to be done for a shard of `__transaction_state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The transaction of this id is decided: write [`TransactionShard::pending_markers`], then
    /// report to the shard. At most one task may do so per id: with clients older than KIP-890, a
    /// marker that is written twice could end the next transaction too.
    ///
    /// [`TransactionShard::pending_markers`]: super::TransactionShard::pending_markers
    Complete(String),
    /// A transaction has timed out, and its producer id has no epoch left: get another one and
    /// abort.
    Abort(TimedOut),
}

/// A transaction whose time is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    /// Whose transaction it is.
    pub transactional_id: String,
    /// The producer at the time.
    pub producer_id: ProducerId,
    /// Its epoch at the time.
    pub producer_epoch: i16,
}

/// Where a shard's [`Work`] goes. The queue is as long as there are transactions being completed,
/// which is at most one per transactional id.
#[derive(Debug, Clone)]
pub struct WorkQueue(mpsc::UnboundedSender<Work>);

impl WorkQueue {
    /// A queue and its other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Work>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Hands work over. Where nobody takes it any more, the broker is stopping, and the shard's
    /// next load asks again.
    pub(super) fn push(&self, work: Work) {
        let _ = self.0.send(work);
    }
}

//! The transaction coordinator (KIP-98, KIP-360, KIP-890): who may write under a transactional id,
//! what its transaction touches, and how it ends.
//!
//! ```text
//!            InitProducerId (epoch + 1)           AddPartitions, or a Produce by itself
//!   (new) ──────────────────────────► Empty ───────────────────────────► Ongoing ◄─┐ more partitions
//!                                      ▲  └ abort of nothing (TV2) ┐      │  │   └─┘
//!                                      │                           │      │  │ commit
//!                         InitProducerId                           │      │  └──────► PrepareCommit
//!                                      │                           ▼      ▼ abort, timeout, │ markers in
//!                        CompleteAbort ◄─────────────────────── PrepareAbort   fencing      │ every partition
//!                        CompleteCommit ◄───────────────────────────────────────────────────┘
//! ```
//!
//! With `transaction.version` 2 the end of each transaction bumps the producer's epoch, so a request
//! that belongs to the one before can be told from those of the next (invariant TXN-4). What Kafka
//! calls a pending state does not exist here but for one: records are replayed as they are appended,
//! so a shard is never between two states, except that a transaction that is being completed
//! (`PrepareCommit`, `PrepareAbort`) waits for its markers and refuses everything until then.
//!
//! [`TransactionShard`] decides; [`markers`] says what its decisions ask of the partitions;
//! [`service`] is what handlers call.

mod add_partitions;
mod describe;
mod end;
mod expiration;
mod init_producer_id;
pub mod markers;
mod metadata;
mod records;
pub mod service;
mod shard;
mod state;

#[cfg(test)]
mod tests;

pub use self::{
    add_partitions::AddPartitions,
    describe::{Description, Listing, TransactionFilter},
    end::{EndTransaction, Ended},
    init_producer_id::{InitProducerId, ProducerIdAndEpoch},
    metadata::{TopicPartition, TransactionMetadata, TransactionVersion},
    records::TransactionRecord,
    shard::{Attempt, TransactionConfig, TransactionShard, TransactionTimer},
    state::TransactionState,
};

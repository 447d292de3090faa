//! The log of StreamHouse: partitions over one write-ahead log and the object store.
//!
//! ```text
//!  handlers ── append ──▶ Partition ── enqueue ──▶ wal (one writer, one sync per group)
//!     ▲                      │ ▲ ▲                      │ sealed file / flushed range
//!     └─────── read ─────────┘ │ └───── committed ── upload ──▶ object store (L0)
//!        hot: arenas           └─────── replaced ─── compaction ──▶ (L1, per partition)
//!        warm: WAL file                    gc, retention ──▶ what nobody refers to goes
//!        cold: objects
//! ```
//!
//! A record is acknowledged and visible when it is durable by its topic's class: synced in the
//! WAL (`local`) or committed in the object store (`object`). Until then an append is tentative
//! and a failed write takes it back. [`Log`] is the whole of a broker's partitions; [`Log::open`]
//! recovers them from metadata, objects and the WAL's files. The persisted formats are described
//! in `docs/rfcs/0003-wal.md` and `docs/rfcs/0005-objects.md`.

pub mod compaction;
pub mod gc;
pub mod object;
pub mod object_store;
pub mod wal;

mod append;
mod background;
mod cache;
mod class;
mod config;
mod epochs;
mod error;
mod hold;
mod log;
mod maintenance;
mod marker;
mod open;
mod partition;
mod producer_snapshot;
mod producer_state;
mod read;
mod retention;
mod synced_run;
mod tail;
mod timestamps;
mod transactions;
mod txn_index;
pub mod upload;
mod waiter;

pub use crate::{
    append::{Acks, AppendOrigin, Appended, Ticket},
    config::{CleanupPolicy, Durability, LiveLogConfig, LogConfig, TopicLogConfig},
    error::{AppendError, Error, ReadError},
    hold::Hold,
    log::{Log, LogDeps, LogStats},
    marker::EndTransaction,
    partition::{Offsets, Partition},
    producer_state::{ActiveProducer, ProducerBatch, SequenceError, VerificationGuard},
    read::{IsolationLevel, ReadRequest, ReadResult},
    timestamps::TimestampOffset,
    txn_index::{AbortedTransaction, AbortedTransactions},
    waiter::ReadWaiter,
};

//! Topics become Delta tables, exactly once.
//!
//! ```text
//!  catalog ──▶ Sink: one Committer per table
//!                reader (committed records) ──▶ rows ──▶ Parquet files, not yet seen by anybody
//!                                                          │ interval, size or a new schema
//!                                                          ▼
//!                       one Delta commit: files + schema + a transaction per changed partition
//! ```
//!
//! Rows and progress are one atomic commit. What a commit builds on says from where: after a
//! crash, a conflict or an unknown outcome, the table is read anew and goes on from there.
//! The sink reads the log through `storage`, never through the broker, on its own threads.

mod budget;
mod committer;
pub mod dead_letter;
mod delta;
mod error;
mod history;
mod removal;
mod replay;
mod service;
mod status;
mod store;
mod upkeep;
mod upsert;

pub use crate::{
    delta::TableLog,
    error::SinkError,
    replay::{ReplayError, Replayed},
    service::{Sink, SinkDeps},
    status::{Activity, TableStatus},
    store::TableStore,
};

//! Durable metadata: topics, partition leases, objects and their extents, producer id blocks.
//!
//! ```text
//!   broker, storage ──▶ MetadataStore (store.rs)          one trait, requests and rows as types
//!                            │
//!                     operations (operations/*.rs)        the semantics, written once
//!                            │
//!                       Rows (rows.rs)                    row primitives of one transaction
//!                      ┌─────┴──────┐
//!                   memory/      sqlite/                  back ends: no rule lives here
//! ```
//!
//! Every write is one transaction that begins with the check of the session's fence. The format
//! on disk is described in `docs/rfcs/0004-metadata.md`.

mod cluster_id;
#[cfg(test)]
mod conformance;
mod engine;
mod error;
mod memory;
pub mod model;
mod operations;
pub mod request;
mod rows;
mod sqlite;
mod store;

pub use cluster_id::cluster_id;
pub use error::{Error, Result};
pub use memory::MemoryStore;
pub use model::{
    Configs, EpochStart, Extent, Fence, Image, NODE_ID_DEFAULT, ObjectLevel, ObjectRow,
    ObjectState, Partition, Session, Topic, WalRange,
};
pub use request::{
    ExtentOutcome, L0Commit, L1Commit, L1Input, L1Output, LogStart, NewEpochStart, NewObject,
    NewTopic, OpenSession, ReadableEnd,
};
pub use sqlite::SqliteStore;
pub use store::MetadataStore;

//! SQL over topics: a table is its Delta snapshot together with the log's tail.
//!
//! ```text
//!  POST /api/v1/query ─┐                       ┌─▶ Delta files up to the snapshot's offset vector
//!  streamhouse sql ────┼─▶ engine ─▶ view ─────┤
//!  PostgreSQL's wire ──┘   (DataFusion)        └─▶ tail: the log from there to the last stable offset
//! ```
//!
//! A name may carry a moment ([`travel`]): a version, a time, offsets, or offsets to wait for. Topics
//! without a table are their tails alone ([`topics`]).
//!
//! A snapshot, its offset vector and the ends of the partitions are taken once per query and
//! table, so every record is seen exactly once, however the sink goes on meanwhile.

mod bounds;
mod catalog;
mod division;
mod engine;
mod error;
pub mod http;
mod output;
pub mod pg;
mod pruning;
mod running;
mod statement;
mod strings;
mod tail;
mod topics;
mod travel;
mod upsert;
mod view;
mod wait;
mod yielding;

pub use crate::{
    engine::{Answer, QueryEngine, QueryOptions},
    error::QueryError,
    running::{Failure, Queries, QueryInfo},
};

//! SQL over topics: a table is its Delta snapshot together with the log's tail.
//!
//! ```text
//!  POST /api/v1/query ─┐                       ┌─▶ Delta files up to the snapshot's offset vector
//!  streamhouse sql ────┴─▶ engine ─▶ view ─────┤
//!                          (DataFusion)        └─▶ tail: the log from there to the last stable offset
//! ```
//!
//! A snapshot, its offset vector and the ends of the partitions are taken once per query and
//! table, so every record is seen exactly once, however the sink goes on meanwhile.

mod catalog;
mod division;
mod engine;
mod error;
pub mod http;
mod output;
mod statement;
mod tail;
mod view;

pub use crate::{
    engine::{Answer, QueryEngine, QueryOptions},
    error::QueryError,
};

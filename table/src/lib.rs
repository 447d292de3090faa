//! Topics as tables: which are, under which names and schemas, and how records become rows.
//!
//! ```text
//!  storage ──▶ reader (committed records) ──▶ rows by a schema version ──▶ lakehouse-sink ──▶ Delta
//!                                   │                     ▲          └──▶ query (the log's tail)
//!                                   └──▶ infer ──▶ schema, persisted in metadata
//! ```
//!
//! Sink and query share this crate, so that a record looks the same in the table and in the log's
//! tail. The rules are in `docs/rfcs/0009-tables.md`.

pub mod alias;
pub mod catalog;
pub mod config;
pub mod decode;
pub mod deletion;
pub mod dry_run;
pub mod infer;
pub mod json;
pub mod name;
pub mod partition;
pub mod reader;
pub mod rows;
pub mod rules;
pub mod schema;
pub mod state;
pub mod table;
pub mod transform;

//! The sink over a whole broker in one process: what is in a table is what is in its topic.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(missing_docs)]

// As other crates know it: `support` is theirs too.
extern crate streamhouse_lakehouse_sink as lakehouse_sink;

mod changes;
mod deletion;
mod exactly_once;
mod golden;
mod layout;
mod rebuild;
mod replay;
mod rules;
mod support;
mod upserts;

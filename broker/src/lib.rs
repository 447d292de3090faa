//! The broker: listeners, connections, dispatch and one handler per Kafka API.
//!
//! ```text
//!  socket ─► server (accept, caps) ─► connection (frames, order, back-pressure)
//!                                        │ dispatch: key → handler, version, memory, metrics
//!                                        ▼
//!                                  handlers/<api> ─► storage::Log      (records)
//!                                        │      └──► catalog           (topics: immutable image)
//!                                        │                └─► metadata (changes only)
//!                                        ▼
//!                              response, written in request order
//! ```
//!
//! Adding an API is one file in `handlers`, one line in `dispatch` and one row in
//! `protocol::api_key`. Nothing is advertised that has no handler.

pub mod acl;
pub mod catalog;
pub mod config;
pub mod context;
pub mod coordination;
pub mod features;
pub mod fetch_session;
pub mod handler;
pub mod http;
pub mod metrics;
pub mod options;
pub mod producer_ids;
pub mod purgatory;
pub mod server;
pub mod shutdown;
pub mod start;
pub mod tables;
pub mod testing;
pub mod topic_name;

mod connection;
mod dispatch;
mod handlers;
mod leadership;

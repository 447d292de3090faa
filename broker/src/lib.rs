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
pub mod options;

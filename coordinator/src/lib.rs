//! The coordinators: groups and transactions as pure state machines over a log (design D7).
//!
//! ```text
//!  handler ─► service (routing: id → partition) ─► runtime ─► shard (one per partition)
//!                                                     │          op(shard) = records + response
//!                                                     │ append   │
//!                                                     ▼          ▼
//!                                            CoordinatorLog   replay(record): the only way that
//!                                                     │       hard state changes, live and at load
//!                                                     ▼
//!                              the answer leaves when what it reveals is durable
//! ```
//!
//! The crate knows no storage: records leave through a log trait that the broker implements over
//! `__consumer_offsets` and `__transaction_state`. Formats are Kafka 4.3's own. See
//! `docs/rfcs/0006-coordinators.md`.

pub mod group;
pub mod log;
pub mod partition;
mod records;
pub mod runtime;
pub mod shard;
pub mod testing;
pub mod topics;
pub mod transaction;

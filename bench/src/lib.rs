//! A load generator for any Kafka broker that costs little itself, so that the broker is what saturates.
//!
//! ```text
//!  batches  record batches, encoded and compressed once, before the clock starts
//!     │
//!  produce ─ as fast as acks allow      latency ─ at a fixed rate, open loop      consume ─ fetch, count, drop
//!     │             over many pipelined connections (wire), one thread
//!  rebalance ─ all members of a group join again at once, over a connection each
//!  transactions ─ begin, write, commit, again, in both protocols
//!  groups ─ many groups, whose members do nothing but heartbeat      commits ─ offsets, for many groups
//!  compaction ─ a topic full of duplicate keys is cleaned
//!  process  the broker's CPU seconds and memory before and after, from /proc
//!     └──▶ report: one line `RESULT key=value …` per figure
//! ```
//!
//! Invariant: a figure is printed only if every request was answered without an error. Records are
//! never encoded or decoded while the clock runs, except where latency has to look into them.

// A load generator measures real time.
#![allow(clippy::disallowed_methods)]

pub mod batches;
mod classic;
pub mod cluster;
pub mod commits;
pub mod compaction;
pub mod consume;
pub mod groups;
pub mod histogram;
pub mod latency;
mod pipeline;
pub mod process;
pub mod produce;
pub mod rebalance;
pub mod report;
pub mod transactions;
pub mod wire;

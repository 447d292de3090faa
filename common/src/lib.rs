//! What every StreamHouse crate shares: identifiers, the seams of determinism (clock, randomness,
//! task spawning), the memory budget, named limits and named invariants.
//!
//! ```text
//!   cli ── broker ── storage ── metadata
//!    └───────┴─────────┴──────────┴──▶ common   (depends on no sibling)
//! ```
//!
//! The seams exist so that one seed replays a whole broker in `sim`: code reaches wall time,
//! random numbers and threads only through [`clock`], [`rng`] and [`spawn`]; clippy's
//! `disallowed-methods` bans the direct ways everywhere else.

pub mod buffers;
pub mod clock;
pub mod ids;
pub mod invariant;
pub mod limits;
pub mod memory;
pub mod retry;
pub mod rng;
pub mod spawn;

pub use ids::{LeaderEpoch, NodeId, ObjectId, PartitionKey, ProducerId, TopicId};

//! The deterministic simulator: one seed is one run of a whole broker on one thread, with clients
//! that speak Kafka's protocol and a disk and an object store that fail (design D12).
//!
//! ```text
//!  seed ─► options (swarm of faults) ─► world: life 1, crash, life 2, …, heal, check
//!                                         │ one paused current-thread runtime each
//!   clients: producer, fetcher, member, … ┤ frames over in-process pipes
//!   broker: connection → dispatch → log ──┤
//!   SimWalFs, FaultyObjectStore, MemoryStore: survive the crash as their kind does
//!                                         ▼
//!   model (what was promised) ─ invariants (LOG-1..6, IDM-1..3) ─ trace (hash, marks)
//!   groups (what members were told) ─ GRP-1..3
//! ```
//!
//! A violation names the invariant and the seed; `cargo run -p streamhouse-sim -- --seed N --trace`
//! replays it. `docs/simulation.md` is the manual.

pub mod clients;
pub mod clock;
pub mod finale;
pub mod groups;
pub mod history;
pub mod incarnation;
pub mod invariants;
pub mod model;
pub mod observer;
pub mod ops;
pub mod options;
pub mod payload;
pub mod report;
pub mod schedule;
pub mod start_error;
pub mod trace;
pub mod world;

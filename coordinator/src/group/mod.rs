//! The group coordinator: one [`GroupShard`] per partition of `__consumer_offsets`.
//!
//! `shard` holds the state and hands each record, timer and reload to the part that it concerns:
//! `offsets` (committed and pending), `classic` (JoinGroup and its kin), `consumer` (KIP-848). Each
//! part keeps its operations as `impl GroupShard` in its own files.

mod admin;
pub mod assignor;
pub mod classic;
pub mod config;
pub mod consumer;
pub mod error;
pub mod kind;
pub mod offsets;
pub mod records;
pub mod service;
pub mod shard;

pub use self::{
    config::GroupConfig,
    error::GroupError,
    kind::{CommitIdentity, CommitPartitionValidator, Group, OffsetExpiration},
    records::GroupRecord,
    service::GroupCoordinator,
    shard::{GroupContext, GroupOutcome, GroupShard, GroupTimer},
};

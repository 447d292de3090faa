//! Configuration: one table of keys, typed values, and the layers that decide which value wins.
//!
//! ```text
//!  flags ─┐
//!  env ───┼─► sources (StaticConfig) ─┐                 ┌─► broker::BrokerConfig   at start
//!  file ──┘       ▲                   ├─► effective ────┼─► topic::log_config      the log
//!            names (THE table)        │    (Layers)     └─► DescribeConfigs
//!  AlterConfigs ─► dynamic (Configs) ─┘
//! ```
//!
//! Keys that Kafka has keep its names, types, defaults and messages; ours begin with
//! `streamhouse.`. `docs/config.md` is generated from the table.

pub mod alter;
pub mod broker;
pub mod coordinator;
pub mod docs;
pub mod dynamic;
pub mod effective;
pub mod group;
pub mod listeners;
pub mod names;
pub mod properties;
pub mod secret;
pub mod sources;
pub mod topic;
pub mod value;

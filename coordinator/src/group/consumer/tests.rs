//! The rules of the protocol, on a shard with its log in memory.

mod classic;
mod heartbeat;
mod migration;
mod offsets;
mod random;
mod records;
mod regexes;
mod support;

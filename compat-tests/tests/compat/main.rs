//! What must hold when real clients use a real broker; one module per client or fault. See the
//! crate's documentation.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout
)]
#![allow(missing_docs)]

mod classic_groups;
mod clients;
mod compaction;
mod connect;
mod console_groups;
mod consumer_groups;
mod disk_full;
mod exactly_once;
mod flights;
mod groups;
mod java_members;
mod java_tools;
mod kafka_suite;
mod kcat;
mod kill_nine;
mod librdkafka;
mod mirror;
mod object_class;
mod operations;
mod postgres;
mod power_loss;
mod restart;
mod streams;
mod sync_error;
mod table_configs;
mod tables;
mod transactions;
mod verifiable;
mod workload;
mod wrong_bytes;

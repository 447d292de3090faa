//! The log as a whole over a simulated disk, an in-memory object store and in-memory metadata:
//! what the crate promises to the broker, through its public face only.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod append;
mod class;
mod harness;
mod objects;
mod read;
mod recovery;
mod retention;
mod review;
mod timestamps;
mod transactions;

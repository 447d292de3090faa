//! What each request does to the rows: the store's semantics, written once for all back ends.
//!
//! An operation gets one open transaction. It returns an error before it has to be undone where
//! it can, but need not: the transaction of a failed operation is dropped.

pub(crate) mod compaction;
pub(crate) mod configs;
pub(crate) mod epochs;
pub(crate) mod extents;
pub(crate) mod objects;
pub(crate) mod partitions;
pub(crate) mod pointers;
pub(crate) mod producer_ids;
pub(crate) mod sessions;
pub(crate) mod snapshot;
pub(crate) mod topics;

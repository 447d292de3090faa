//! A synced run as its partition keeps it.
//!
//! Invariant: the bytes are in memory, in a WAL file that is held open, or in an object. The file is
//! let go of as soon as an object has the bytes: the tail in memory of a quiet broker reaches far
//! back, and it would hold open every file that was written since.

use std::sync::Arc;

use bytes::Bytes;

use crate::wal::{Run, WalFileRef};

/// Contiguous whole batches.
#[derive(Debug)]
pub(crate) struct SyncedRun {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) max_timestamp: i64,
    /// Bytes of the batches.
    pub(crate) len: u32,
    /// The batches, while the tail in memory has room for them.
    pub(crate) data: Option<Bytes>,
    /// Where the WAL has them, until an object does.
    pub(crate) place: Option<Place>,
}

/// A place in a WAL file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: Arc<WalFileRef>,
    pub(crate) position: u64,
}

impl From<Run> for SyncedRun {
    fn from(run: Run) -> Self {
        Self {
            base_offset: run.base_offset,
            last_offset: run.last_offset,
            max_timestamp: run.max_timestamp,
            len: run.len,
            data: run.data,
            place: Some(Place { file: run.file, position: run.position }),
        }
    }
}

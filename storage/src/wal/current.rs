//! The file that is being written: where its blocks go, and how it is closed.
//!
//! Invariants: `end` is the position after the last *synced* block; a block goes exactly there, so
//! what a failed write left behind is overwritten or cut off before anything follows it; a sealed
//! file is always shorter than its capacity, which tells it from a torn one.

use std::{io, sync::Arc};

use bytes::Bytes;
use common::limits::WAL_BLOCK_ALIGN;

use super::{
    WalFile, WalFileRef,
    block::{BlockHeader, MARKER_BYTES},
    head::HEAD_BYTES,
    plan::marker_parts,
    prepare::Prepared,
};

/// Kept free behind the last data block: the seal, and one sector more.
pub(super) const SEAL_RESERVE: u64 = MARKER_BYTES + WAL_BLOCK_ALIGN;

/// Why bytes are not in the log.
#[derive(Debug)]
pub(super) enum Failed {
    /// They were not written; the log can go on without them.
    Write(io::Error),
    /// They may or may not be there; nothing can go on.
    Sync(io::Error),
}

/// The file and how far it is used.
#[derive(Debug)]
pub(super) struct Current {
    file: Box<dyn WalFile>,
    pub(super) handle: Arc<WalFileRef>,
    pub(super) capacity: u64,
    /// Position after the last synced block.
    pub(super) end: u64,
    /// Whether it holds a block with batches.
    pub(super) has_batches: bool,
}

impl Current {
    /// Starts to use a prepared file.
    pub(super) fn new(prepared: Prepared) -> Self {
        let Prepared { file, reader, head } = prepared;
        let handle = Arc::new(WalFileRef::new(head.file_id, head.nonce, reader));
        Self { file, handle, capacity: head.capacity, end: HEAD_BYTES, has_batches: false }
    }

    /// Bytes of a file that has room for one block of `len` bytes.
    pub(super) fn capacity_for(len: u64) -> u64 {
        HEAD_BYTES + len + SEAL_RESERVE
    }

    /// Whether a block of `len` bytes, and the seal after it, still fit.
    pub(super) fn fits(&self, len: u64) -> bool {
        self.end.saturating_add(len).saturating_add(SEAL_RESERVE) <= self.capacity
    }

    /// Writes a block's bytes at the end. Not synced.
    pub(super) async fn write(&mut self, parts: &[Bytes]) -> Result<(), Failed> {
        self.file.write_at(self.end, parts).await.map_err(Failed::Write)
    }

    /// Syncs the block of `len` bytes that was written last.
    pub(super) async fn sync(&mut self, len: u64) -> Result<(), Failed> {
        self.file.sync_data().await.map_err(Failed::Sync)?;
        self.end += len;
        Ok(())
    }

    /// Writes and syncs a commit marker with this number.
    pub(super) async fn mark(&mut self, sequence: u64) -> Result<(), Failed> {
        let marker = BlockHeader::marker(self.handle.nonce, sequence, self.end, false);
        self.write(&marker_parts(&marker)).await?;
        self.sync(MARKER_BYTES).await
    }

    /// Writes and syncs the seal, then cuts off what is behind it and syncs that. After an error
    /// it can be called again with the same number.
    pub(super) async fn seal(&mut self, sequence: u64) -> Result<(), Failed> {
        let marker = BlockHeader::marker(self.handle.nonce, sequence, self.end, true);
        self.write(&marker_parts(&marker)).await?;
        self.sync(0).await?;
        self.file.set_len(self.end + MARKER_BYTES).await.map_err(Failed::Write)?;
        self.sync(MARKER_BYTES).await
    }
}

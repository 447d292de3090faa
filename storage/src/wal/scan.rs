//! Walks the blocks of a WAL file or of an L0 object: for recovery, the footer builder, cold reads.
//!
//! Invariants: positions are those of the WAL file, wherever the bytes come from; memory is bounded
//! by one window and one directory; no length is believed beyond the end of the range.

use std::{io, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    WalFileRef,
    block::{BLOCK_HEADER_BYTES, BlockError, BlockHeader, Directory},
};

/// Bytes read at once for headers and directories.
const WINDOW_BYTES: u64 = 256 << 10;

/// Bytes of a WAL file, from the file or from an object that holds a range of it.
#[async_trait]
pub trait BlockSource: Send + Sync {
    /// Exactly `len` bytes at `position` of the WAL file.
    async fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes>;
}

#[async_trait]
impl BlockSource for WalFileRef {
    async fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        Self::read_at(self, position, len)
    }
}

/// Why a scan stops.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The bytes could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes at `position` are not the next block.
    #[error("at {position}: {error}")]
    Block {
        /// Position in the WAL file.
        position: u64,
        /// What is wrong.
        error: BlockError,
    },
}

/// A block without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedBlock {
    /// Its header; `header.position` is where it is.
    pub header: BlockHeader,
    /// What it holds; empty for a marker.
    pub directory: Directory,
}

impl ScannedBlock {
    /// Position of the payload in the WAL file.
    #[must_use]
    pub fn payload_position(&self) -> u64 {
        self.header.position + self.header.payload_start()
    }
}

/// Reads one block after the other.
pub struct BlockScanner<'a> {
    source: &'a dyn BlockSource,
    nonce: Option<u64>,
    position: u64,
    end: u64,
    window: (u64, Bytes),
}

impl<'a> BlockScanner<'a> {
    /// Scans the blocks in `range` of a WAL file. Without a `nonce` the first block's holds for all.
    #[must_use]
    pub fn new(source: &'a dyn BlockSource, nonce: Option<u64>, range: Range<u64>) -> Self {
        let Range { start: position, end } = range;
        Self { source, nonce, position, end, window: (0, Bytes::new()) }
    }

    /// Where the next block should be.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next block's header and directory, both checked; `None` at the end of the range. After
    /// an error the scanner stays where it is.
    ///
    /// # Errors
    /// `Io`; `Block` where no block of this file starts, or it does not end within the range.
    pub async fn next(&mut self) -> Result<Option<ScannedBlock>, ScanError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let block = self.block().await?;
        self.nonce = Some(block.header.nonce);
        self.position = block.header.end();
        Ok(Some(block))
    }

    /// The payload of a block. Its batches are not checked: see [`Directory::verify`].
    ///
    /// # Errors
    /// `Io`.
    pub async fn payload(&mut self, block: &ScannedBlock) -> Result<Bytes, ScanError> {
        self.read(block.payload_position(), u64::from(block.header.payload_len)).await
    }

    async fn block(&mut self) -> Result<ScannedBlock, ScanError> {
        let position = self.position;
        let wrong = |error| ScanError::Block { position, error };
        let available = self.end - position;
        if available < BLOCK_HEADER_BYTES as u64 {
            let needed = BLOCK_HEADER_BYTES as u64;
            return Err(wrong(BlockError::Truncated { needed, available }));
        }
        let raw = self.read(position, BLOCK_HEADER_BYTES as u64).await?;
        let header = BlockHeader::decode(&raw).map_err(wrong)?;
        if !header.is_at(self.nonce.unwrap_or(header.nonce), position) {
            return Err(wrong(BlockError::Misplaced));
        }
        let needed = header.total_len();
        if needed > available {
            return Err(wrong(BlockError::Truncated { needed, available }));
        }
        let at = position + BLOCK_HEADER_BYTES as u64;
        let raw = self.read(at, u64::from(header.directory_len)).await?;
        let directory = Directory::decode(&header, &raw).map_err(wrong)?;
        Ok(ScannedBlock { header, directory })
    }

    /// Bytes within the range, through the window unless they are larger than it.
    async fn read(&mut self, position: u64, len: u64) -> Result<Bytes, ScanError> {
        let (start, window) = &self.window;
        let inside = position
            .checked_sub(*start)
            .filter(|from| from.saturating_add(len) <= window.len() as u64);
        if let Some(from) = inside {
            return Ok(window.slice(from as usize..(from + len) as usize));
        }
        if len > WINDOW_BYTES {
            return Ok(self.source.read_at(position, len as usize).await?);
        }
        let ahead = WINDOW_BYTES.min(self.end.saturating_sub(position)).max(len);
        let window = self.source.read_at(position, ahead as usize).await?;
        self.window = (position, window.clone());
        Ok(window.slice(..len as usize))
    }
}

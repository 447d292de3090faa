//! Reads a WAL file from front to back, once, past the page cache.
//!
//! A file is read back when it becomes an object: what is indexed is what the disk has. Through the
//! page cache that was the largest part of the processor time of a produced byte: each page of the
//! cache was memory that nobody had touched before, and then was copied (`docs/benchmarks.md`).
//!
//! Invariant: memory is one buffer, of the largest range that was asked for and a window at most.

use std::{io, ops::Range, sync::Arc};

use common::limits::WAL_BLOCK_ALIGN;

use super::{WalRead, direct::AlignedBuffer};

/// Bytes read at least, where there are so many: small blocks share a read.
const WINDOW_BYTES: u64 = 256 << 10;

/// A reader of one range of a file.
#[derive(Debug)]
pub struct SequentialReader {
    reader: Arc<dyn WalRead>,
    /// Where the range ends; a multiple of 4 KiB for the reads to be direct.
    end: u64,
    buffer: AlignedBuffer,
    /// What the buffer holds.
    window: Range<u64>,
}

impl SequentialReader {
    pub(super) fn new(reader: Arc<dyn WalRead>, end: u64) -> Self {
        Self { reader, end, buffer: AlignedBuffer::default(), window: 0..0 }
    }

    /// The `len` bytes at `position`, which is not in front of the last one asked for.
    ///
    /// # Errors
    /// The system's, and `UnexpectedEof` past the end of the range or of the file.
    pub fn read(&mut self, position: u64, len: u64) -> io::Result<&[u8]> {
        let end = position.checked_add(len).filter(|end| *end <= self.end);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if position < self.window.start || end > self.window.end {
            self.load(position, end)?;
        }
        let from = (position - self.window.start) as usize;
        Ok(&self.buffer.get(from + len as usize)[from..])
    }

    /// Has the window hold `position..end`: what it has of it moves to the front, the rest is read.
    fn load(&mut self, position: u64, end: u64) -> io::Result<()> {
        let start = position - position % WAL_BLOCK_ALIGN;
        let kept = if self.window.contains(&start) { start..self.window.end } else { 0..0 };
        let from = if kept.is_empty() { start } else { kept.end };
        let to = end.next_multiple_of(WAL_BLOCK_ALIGN).max(from + WINDOW_BYTES).min(self.end);
        let kept_at = start.saturating_sub(self.window.start) as usize;
        let kept_len = (kept.end - kept.start) as usize;
        self.window = 0..0;
        let memory = self.buffer.grow(kept_at + kept_len, (to - start) as usize);
        memory.copy_within(kept_at..kept_at + kept_len, 0);
        self.reader.read_once(from, &mut memory[kept_len..(to - start) as usize])?;
        self.window = start..to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wal::{AtOnce, OsWalFs, WalFs};

    #[tokio::test]
    async fn ranges_read_in_order_are_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let fs = OsWalFs::open(dir.path().join("wal")).unwrap();
        let mut file = fs.create("a", 4 << 20, Bytes::new(), &AtOnce).await.unwrap();
        let bytes: Bytes = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
        file.write_at(4096, std::slice::from_ref(&bytes)).await.unwrap();
        let mut sequential = SequentialReader::new(file.reader().unwrap(), 4096 + (3 << 20));
        let mut position = 4096;
        for len in [64, 4096, 100_000, 64, 300_000, 1_200_000, 64, 64, 500_000, 1_000_000] {
            for asked in [64.min(len), len] {
                let read = sequential.read(position, asked).unwrap();
                let at = (position - 4096) as usize;
                assert!(*read == bytes[at..at + asked as usize], "{asked} bytes at {position}");
            }
            position += len;
        }
        let past = sequential.read(position, 1 << 20).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
    }
}

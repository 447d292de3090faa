//! Writes and reads past the page cache (O_DIRECT).
//!
//! The log is written once, in aligned blocks, and its tail is read from arenas: a copy in the page
//! cache would cost more processor time than everything else about a block (measured in
//! `docs/benchmarks.md`). A block is copied once more, into an aligned buffer, and goes to the
//! device in one call. Durability still comes from the sync: the device's own cache is not written
//! through. File systems that take no direct writes say so, and the caller goes through the cache.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use bytes::Bytes;
use common::limits::WAL_BLOCK_ALIGN;
use rustix::fs::OFlags;

/// Alignment of memory, positions and lengths, bytes: enough for every device in use.
const ALIGN: usize = WAL_BLOCK_ALIGN as usize;
/// Largest buffer, bytes: one block as the writer gathers it. Larger ones take several calls.
const BUFFER_BYTES_MAX: usize = 8 << 20;

/// Memory that starts at a multiple of [`ALIGN`].
#[derive(Debug, Default)]
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// At least `len` zeroed or previously used bytes.
    pub(super) fn get(&mut self, len: usize) -> &mut [u8] {
        if self.memory.len() < self.start + len {
            self.memory = vec![0; len + ALIGN];
            // What the allocator cannot align is caught by the kernel, as EINVAL.
            self.start = self.memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        }
        &mut self.memory[self.start..self.start + len]
    }

    /// The same, and the first `kept` bytes stay what they were.
    pub(super) fn grow(&mut self, kept: usize, len: usize) -> &mut [u8] {
        let len = len.max(kept);
        if self.memory.len() >= self.start + len {
            return self.get(len);
        }
        let mut larger = Self::default();
        larger.get(len)[..kept].copy_from_slice(&self.get(kept)[..kept]);
        *self = larger;
        self.get(len)
    }

    /// The first `len` bytes, to keep.
    pub(super) fn into_bytes(self, len: usize) -> Bytes {
        Bytes::from(self.memory).slice(self.start..self.start + len)
    }
}

/// A second way into a file that is open already, which passes the page cache by.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    buffer: AlignedBuffer,
}

impl Direct {
    /// Opens `path` for direct access; `None` where the file system has none.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::DIRECT.bits().cast_signed();
        match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
            Ok(file) => Ok(Some(Self { file, buffer: AlignedBuffer::default() })),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The way for readers of the file.
    pub(super) fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether an access to `len` bytes at `position` may be direct.
    pub(super) fn takes(position: u64, len: u64) -> bool {
        position.is_multiple_of(WAL_BLOCK_ALIGN) && len.is_multiple_of(WAL_BLOCK_ALIGN)
    }

    /// Writes all of `parts` at `position`; together they are aligned.
    ///
    /// # Errors
    /// `InvalidInput` where the device wants another alignment: go through the cache then.
    pub(super) fn write(&mut self, position: u64, parts: &[Bytes]) -> io::Result<()> {
        let total: usize = parts.iter().map(Bytes::len).sum();
        let buffer = self.buffer.get(total.min(BUFFER_BYTES_MAX).next_power_of_two());
        let (mut filled, mut at) = (0, position);
        for part in parts {
            let mut rest = &part[..];
            while !rest.is_empty() {
                let len = rest.len().min(buffer.len() - filled);
                let (now, later) = rest.split_at(len);
                buffer[filled..filled + len].copy_from_slice(now);
                (filled, rest) = (filled + len, later);
                if filled == buffer.len() {
                    self.file.write_all_at(buffer, at)?;
                    (filled, at) = (0, at + filled as u64);
                }
            }
        }
        self.file.write_all_at(&buffer[..filled], at)
    }

    /// Writes memory that is aligned, as are its length and the position.
    ///
    /// # Errors
    /// As [`Direct::write`].
    pub(super) fn write_aligned(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_directly_is_what_is_read_through_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let cached = File::create_new(&path).unwrap();
        cached.set_len(32 << 20).unwrap();
        let Some(mut direct) = Direct::open(&path).unwrap() else { return };
        for (position, len) in [(0, 4096), (8192, 12288), (1 << 20, (20 << 20) + 4096)] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let parts: Vec<Bytes> = bytes.chunks(5000).map(Bytes::copy_from_slice).collect();
            assert!(Direct::takes(position, len));
            match direct.write(position, &parts) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                result => result.unwrap(),
            }
            let mut found = vec![0; bytes.len()];
            File::open(&path).unwrap().read_exact_at(&mut found, position).unwrap();
            assert!(found == bytes, "{len} bytes at {position}");
        }
        let mut zeroes = AlignedBuffer::default();
        direct.write_aligned(8192, zeroes.get(12288)).unwrap();
        let mut found = vec![1; 12288];
        File::open(&path).unwrap().read_exact_at(&mut found, 8192).unwrap();
        assert!(found.iter().all(|byte| *byte == 0));
    }
}

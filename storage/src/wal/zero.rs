//! Zeroes for a new log file, written past the page cache where the file system allows it: they
//! are never read, and copying them through the cache costs more than the records themselves.
//!
//! Invariant: when [`fill`] returns, every byte of the range was written, so that later syncs of
//! the range change no block allocation. The caller syncs.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use common::limits::WAL_BLOCK_ALIGN;
use rustix::fs::OFlags;

/// Zeroes are written in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Through the cache, zeroes are synced each time so many bytes are dirty, so that the writer's own
/// sync never waits behind a whole file of them.
const SYNC_BYTES: u64 = 4 << 20;

/// Writes zeroes from `from` (a multiple of the block alignment) to `len`, into `file`, which is at
/// `path`.
pub(super) fn fill(file: &File, path: &Path, from: u64, len: u64) -> io::Result<()> {
    let buffer = vec![0_u8; PIECE_BYTES + WAL_BLOCK_ALIGN as usize];
    let start =
        buffer.as_ptr().align_offset(WAL_BLOCK_ALIGN as usize).min(WAL_BLOCK_ALIGN as usize);
    let zeroes = &buffer[start..start + PIECE_BYTES];
    let direct =
        OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path);
    let aligned = from.is_multiple_of(WAL_BLOCK_ALIGN) && len.is_multiple_of(WAL_BLOCK_ALIGN);
    match direct {
        Ok(direct) if aligned => match write(&direct, zeroes, from, len, u64::MAX) {
            // The open flag was taken, direct writes were not.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            result => return result,
        },
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        Err(error) => return Err(error),
    }
    write(file, zeroes, from, len, SYNC_BYTES)
}

fn write(file: &File, zeroes: &[u8], from: u64, len: u64, sync_bytes: u64) -> io::Result<()> {
    let (mut at, mut dirty) = (from, 0);
    while at < len {
        let part = (len - at).min(zeroes.len() as u64);
        file.write_all_at(&zeroes[..part as usize], at)?;
        at += part;
        dirty += part;
        if dirty >= sync_bytes {
            file.sync_data()?;
            dirty = 0;
        }
    }
    Ok(())
}

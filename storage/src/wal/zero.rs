//! Zeroes for a new log file, written past the page cache where the file system allows it.
//!
//! Invariant: when [`fill`] returns, every byte of the range was written, so that later syncs of
//! the range change no block allocation. The caller syncs.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use super::direct::Direct;

/// Zeroes are written in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Through the cache, zeroes are synced each time so many bytes are dirty, so that the writer's own
/// sync never waits behind a whole file of them.
const SYNC_BYTES: u64 = 4 << 20;

/// Writes zeroes from `from` to `len` into `file`, which is at `path`.
pub(super) fn fill(file: &File, path: &Path, from: u64, len: u64) -> io::Result<()> {
    if Direct::takes(from, len)
        && let Some(mut direct) = Direct::open(path)?
    {
        match direct.zero(from, len, PIECE_BYTES) {
            // The open flag was taken, direct writes were not.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            result => return result,
        }
    }
    let zeroes = vec![0; PIECE_BYTES];
    let (mut at, mut dirty) = (from, 0);
    while at < len {
        let part = (len - at).min(zeroes.len() as u64);
        file.write_all_at(&zeroes[..part as usize], at)?;
        at += part;
        dirty += part;
        if dirty >= SYNC_BYTES {
            file.sync_data()?;
            dirty = 0;
        }
    }
    Ok(())
}

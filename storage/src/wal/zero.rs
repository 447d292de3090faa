//! Zeroes for a new log file, written past the page cache where the file system allows it.
//!
//! Invariant: when [`fill`] returns, every byte of the range was written, so that later syncs of
//! the range change no block allocation. The caller syncs.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, path::Path};

use common::limits::WAL_BLOCK_ALIGN;

use super::{
    direct::{AlignedBuffer, Direct},
    fs::Pace,
};

/// Bytes written at a time where the pace lets no more: what the log syncs meanwhile waits for them.
const PIECE_BYTES_MIN: u64 = 256 << 10;
/// Bytes written at a time at most.
const PIECE_BYTES_MAX: u64 = 1 << 20;
/// Through the cache, zeroes are synced each time so many bytes are dirty, so that the writer's own
/// sync never waits behind a whole file of them.
const SYNC_BYTES: u64 = 4 << 20;

/// Writes zeroes to `range` of `file`, which is at `path`, no faster than `pace`.
pub(super) async fn fill(
    file: &File,
    path: &Path,
    range: Range<u64>,
    pace: &dyn Pace,
) -> io::Result<()> {
    let mut direct = Direct::open(path)?.filter(|_| Direct::takes(range.start, range.end));
    // Never written to, so what it holds stays zeroes.
    let mut zeroes = AlignedBuffer::default();
    let (mut at, mut dirty) = (range.start, 0);
    while at < range.end {
        let least = (at + PIECE_BYTES_MIN).min(range.end);
        let most = (at + PIECE_BYTES_MAX).min(range.end);
        let to = pace.reached(least).await?.clamp(least, most);
        let to = if to < range.end { to - to % WAL_BLOCK_ALIGN } else { to };
        let piece = &*zeroes.get((to - at) as usize);
        if let Some(way) = &direct {
            match way.write_aligned(at, piece) {
                // The open flag was taken, direct writes are not.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => direct = None,
                result => {
                    result?;
                    at = to;
                }
            }
            continue;
        }
        file.write_all_at(piece, at)?;
        dirty += to - at;
        at = to;
        if dirty >= SYNC_BYTES {
            file.sync_data()?;
            dirty = 0;
        }
    }
    Ok(())
}

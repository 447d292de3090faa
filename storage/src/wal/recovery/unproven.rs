//! Makes sure that what recovery read is on disk, and not only in the machine's page cache.
//!
//! A sync that failed leaves pages that look clean and were never stored, so syncing again is not
//! enough: the bytes must be written again. But the block may have been acknowledged and its only
//! copy is the one on disk, and a write in place that loses power may destroy it.
//!
//! Invariant: a block is written again only while a synced copy of it is behind the end of the log.
//! Whether power is lost while the copy, the block or the seal is written, one of them is whole.

use bytes::Bytes;
use tracing::warn;

use super::{
    super::{
        RecoverError,
        block::{BLOCK_HEADER_BYTES, BlockHeader, MARKER_BYTES},
    },
    Progress,
    inspect::Inspected,
    io as io_error, repair,
};

/// Writes the blocks that nothing proves to be synced again, with a copy of each behind the end.
/// They are synced before anything behind them, a seal above all, can say that they are.
pub(super) async fn make_durable(
    file: &mut Inspected,
    progress: &Progress,
) -> Result<(), RecoverError> {
    if progress.unproven.is_empty() {
        return Ok(());
    }
    let name = file.name();
    let mut at = progress.position;
    // A marker that is lost takes nothing with it.
    for block in progress.unproven.iter().filter(|block| !block.commit) {
        let bytes = read(file, block.position, block.total_len())?;
        match file.file.write_at(at, &relocated(&bytes, at, Some(block.position))).await {
            Ok(()) => at += block.total_len(),
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                warn!(file = name, "no space for a safety copy of the last block");
            }
            Err(error) => return Err(io_error("write", &name)(error)),
        }
    }
    file.file.sync_data().await.map_err(io_error("sync", &name))?;
    for block in &progress.unproven {
        let bytes = read(file, block.position, block.total_len())?;
        file.file.write_at(block.position, &[bytes]).await.map_err(io_error("write", &name))?;
    }
    file.file.sync_data().await.map_err(io_error("sync", &name))
}

/// Writes the seal at the end again. Only for a file that is not cut yet: the cut is made after
/// the seal is synced, so a seal that is lost here leaves a file that is only not sealed.
pub(super) async fn write_seal_again(
    file: &mut Inspected,
    progress: &Progress,
) -> Result<(), RecoverError> {
    let name = file.name();
    let at = progress.position - MARKER_BYTES;
    let bytes = read(file, at, MARKER_BYTES)?;
    file.file.write_at(at, &[bytes]).await.map_err(io_error("write", &name))?;
    file.file.sync_data().await.map_err(io_error("sync", &name))
}

/// Puts back the block at `position` from the copy that an interrupted recovery left. False where
/// the copy is not whole: then it was never synced, and the block was not touched.
pub(super) async fn restore(
    file: &mut Inspected,
    position: u64,
    expected: Option<u64>,
    copy: &BlockHeader,
) -> Result<bool, RecoverError> {
    if copy.end() > file.handle.len().map_err(io_error("read", &file.name()))? {
        return Ok(false);
    }
    let bytes = read(file, copy.position, copy.total_len())?;
    let block = Bytes::from(relocated(&bytes, position, None).concat());
    let range = position..position + copy.total_len();
    if !repair::is_valid(file.head.nonce, range, expected, &block).await {
        return Ok(false);
    }
    repair::write_back(file, position, block).await?;
    Ok(true)
}

fn read(file: &Inspected, position: u64, len: u64) -> Result<Bytes, RecoverError> {
    file.handle.read_at(position, len as usize).map_err(io_error("read", &file.name()))
}

/// A whole block's bytes for another position, as a copy or as the block itself.
fn relocated(block: &Bytes, position: u64, copy_of: Option<u64>) -> [Bytes; 2] {
    let header = match BlockHeader::decode(block) {
        Ok(header) => Bytes::copy_from_slice(&BlockHeader { position, copy_of, ..header }.encode()),
        // Callers have decoded it before. Bytes that changed since are no block, and stay none.
        Err(_) => block.slice(..BLOCK_HEADER_BYTES),
    };
    [header, block.slice(BLOCK_HEADER_BYTES..)]
}

//! Puts bytes from an uploaded object back into a damaged file.
//!
//! Invariant: only bytes that form exactly the missing blocks, each wholly verified, are written.

use std::{io, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use tracing::warn;

use super::{
    super::{
        RecoverError,
        scan::{BlockScanner, BlockSource},
    },
    inspect::Inspected,
    io as io_error,
};

/// Bytes that stand for a range of a file.
struct Copy {
    start: u64,
    bytes: Bytes,
}

#[async_trait]
impl BlockSource for Copy {
    async fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let from = position.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let range = from.and_then(|from| Some(from..from.checked_add(len)?));
        let range = range.filter(|range| range.end <= self.bytes.len());
        Ok(self.bytes.slice(range.ok_or(io::ErrorKind::UnexpectedEof)?))
    }
}

/// Whether `bytes` are whole blocks of the file with this nonce that fill `range`, the first with
/// the number `expected`.
pub(super) async fn is_valid(
    nonce: u64,
    range: Range<u64>,
    mut expected: Option<u64>,
    bytes: &Bytes,
) -> bool {
    if bytes.len() as u64 != range.end - range.start {
        return false;
    }
    let source = Copy { start: range.start, bytes: bytes.clone() };
    let mut scanner = BlockScanner::new(&source, Some(nonce), range);
    loop {
        let block = match scanner.next().await {
            Ok(Some(block)) => block,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let in_order = expected.is_none_or(|expected| expected == block.header.sequence);
        expected = block.header.sequence.checked_add(1);
        let Ok(payload) = scanner.payload(&block).await else { return false };
        if !in_order || block.directory.verify(&payload).is_err() {
            return false;
        }
    }
}

/// Writes the bytes where they belong and syncs them.
pub(super) async fn write_back(
    file: &mut Inspected,
    position: u64,
    bytes: Bytes,
) -> Result<(), RecoverError> {
    let name = file.name();
    warn!(file = name, position, len = bytes.len(), "damaged log blocks repaired from an object");
    file.file.write_at(position, &[bytes]).await.map_err(io_error("write", &name))?;
    file.file.sync_data().await.map_err(io_error("sync", &name))
}

//! What recovery learns about files before it believes them: names, heads, whether they were used,
//! and what lies beyond a bad block.
//!
//! Invariant: a prepared file is all zeroes behind its head until the writer uses it, so any other
//! byte means that the file before it was sealed.

use std::{io, sync::Arc};

use tracing::info;

use super::{
    super::{
        Damage, FileName, RecoverError, WalFile, WalFileRef, WalFs,
        block::{BLOCK_HEADER_BYTES, BlockHeader, MARKER_BYTES},
        head::{FileHead, HEAD_BYTES, HeadError},
        prepare::Prepared,
        scan::BlockScanner,
    },
    io as io_error,
};

/// Bytes looked at in one read.
const CHUNK_BYTES: u64 = 1 << 20;

/// A file whose head is whole.
#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) file: Box<dyn WalFile>,
    pub(super) handle: Arc<WalFileRef>,
    pub(super) head: FileHead,
    /// Bytes of the file as it was found.
    pub(super) len: u64,
    /// Whether anything but zeroes is behind the head.
    pub(super) used: bool,
}

impl Inspected {
    pub(super) fn name(&self) -> String {
        self.handle.name()
    }

    /// Scans the blocks from `position` on; `handle` is this file's.
    pub(super) fn scanner<'a>(&self, handle: &'a WalFileRef, position: u64) -> BlockScanner<'a> {
        BlockScanner::new(handle, Some(self.head.nonce), position..self.len)
    }

    /// The file as one to write to: it was never used.
    pub(super) fn into_prepared(self) -> Prepared {
        Prepared { file: self.file, reader: self.handle.reader(), head: self.head }
    }
}

/// Opens all log files in order of their numbers. Removes what preparations left behind.
pub(super) async fn inspect(fs: &dyn WalFs) -> Result<Vec<Inspected>, RecoverError> {
    let names = fs.list().await.map_err(io_error("list", "the log directory"))?;
    let mut inspected = Vec::new();
    for name in names {
        match FileName::parse(&name) {
            FileName::Log(id) => inspected.push(open(fs, id, &name).await?),
            FileName::Temporary => {
                info!(file = name, "unfinished log file removed");
                fs.remove(&name).await.map_err(io_error("remove", &name))?;
            }
            FileName::Foreign => {}
        }
    }
    inspected.sort_by_key(|file| file.head.file_id);
    Ok(inspected)
}

async fn open(fs: &dyn WalFs, id: u64, name: &str) -> Result<Inspected, RecoverError> {
    let file = fs.open(name).await.map_err(io_error("open", name))?;
    let reader = file.reader().map_err(io_error("open", name))?;
    let len = reader.len().map_err(io_error("read", name))?;
    let raw = reader.read_at(0, HEAD_BYTES.min(len) as usize).map_err(io_error("read", name))?;
    let head = match FileHead::decode(&raw) {
        Ok(head) if head.file_id == id => head,
        Ok(_) => return Err(head_damage(name, "the head of another file")),
        Err(HeadError::Invalid(reason)) => return Err(head_damage(name, reason)),
        Err(HeadError::Unsupported { version, features }) => {
            return Err(RecoverError::Unsupported { file: name.to_owned(), version, features });
        }
    };
    let handle = Arc::new(WalFileRef::new(id, head.nonce, reader));
    let used = is_used(&handle, len).map_err(io_error("read", name))?;
    Ok(Inspected { file, handle, head, len, used })
}

fn head_damage(name: &str, reason: &str) -> RecoverError {
    RecoverError::Damage(Box::new(Damage {
        file: name.to_owned(),
        from: 0,
        to: HEAD_BYTES,
        sequence: 0,
        reason: format!("file head: {reason}"),
        extents: Vec::new(),
    }))
}

fn is_used(file: &WalFileRef, len: u64) -> io::Result<bool> {
    let zeroes = vec![0; CHUNK_BYTES as usize];
    let mut at = HEAD_BYTES;
    while at < len {
        let part = CHUNK_BYTES.min(len - at) as usize;
        if file.read_at(at, part)? != zeroes[..part] {
            return Ok(true);
        }
        at += part as u64;
    }
    Ok(false)
}

/// What the rest of a file says about a bad block.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    /// Position of the next block that belongs behind the bad one.
    pub(super) next_block: Option<u64>,
    /// Whether a block says that the bad one was synced.
    pub(super) proves: bool,
    /// The last block that any header, the bad block's own included, says was synced.
    pub(super) synced_through: u64,
    /// Where a copy of the bad block is that an interrupted recovery made.
    pub(super) copy: Option<BlockHeader>,
}

impl Lookahead {
    /// Looks for block headers from `position` on, where block `expected` should be.
    pub(super) fn of(file: &Inspected, position: u64, expected: Option<u64>) -> io::Result<Self> {
        let mut found = Self::default();
        let mut at = position;
        while at < file.len {
            let part = CHUNK_BYTES.min(file.len - at) as usize;
            let chunk = file.handle.read_at(at, part)?;
            for sector in (0..part).step_by(MARKER_BYTES as usize) {
                let Some(raw) = chunk.get(sector..sector + BLOCK_HEADER_BYTES) else { break };
                let place = at + sector as u64;
                let header = BlockHeader::decode(raw).ok();
                let header = header.filter(|h| h.nonce == file.head.nonce && h.position == place);
                match header {
                    Some(header) if header.copy_of == Some(position) => found.copy = Some(header),
                    Some(header) if header.copy_of.is_none() => {
                        found.add(&header, position, expected);
                    }
                    _ => {}
                }
            }
            at += part as u64;
        }
        Ok(found)
    }

    fn add(&mut self, header: &BlockHeader, position: u64, expected: Option<u64>) {
        self.synced_through = self.synced_through.max(header.synced_through);
        if header.position == position {
            return;
        }
        let proves = expected.is_none_or(|expected| header.synced_through >= expected);
        if proves {
            self.proves = true;
            self.next_block.get_or_insert(header.position);
        }
    }
}

//! How an object's data is walked for one partition, without doing any I/O: a walk says which
//! bytes it needs next and is fed exactly those.
//!
//! Invariant: what a walk gives out is whole batches in offset order, each verified against the
//! checksums of its block (L0) or segment (L1); a byte that does not fit is an error with its
//! position, never skipped.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use common::limits::WAL_BLOCK_ALIGN;
use protocol::records::{BatchHeader, BatchRef};

use super::format::{Footer, Layout, PartitionFooter};
use crate::wal::block::{BLOCK_HEADER_BYTES, BatchEntry, BlockHeader, Directory, RunEntry};

/// What is wanted of one partition in one object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The first offset; batches that end below it are left out.
    pub(crate) from_offset: i64,
    /// Batches that start at or above it are left out.
    pub(crate) end_offset: i64,
    /// Bound on the bytes given out.
    pub(crate) max_bytes: usize,
    /// Give the first batch out even if it alone exceeds the bound.
    pub(crate) min_one_batch: bool,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) position: u64,
    pub(super) reason: String,
}

/// A walk through either layout.
#[derive(Debug)]
pub(super) enum Walk {
    Blocks(BlocksWalk),
    Batches(BatchesWalk),
}

impl Walk {
    /// A walk for `wanted` of the footer's `partition`; `None` where the index
    /// has no entry at or below the offset.
    pub(super) fn new(
        footer: &Arc<Footer>,
        partition: &PartitionFooter,
        wanted: Wanted,
    ) -> Option<Self> {
        let entry = partition.entry_for(wanted.from_offset)?;
        let gather = Gather::new(wanted, partition.end_offset);
        Some(match footer.layout {
            Layout::Blocks => Self::Blocks(BlocksWalk {
                key: partition.key,
                gather,
                block: partition.index.get(entry)?.position,
                data_len: footer.data_len,
                origin_from: footer.origin.map_or(0, |origin| origin.from),
                state: State::Head,
            }),
            Layout::Batches => Self::Batches(BatchesWalk {
                gather,
                data_len: footer.data_len,
                entry,
                footer: Arc::clone(footer),
            }),
        })
    }

    /// The offset that comes next.
    pub(super) fn next_offset(&self) -> i64 {
        match self {
            Self::Blocks(walk) => walk.gather.next_offset,
            Self::Batches(walk) => walk.gather.next_offset,
        }
    }

    /// The range to feed next; `None` when the walk is over.
    pub(super) fn need(&self) -> Option<Range<u64>> {
        match self {
            Self::Blocks(walk) => walk.need(),
            Self::Batches(walk) => walk.need(),
        }
    }

    /// Whether the range last asked for is record batches to be given out as a whole, whose bytes
    /// only have to be checked.
    pub(super) fn is_at_batches(&self) -> bool {
        matches!(self, Self::Blocks(BlocksWalk { state: State::Payload { .. }, .. }))
    }

    /// Goes on behind the range last asked for, which [`Self::is_at_batches`] and was checked
    /// before.
    pub(super) fn pass(&mut self) {
        if let Self::Blocks(walk) = self {
            walk.pass();
        }
    }

    /// Takes the bytes of the range last asked for. Returns which of them are given out: whole
    /// batches, contiguous; often none.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Range<usize>, Damage> {
        match self {
            Self::Blocks(walk) => walk.feed(bytes),
            Self::Batches(walk) => walk.feed(bytes),
        }
    }
}

/// Decides which batches are taken.
#[derive(Debug)]
struct Gather {
    next_offset: i64,
    end_offset: i64,
    room: usize,
    first_at_any_size: bool,
    full: bool,
}

impl Gather {
    fn new(wanted: Wanted, extent_end: i64) -> Self {
        Self {
            next_offset: wanted.from_offset,
            end_offset: wanted.end_offset.min(extent_end),
            room: wanted.max_bytes,
            first_at_any_size: wanted.min_one_batch,
            full: false,
        }
    }

    fn done(&self) -> bool {
        self.full || self.next_offset >= self.end_offset
    }

    /// Whether the batch `[base, last]` of `len` bytes is to be taken, and takes its room.
    fn take(&mut self, base_offset: i64, last_offset: i64, len: usize) -> bool {
        if self.full || last_offset < self.next_offset || base_offset >= self.end_offset {
            return false;
        }
        if len > self.room && !self.first_at_any_size {
            self.full = true;
            return false;
        }
        self.first_at_any_size = false;
        self.room = self.room.saturating_sub(len);
        self.next_offset = last_offset + 1;
        true
    }
}

/// A walk from block to block of an L0 object.
#[derive(Debug)]
pub(super) struct BlocksWalk {
    key: common::PartitionKey,
    gather: Gather,
    /// Position of the current block in the object.
    block: u64,
    data_len: u64,
    origin_from: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The block's first sector is next.
    Head,
    /// The directory goes on past the first sector.
    Directory(BlockHeader),
    /// Batches of these runs are next; then the next block.
    Payload { wanted: VecDeque<WantedRun>, next_block: u64 },
}

/// Batches to take from a run: contiguous in the object.
#[derive(Debug)]
struct WantedRun {
    range: Range<u64>,
    leader_epoch: i32,
    last_offset: i64,
    batches: Vec<BatchEntry>,
}

impl BlocksWalk {
    fn need(&self) -> Option<Range<u64>> {
        match &self.state {
            State::Payload { wanted, .. } => wanted.front().map(|run| run.range.clone()),
            _ if self.gather.done() || self.block >= self.data_len => None,
            State::Head => Some(self.block..(self.block + WAL_BLOCK_ALIGN).min(self.data_len)),
            State::Directory(header) => {
                Some(self.block + BLOCK_HEADER_BYTES as u64..self.block + header.payload_start())
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<Range<usize>, Damage> {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Head => self.feed_head(bytes).map(|()| 0..0),
            State::Directory(header) => self.feed_directory(&header, bytes).map(|()| 0..0),
            State::Payload { mut wanted, next_block } => {
                if let Some(run) = wanted.pop_front() {
                    self.check_payload(&run, bytes)?;
                }
                self.advance(wanted, next_block);
                Ok(0..bytes.len())
            }
        }
    }

    fn pass(&mut self) {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Payload { mut wanted, next_block } => {
                wanted.pop_front();
                self.advance(wanted, next_block);
            }
            other => self.state = other,
        }
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let header = BlockHeader::decode(bytes).map_err(|error| self.damage(&error))?;
        if header.position != self.origin_from + self.block
            || self.block + header.total_len() > self.data_len
        {
            return Err(self.damage(&"a block of another place"));
        }
        let directory = usize::try_from(header.payload_start())
            .ok()
            .and_then(|end| bytes.get(BLOCK_HEADER_BYTES..end));
        if let Some(directory) = directory {
            return self.feed_directory(&header, directory);
        }
        self.state = State::Directory(header);
        Ok(())
    }

    fn feed_directory(&mut self, header: &BlockHeader, bytes: &[u8]) -> Result<(), Damage> {
        let directory = Directory::decode(header, bytes).map_err(|error| self.damage(&error))?;
        let payload = self.block + header.payload_start();
        let mut wanted = VecDeque::new();
        for run in &directory.runs {
            if run.key == self.key {
                wanted.extend(self.select(run, payload));
            }
        }
        self.advance(wanted, self.block + header.total_len());
        Ok(())
    }

    /// The batches of a run that are wanted and fit.
    fn select(&mut self, run: &RunEntry, payload: u64) -> Option<WantedRun> {
        let mut position = payload + u64::from(run.position);
        let mut start = position;
        let (mut batches, mut last_taken) = (Vec::new(), 0);
        for (at, batch) in run.batches.iter().enumerate() {
            let next = run.batches.get(at + 1);
            let last_offset = next.map_or(run.last_offset, |next| next.base_offset - 1);
            let len = protocol::records::LOG_OVERHEAD
                + usize::try_from(batch.batch_length).unwrap_or(usize::MAX / 2);
            if self.gather.take(batch.base_offset, last_offset, len) {
                if batches.is_empty() {
                    start = position;
                }
                batches.push(*batch);
                last_taken = last_offset;
            } else if !batches.is_empty() {
                break;
            }
            position += len as u64;
        }
        let leader_epoch = run.leader_epoch;
        let found = !batches.is_empty();
        found.then_some(WantedRun {
            range: start..position,
            leader_epoch,
            last_offset: last_taken,
            batches,
        })
    }

    fn check_payload(&self, run: &WantedRun, bytes: &[u8]) -> Result<(), Damage> {
        let mut rest = bytes;
        let mut last_offset = None;
        for entry in &run.batches {
            let position = run.range.end - rest.len() as u64;
            let wrong = |reason: String| Damage { position, reason };
            let batch = BatchRef::parse(rest).map_err(|error| wrong(error.to_string()))?;
            let header = batch.header();
            if BatchEntry::of(header) != *entry || header.partition_leader_epoch != run.leader_epoch
            {
                return Err(wrong("a batch differs from its block's directory".to_owned()));
            }
            batch.verify_crc().map_err(|error| wrong(error.to_string()))?;
            last_offset = Some(header.last_offset());
            rest = rest.get(header.total_len()..).unwrap_or_default();
        }
        if !rest.is_empty() || last_offset != Some(run.last_offset) {
            let reason = "batches do not end where their block's directory says".to_owned();
            return Err(Damage { position: run.range.start, reason });
        }
        Ok(())
    }

    fn advance(&mut self, wanted: VecDeque<WantedRun>, next_block: u64) {
        if wanted.is_empty() {
            self.block = next_block;
            self.state = State::Head;
        } else {
            self.state = State::Payload { wanted, next_block };
        }
    }

    fn damage(&self, reason: &impl ToString) -> Damage {
        Damage { position: self.block, reason: reason.to_string() }
    }
}

/// A walk from segment to segment of an L1 object.
#[derive(Debug)]
pub(super) struct BatchesWalk {
    gather: Gather,
    data_len: u64,
    /// The index entry whose segment is next.
    entry: usize,
    footer: Arc<Footer>,
}

impl BatchesWalk {
    fn partition(&self) -> Option<&PartitionFooter> {
        self.footer.partitions.first()
    }

    fn need(&self) -> Option<Range<u64>> {
        if self.gather.done() {
            return None;
        }
        let index = &self.partition()?.index;
        let start = index.get(self.entry)?.position;
        let end = index.get(self.entry + 1).map_or(self.data_len, |next| next.position);
        Some(start..end)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<Range<usize>, Damage> {
        let entry = self.partition().and_then(|partition| partition.index.get(self.entry)).copied();
        let Some(entry) = entry else { return Ok(0..0) };
        let computed = crc32c::crc32c(bytes);
        if computed != entry.crc32c {
            let stored = entry.crc32c;
            let reason = format!("segment checksum {computed:#010x} instead of {stored:#010x}");
            return Err(Damage { position: entry.position, reason });
        }
        let (mut position, mut taken) = (0, 0..0);
        while position < bytes.len() {
            let header = BatchHeader::parse(bytes.get(position..).unwrap_or_default());
            let header = header.map_err(|error| Damage {
                position: entry.position + position as u64,
                reason: error.to_string(),
            })?;
            let len = header.total_len();
            if self.gather.take(header.base_offset, header.last_offset(), len) {
                let start = if taken.is_empty() { position } else { taken.start };
                taken = start..position + len;
            } else if !taken.is_empty() {
                break;
            }
            position += len;
        }
        if taken.end > bytes.len() {
            let reason = "a batch ends outside its segment".to_owned();
            return Err(Damage { position: entry.position, reason });
        }
        self.entry += 1;
        Ok(taken)
    }
}

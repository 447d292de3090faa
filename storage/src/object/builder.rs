//! Builds objects: the footer of a range of WAL blocks (L0), and the batches of one partition with
//! their footer (L1).
//!
//! Invariant: nothing gets a footer that was not verified: every block of a range is decoded and
//! every batch's CRC is checked, with the same code as in recovery (D2).

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use common::{ObjectId, PartitionKey};
use protocol::records::{BatchHeader, BatchRef, EndTransactionMarker, batch_refs};

use super::{
    error::{Error, FormatError, Result},
    format::{AbortedUpdate, Footer, Layout, Origin, PartitionFooter},
    index::{PartitionBuilder, ProducerTracker},
};
use crate::wal::{
    WalFileRef,
    block::{BLOCK_HEADER_BYTES, BlockError, BlockHeader, Directory},
    head::{FileHead, HEAD_BYTES},
};

/// A partition gets an index entry for at least this many of its bytes in an L0 object, …
const BLOCKS_INDEX_BYTES: u64 = 256 << 10;
/// … or of the object.
const BLOCKS_INDEX_SPAN: u64 = 1 << 20;
/// An index entry of an L1 object covers at least this many bytes, unless it is the last.
const BATCHES_INDEX_BYTES: u64 = 64 << 10;

/// The footer of a range of WAL blocks.
#[derive(Debug)]
struct BlocksBuilder {
    partitions: BTreeMap<PartitionKey, Share>,
    data_len: u64,
    data_crc32c: u32,
}

#[derive(Debug)]
struct Share {
    builder: PartitionBuilder,
    marked_position: u64,
    marked_bytes: u64,
}

impl BlocksBuilder {
    /// Takes the next bytes of the range: the file's head, or a whole block.
    fn raw(&mut self, bytes: &[u8]) {
        self.data_crc32c = crc32c::crc32c_append(self.data_crc32c, bytes);
        self.data_len += bytes.len() as u64;
    }

    /// Indexes a verified block at `position` of the object.
    fn block(
        &mut self,
        position: u64,
        directory: &Directory,
        batches: &[Vec<BatchHeader>],
        payload: &[u8],
    ) -> std::result::Result<(), FormatError> {
        for (run, batches) in directory.runs.iter().zip(batches) {
            let share = self.partitions.entry(run.key).or_insert_with(|| Share {
                builder: PartitionBuilder::new(
                    run.key,
                    run.base_offset,
                    ProducerTracker::default(),
                ),
                marked_position: u64::MAX,
                marked_bytes: 0,
            });
            share.mark(position);
            let mut bytes = payload.get(run.range()).unwrap_or_default();
            for batch in batches {
                share.builder.push(batch, end_marker(batch, bytes)?, false)?;
                bytes = bytes.get(batch.total_len()..).unwrap_or_default();
            }
        }
        Ok(())
    }
}

impl Share {
    /// Adds an entry for the block at `position` if the last one is far enough away.
    fn mark(&mut self, position: u64) {
        let first = self.marked_position == u64::MAX;
        let apart = position.saturating_sub(self.marked_position) >= BLOCKS_INDEX_SPAN
            || position > self.marked_position
                && self.builder.bytes() - self.marked_bytes >= BLOCKS_INDEX_BYTES;
        if first || apart {
            self.builder.mark(position);
            (self.marked_position, self.marked_bytes) = (position, self.builder.bytes());
        }
    }
}

/// Verifies the range `origin` of a WAL file and builds the footer of the object made of it.
/// Blocking reads of the whole range: run it off the async threads.
///
/// # Errors
/// [`Error::Source`] at the first byte that is not what it should be.
pub fn build_blocks_footer(
    object_id: ObjectId,
    file: &WalFileRef,
    origin: Origin,
) -> Result<Footer> {
    let failed = |position: u64, reason: String| Error::Source {
        file_id: origin.file_id,
        from: origin.from,
        to: origin.to,
        position,
        reason,
    };
    let unread = |position: u64| move |error: io::Error| failed(position, error.to_string());
    let mut reader = file.sequential(origin.to);
    let mut builder = BlocksBuilder { partitions: BTreeMap::new(), data_len: 0, data_crc32c: 0 };
    let mut position = origin.from;
    if position == 0 {
        let bytes = reader.read(0, HEAD_BYTES).map_err(unread(0))?;
        let head = FileHead::decode(bytes).map_err(|error| failed(0, error.to_string()))?;
        if head.file_id != origin.file_id {
            return Err(failed(0, format!("the head says file {}", head.file_id)));
        }
        builder.raw(bytes);
        position = HEAD_BYTES;
    }
    while position < origin.to {
        let raw = reader.read(position, BLOCK_HEADER_BYTES as u64).map_err(unread(position))?;
        let header =
            BlockHeader::decode(raw).map_err(|error| failed(position, error.to_string()))?;
        if !header.is_at(file.nonce, position) || header.end() > origin.to {
            return Err(failed(position, BlockError::Misplaced.to_string()));
        }
        let bytes = reader.read(position, header.total_len()).map_err(unread(position))?;
        let (directory, batches, payload) =
            verify_block(&header, bytes).map_err(|error| failed(position, error.to_string()))?;
        builder
            .block(position - origin.from, &directory, &batches, payload)
            .map_err(|error| failed(position, error.to_string()))?;
        builder.raw(bytes);
        position = header.end();
    }
    Ok(Footer {
        object_id,
        layout: Layout::Blocks,
        origin: Some(origin),
        data_len: builder.data_len,
        data_crc32c: builder.data_crc32c,
        partitions: builder.partitions.into_values().map(|share| share.builder.finish()).collect(),
    })
}

/// The marker in a batch, of which `bytes` are the beginning.
fn end_marker(
    header: &BatchHeader,
    bytes: &[u8],
) -> std::result::Result<Option<EndTransactionMarker>, FormatError> {
    if !header.is_control() {
        return Ok(None);
    }
    BatchRef::parse(bytes)
        .and_then(|batch| EndTransactionMarker::of_batch(&batch))
        .map_err(|_| FormatError::Invalid("an unreadable control batch"))
}

/// A block's directory, the headers of each run's batches, and its payload.
type VerifiedBlock<'b> = (Directory, Vec<Vec<BatchHeader>>, &'b [u8]);

/// Decodes and verifies a whole block.
fn verify_block<'b>(
    header: &BlockHeader,
    bytes: &'b [u8],
) -> std::result::Result<VerifiedBlock<'b>, BlockError> {
    let cut =
        || BlockError::Truncated { needed: header.content_len(), available: bytes.len() as u64 };
    let payload_start = usize::try_from(header.payload_start()).map_err(|_| cut())?;
    let content_len = usize::try_from(header.content_len()).map_err(|_| cut())?;
    let directory = bytes.get(BLOCK_HEADER_BYTES..payload_start).ok_or_else(cut)?;
    let payload = bytes.get(payload_start..content_len).ok_or_else(cut)?;
    let directory = Directory::decode(header, directory)?;
    let batches = directory.verify(payload)?;
    Ok((directory, batches, payload))
}

/// What the whole log says of the transactions in an L1 object; its batches do not show the markers
/// that lie behind them.
#[derive(Debug, Clone)]
pub struct KnownTransactions {
    /// The aborted ones that overlap it.
    pub aborted: Vec<AbortedUpdate>,
    /// What began below it is decided, and not open any more.
    pub last_stable_offset: i64,
}

/// An L1 object in the making: batches go in, bytes come out as they fill segments.
#[derive(Debug)]
pub struct BatchesBuilder {
    object_id: ObjectId,
    partition: PartitionBuilder,
    data_len: u64,
    data_crc32c: u32,
    segment_len: u64,
    segment_crc32c: u32,
    transactions: KnownTransactions,
}

impl BatchesBuilder {
    /// An object that starts at `base_offset`, with the producers known there.
    #[must_use]
    pub fn new(
        object_id: ObjectId,
        key: PartitionKey,
        base_offset: i64,
        producers: ProducerTracker,
        transactions: KnownTransactions,
    ) -> Self {
        Self {
            object_id,
            partition: PartitionBuilder::new(key, base_offset, producers),
            data_len: 0,
            data_crc32c: 0,
            segment_len: 0,
            segment_crc32c: 0,
            transactions,
        }
    }

    /// Adds whole batches, which follow the ones before; the bytes are the object's next ones.
    ///
    /// # Errors
    /// `Invalid` where they are no batches or do not follow.
    pub fn push(&mut self, batches: &Bytes) -> std::result::Result<(), FormatError> {
        for batch in batch_refs(batches) {
            let batch = batch.map_err(|_| FormatError::Invalid("not whole batches"))?;
            if self.segment_len == 0 {
                self.partition.mark(self.data_len);
            }
            let bytes = batch.bytes();
            self.partition.push(batch.header(), end_marker(batch.header(), bytes)?, true)?;
            self.segment_crc32c = crc32c::crc32c_append(self.segment_crc32c, bytes);
            self.segment_len += bytes.len() as u64;
            self.data_crc32c = crc32c::crc32c_append(self.data_crc32c, bytes);
            self.data_len += bytes.len() as u64;
            if self.segment_len >= BATCHES_INDEX_BYTES {
                self.end_segment();
            }
        }
        Ok(())
    }

    fn end_segment(&mut self) {
        if let Some(entry) = self.partition.last_mark().filter(|_| self.segment_len > 0) {
            entry.crc32c = self.segment_crc32c;
        }
        (self.segment_len, self.segment_crc32c) = (0, 0);
    }

    /// Notes how far the log is clean once this object is part of it.
    #[must_use]
    pub fn cleaned_up_to(mut self, end_offset: i64) -> Self {
        self.partition.cleaned_up_to(end_offset);
        self
    }

    /// Takes note of a batch that compaction by key has removed: its producer is remembered.
    pub fn note_removed(&mut self, batch: &BatchHeader) {
        self.partition.note_removed(batch);
    }

    /// Bytes so far: where the footer goes.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// The end of the extent so far.
    #[must_use]
    pub fn end_offset(&self) -> i64 {
        self.partition.end_offset()
    }

    /// The footer.
    #[must_use]
    pub fn finish(mut self) -> Footer {
        self.end_segment();
        let KnownTransactions { aborted, last_stable_offset } = self.transactions;
        let mut partition = PartitionFooter { aborted, ..self.partition.finish() };
        for producer in &mut partition.producers {
            producer.txn_first_offset.take_if(|first_offset| *first_offset < last_stable_offset);
        }
        Footer {
            object_id: self.object_id,
            layout: Layout::Batches,
            origin: None,
            data_len: self.data_len,
            data_crc32c: self.data_crc32c,
            partitions: vec![partition],
        }
    }
}

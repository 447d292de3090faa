//! The block's directory: which partitions' batches the payload holds, and those batch header
//! fields that the batch's own CRC32C does not cover (its first 21 bytes).
//!
//! Invariant: runs lie in the payload without gap or overlap, so positions follow from the lengths
//! and are not stored; a decoded directory accounts for every byte of the payload.

use common::{PartitionKey, TopicId};
use protocol::records::{
    BATCH_OVERHEAD, BatchHeader, BatchRef, LOG_OVERHEAD,
    varint::{read_varint, read_varlong, write_varint, write_varlong},
};
use uuid::Uuid;

use super::{BlockError, BlockHeader};

/// Least bytes of an encoded run: topic id, four varints and one batch.
const RUN_BYTES_MIN: usize = 16 + 5 + BATCH_BYTES_MIN;
/// Least bytes of an encoded batch entry: two varints and the CRC.
const BATCH_BYTES_MIN: usize = 6;

/// What a block holds, in the order of its payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// The runs.
    pub runs: Vec<RunEntry>,
}

/// A run: contiguous batches of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEntry {
    /// The partition.
    pub key: PartitionKey,
    /// Leader epoch of each batch.
    pub leader_epoch: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Position of the first batch in the payload, bytes.
    pub position: u32,
    /// Bytes of the batches.
    pub len: u32,
    /// The batches, at least one.
    pub batches: Vec<BatchEntry>,
}

/// The fields of a batch that its CRC does not cover (the magic is always 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEntry {
    /// Offset of the first record.
    pub base_offset: i64,
    /// The batch's length field: bytes after it.
    pub batch_length: i32,
    /// The batch's stored CRC32C.
    pub crc: u32,
}

impl BatchEntry {
    /// The entry of a batch.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Self {
        Self { base_offset: header.base_offset, batch_length: header.batch_length, crc: header.crc }
    }

    /// Bytes of the whole batch; `None` if the length field cannot be.
    fn total_len(&self) -> Option<u32> {
        let len = u32::try_from(self.batch_length).ok()?.checked_add(LOG_OVERHEAD as u32)?;
        (len as usize >= BATCH_OVERHEAD).then_some(len)
    }
}

impl Directory {
    /// The encoded directory.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_varint(&mut out, self.runs.len() as i32);
        for run in &self.runs {
            out.extend_from_slice(run.key.topic_id.0.as_bytes());
            write_varint(&mut out, run.key.partition);
            write_varint(&mut out, run.leader_epoch);
            write_varlong(&mut out, run.base_offset);
            write_varlong(&mut out, run.last_offset - run.base_offset);
            write_varint(&mut out, run.batches.len() as i32);
            let mut previous = run.base_offset;
            for batch in &run.batches {
                write_varlong(&mut out, batch.base_offset - previous);
                write_varint(&mut out, batch.batch_length);
                out.extend_from_slice(&batch.crc.to_le_bytes());
                previous = batch.base_offset;
            }
        }
        out
    }

    /// Reads a directory that `header` announces.
    ///
    /// # Errors
    /// Where the CRC, a length or an offset is wrong, or the payload is not accounted for.
    pub fn decode(header: &BlockHeader, bytes: &[u8]) -> Result<Self, BlockError> {
        let computed = crc32c::crc32c(bytes);
        if computed != header.directory_crc {
            let stored = header.directory_crc;
            return Err(BlockError::Crc { part: "block directory", stored, computed });
        }
        if bytes.is_empty() && header.payload_len == 0 {
            return Ok(Self::default());
        }
        let mut input = bytes;
        let count = read_count(&mut input, RUN_BYTES_MIN)?;
        let mut runs = Vec::with_capacity(count);
        let mut position = 0;
        for _ in 0..count {
            let run = RunEntry::decode(&mut input, position)?;
            position = add(position, run.len)?;
            runs.push(run);
        }
        if !input.is_empty() {
            return Err(BlockError::Directory("bytes after the last run"));
        }
        if position != header.payload_len {
            return Err(BlockError::Directory("runs do not add up to the payload"));
        }
        Ok(Self { runs })
    }

    /// Checks every batch of the payload against the directory and its own CRC, and returns the
    /// batch headers of each run.
    ///
    /// # Errors
    /// At the first batch that differs.
    pub fn verify(&self, payload: &[u8]) -> Result<Vec<Vec<BatchHeader>>, BlockError> {
        self.runs.iter().map(|run| run.verify(payload)).collect()
    }
}

impl RunEntry {
    fn decode(input: &mut &[u8], position: u32) -> Result<Self, BlockError> {
        let topic_id = input.split_off(..16).and_then(|raw| raw.first_chunk::<16>().copied());
        let topic_id = TopicId(Uuid::from_bytes(topic_id.ok_or(CUT)?));
        let partition = read_varint(input).ok_or(CUT)?;
        let leader_epoch = read_varint(input).ok_or(CUT)?;
        let base_offset = read_varlong(input).ok_or(CUT)?;
        let span = read_varlong(input).filter(|span| *span >= 0).ok_or(CUT)?;
        let last_offset = base_offset.checked_add(span).ok_or(OFFSET)?;
        if partition < 0 || base_offset < 0 {
            return Err(OFFSET);
        }
        let count = read_count(input, BATCH_BYTES_MIN)?;
        let mut batches = Vec::with_capacity(count);
        let (mut len, mut previous) = (0, base_offset);
        for index in 0..count {
            let delta = read_varlong(input).ok_or(CUT)?;
            let batch_length = read_varint(input).ok_or(CUT)?;
            let crc = input.split_off(..4).and_then(|raw| raw.first_chunk::<4>().copied());
            let crc = u32::from_le_bytes(crc.ok_or(CUT)?);
            let base_offset = previous.checked_add(delta).ok_or(OFFSET)?;
            let ordered = if index == 0 { delta == 0 } else { delta > 0 };
            if !ordered || base_offset > last_offset {
                return Err(OFFSET);
            }
            let batch = BatchEntry { base_offset, batch_length, crc };
            len = add(len, batch.total_len().ok_or(LENGTH)?)?;
            batches.push(batch);
            previous = base_offset;
        }
        if batches.is_empty() {
            return Err(BlockError::Directory("a run without batches"));
        }
        let key = PartitionKey { topic_id, partition };
        Ok(Self { key, leader_epoch, base_offset, last_offset, position, len, batches })
    }

    /// The run's bytes within the payload.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        let start = self.position as usize;
        start..start + self.len as usize
    }

    fn verify(&self, payload: &[u8]) -> Result<Vec<BatchHeader>, BlockError> {
        let mut rest = payload.get(self.range()).ok_or(LENGTH)?;
        let mut headers = Vec::with_capacity(self.batches.len());
        for entry in &self.batches {
            let header = self.verify_batch(entry, rest)?;
            rest = rest.get(header.total_len()..).unwrap_or_default();
            headers.push(header);
        }
        let last = headers.last().map(|h| h.base_offset + i64::from(h.last_offset_delta));
        if last != Some(self.last_offset) {
            return Err(OFFSET);
        }
        Ok(headers)
    }

    fn verify_batch(&self, entry: &BatchEntry, bytes: &[u8]) -> Result<BatchHeader, BlockError> {
        let wrong = |reason: String| BlockError::Batch {
            key: self.key,
            base_offset: entry.base_offset,
            reason,
        };
        let batch = BatchRef::parse(bytes).map_err(|error| wrong(error.to_string()))?;
        let header = *batch.header();
        if BatchEntry::of(&header) != *entry || header.partition_leader_epoch != self.leader_epoch {
            return Err(wrong("its header differs from the directory".to_owned()));
        }
        batch.verify_crc().map_err(|error| wrong(error.to_string()))?;
        Ok(header)
    }
}

const CUT: BlockError = BlockError::Directory("cut short");
const OFFSET: BlockError = BlockError::Directory("offsets out of order");
const LENGTH: BlockError = BlockError::Directory("impossible batch length");

/// Reads how many entries follow, of which each takes at least `bytes_min`.
fn read_count(input: &mut &[u8], bytes_min: usize) -> Result<usize, BlockError> {
    let count = read_varint(input).and_then(|count| usize::try_from(count).ok()).ok_or(CUT)?;
    if count > input.len() / bytes_min {
        return Err(CUT);
    }
    Ok(count)
}

fn add(a: u32, b: u32) -> Result<u32, BlockError> {
    a.checked_add(b).ok_or(LENGTH)
}

#[cfg(test)]
mod tests;

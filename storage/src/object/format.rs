//! The object footer: what an object holds, per partition, and where.
//!
//! Invariants: what [`Footer::encode`] writes, [`Footer::decode`] reads back; arbitrary bytes give
//! an error, never a panic or an allocation beyond a small multiple of their length; a footer with
//! an incompatible feature that this build does not know is refused. The format is specified in
//! `docs/rfcs/0005-objects.md`; golden bytes are in `testdata/`.
//!
//! ```text
//! data [0, footer_position) · body · trailer (20 bytes)
//! trailer: body length u32 · crc32c u32 (of body, length, version, reserved) · version u16 ·
//!          reserved u16 · magic 8
//! ```

use bytes::Bytes;
use common::{ObjectId, PartitionKey, TopicId};
use metadata::Extent;
use uuid::Uuid;

use super::{
    codec::{Reader, Writer},
    error::FormatError,
};

mod producers;

use self::producers::decode_markers;
pub use self::producers::{AbortedUpdate, ProducerBatch, ProducerUpdate};

/// Bytes after the body: length, checksum, version, reserved, magic.
pub const TRAILER_BYTES: usize = 20;
/// The version that this build writes.
pub const VERSION: u16 = 1;
/// Largest footer that a reader accepts, bytes: bounds what a forged length can make it fetch.
pub(super) const FOOTER_BYTES_MAX: usize = 256 << 20;
/// The last bytes of every object.
const MAGIC: [u8; 8] = *b"SHOBJECT";
/// Tag of what a partition's section says of transaction markers.
const ADDITION_MARKERS: u8 = 1;
/// Tag of what a partition's section says of compaction by key.
const ADDITION_CLEANED_END: u8 = 2;
/// Incompatible feature: sections have markers. A reader that does not know of them would
/// serve aborted records. Set only where there are any.
const INCOMPATIBLE_MARKERS: u32 = 1;
/// Incompatible features that this build understands.
const INCOMPATIBLE_KNOWN: u32 = INCOMPATIBLE_MARKERS;

/// What kind of data precedes the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// WAL blocks of many partitions, as the log wrote them; index positions are block starts.
    Blocks,
    /// Contiguous record batches of one partition; index positions are batch starts.
    Batches,
}

/// The range of a WAL file that an L0 object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The WAL file.
    pub file_id: u64,
    /// First byte of the range in the file; position 0 of the object.
    pub from: u64,
    /// End of the range, exclusive.
    pub to: u64,
}

/// The last part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The object's identity, so that a file under a wrong name is noticed.
    pub object_id: ObjectId,
    /// What precedes the footer.
    pub layout: Layout,
    /// Where the data came from; L0 only.
    pub origin: Option<Origin>,
    /// Length of the data: where the footer starts.
    pub data_len: u64,
    /// CRC32C of the data.
    pub data_crc32c: u32,
    /// What the object holds, ascending by key.
    pub partitions: Vec<PartitionFooter>,
}

/// One partition's share of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionFooter {
    /// The partition.
    pub key: PartitionKey,
    /// Newest leader epoch among its batches.
    pub leader_epoch: i32,
    /// First offset.
    pub base_offset: i64,
    /// End, exclusive.
    pub end_offset: i64,
    /// Bytes of its record batches.
    pub bytes: u64,
    /// Smallest batch max-timestamp, milliseconds.
    pub min_timestamp: i64,
    /// Largest batch max-timestamp, milliseconds.
    pub max_timestamp: i64,
    /// Ascending by offset and position; never empty where `bytes` is not 0.
    pub index: Vec<IndexEntry>,
    /// Producers that appended in the extent (L0), or all that are known at its end (L1);
    /// ascending by id.
    pub producers: Vec<ProducerUpdate>,
    /// How far the log was clean when compaction by key wrote this extent; `None` where it did not.
    pub cleaned_end_offset: Option<i64>,
    /// Aborted transactions: those whose marker lies in the extent (L0), or all that overlap it
    /// (L1); ascending by marker.
    pub aborted: Vec<AbortedUpdate>,
}

/// A point from which a reader can start: it covers what follows up to the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// First offset of the partition at or after `position`.
    pub offset: i64,
    /// Largest timestamp from the start of the extent through the end of what this entry covers.
    pub max_timestamp: i64,
    /// Position in the object.
    pub position: u64,
    /// CRC32C of what the entry covers in the batches layout; 0 in the blocks layout, whose blocks
    /// carry their own.
    pub crc32c: u32,
}

/// The last 20 bytes of an object, read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Bytes of the body in front of the trailer.
    pub body_len: u32,
    /// Checksum of body, length, version and reserved bytes.
    pub crc32c: u32,
    /// Format version.
    pub version: u16,
}

impl Trailer {
    /// Reads the trailer at the end of `bytes`.
    ///
    /// # Errors
    /// `Truncated`, `NotAnObject` for another magic, `UnsupportedVersion`, `TooLarge`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let start = bytes.len().checked_sub(TRAILER_BYTES).ok_or(FormatError::Truncated)?;
        let mut reader = Reader::new(bytes.get(start..).unwrap_or_default());
        let (body_len, crc32c) = (reader.u32()?, reader.u32()?);
        let (version, _reserved) = (reader.u16()?, reader.u16()?);
        if reader.array::<8>()? != MAGIC {
            return Err(FormatError::NotAnObject);
        }
        if version != VERSION {
            return Err(FormatError::UnsupportedVersion(version));
        }
        if body_len as usize > FOOTER_BYTES_MAX {
            return Err(FormatError::TooLarge { bytes: u64::from(body_len) });
        }
        Ok(Self { body_len, crc32c, version })
    }

    /// Bytes of the footer, trailer included.
    #[must_use]
    pub fn footer_len(&self) -> u64 {
        u64::from(self.body_len) + TRAILER_BYTES as u64
    }
}

impl Footer {
    /// The footer as it follows the data: body and trailer.
    ///
    /// # Errors
    /// `TooLarge` beyond `FOOTER_BYTES_MAX`.
    pub fn encode(&self) -> Result<Bytes, FormatError> {
        let markers = self.partitions.iter().any(PartitionFooter::has_markers);
        let mut body = Writer::new();
        body.u32(if markers { INCOMPATIBLE_MARKERS } else { 0 });
        body.u32(0); // compatible features
        body.u8(match self.layout {
            Layout::Blocks => 0,
            Layout::Batches => 1,
        });
        body.raw(self.object_id.0.as_bytes());
        body.u64(self.data_len);
        body.u32(self.data_crc32c);
        body.u8(u8::from(self.origin.is_some()));
        if let Some(origin) = &self.origin {
            body.u64(origin.file_id);
            body.u64(origin.from);
            body.u64(origin.to);
        }
        body.uvarint(self.partitions.len() as u64);
        for partition in &self.partitions {
            body.raw(partition.key.topic_id.0.as_bytes());
            body.i32(partition.key.partition);
            let mut section = Writer::new();
            partition.encode(&mut section);
            body.section(&section);
        }
        let body = body.into_bytes();
        if body.len() > FOOTER_BYTES_MAX {
            return Err(FormatError::TooLarge { bytes: body.len() as u64 });
        }
        Ok(with_trailer(body))
    }

    /// Reads the footer that ends at the end of `bytes`; what precedes it is left out.
    ///
    /// # Errors
    /// As [`Trailer::decode`], `BadChecksum`, `UnsupportedFeatures`, and `Invalid` or `Truncated`
    /// for contents that contradict themselves.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let trailer = Trailer::decode(bytes)?;
        let body_end = bytes.len() - TRAILER_BYTES;
        let body_start =
            body_end.checked_sub(trailer.body_len as usize).ok_or(FormatError::Truncated)?;
        let body = bytes.get(body_start..body_end).ok_or(FormatError::Truncated)?;
        let tail = bytes.get(body_end..).ok_or(FormatError::Truncated)?;
        let computed = checksum(body, tail);
        if computed != trailer.crc32c {
            return Err(FormatError::BadChecksum { stored: trailer.crc32c, computed });
        }
        Self::decode_body(body)
    }

    fn decode_body(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let incompatible = reader.u32()?;
        if incompatible & !INCOMPATIBLE_KNOWN != 0 {
            return Err(FormatError::UnsupportedFeatures(incompatible & !INCOMPATIBLE_KNOWN));
        }
        let _compatible = reader.u32()?;
        let layout = match reader.u8()? {
            0 => Layout::Blocks,
            1 => Layout::Batches,
            _ => return Err(FormatError::Invalid("unknown layout")),
        };
        let object_id = ObjectId(Uuid::from_bytes(reader.array()?));
        let data_len = reader.u64()?;
        let data_crc32c = reader.u32()?;
        let origin = match reader.u8()? {
            0 => None,
            1 => Some(Origin { file_id: reader.u64()?, from: reader.u64()?, to: reader.u64()? }),
            _ => return Err(FormatError::Invalid("bad origin flag")),
        };
        let count = reader.count(24)?;
        let mut partitions: Vec<PartitionFooter> = Vec::with_capacity(count);
        for _ in 0..count {
            let topic_id = TopicId(Uuid::from_bytes(reader.array()?));
            let key = PartitionKey { topic_id, partition: reader.i32()? };
            if partitions.last().is_some_and(|last| last.key >= key) {
                return Err(FormatError::Invalid("partitions out of order"));
            }
            let partition = PartitionFooter::decode(key, data_len, &mut reader.section()?)?;
            partitions.push(partition);
        }
        Ok(Self { object_id, layout, origin, data_len, data_crc32c, partitions })
    }

    /// The share of one partition.
    #[must_use]
    pub fn partition(&self, key: &PartitionKey) -> Option<&PartitionFooter> {
        let found = self.partitions.binary_search_by(|partition| partition.key.cmp(key)).ok()?;
        self.partitions.get(found)
    }

    /// Bytes that this footer holds in memory, for caches.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let partition_bytes = |partition: &PartitionFooter| {
            let producers: usize = partition
                .producers
                .iter()
                .map(|p| size_of_val(p) + p.batches.len() * size_of::<ProducerBatch>())
                .sum();
            size_of_val(partition)
                + partition.index.len() * size_of::<IndexEntry>()
                + partition.aborted.len() * size_of::<AbortedUpdate>()
                + producers
        };
        size_of_val(self) + self.partitions.iter().map(partition_bytes).sum::<usize>()
    }
}

impl PartitionFooter {
    fn encode(&self, out: &mut Writer) {
        out.i32(self.leader_epoch);
        out.i64(self.base_offset);
        out.i64(self.end_offset);
        out.u64(self.bytes);
        out.i64(self.min_timestamp);
        out.i64(self.max_timestamp);
        out.uvarint(self.index.len() as u64);
        let (mut offset, mut timestamp, mut position) = (self.base_offset, self.max_timestamp, 0);
        for entry in &self.index {
            out.uvarint(entry.offset.wrapping_sub(offset) as u64);
            out.varint(entry.max_timestamp.wrapping_sub(timestamp));
            out.uvarint(entry.position.wrapping_sub(position));
            out.u32(entry.crc32c);
            (offset, timestamp, position) = (entry.offset, entry.max_timestamp, entry.position);
        }
        out.uvarint(self.producers.len() as u64);
        for producer in &self.producers {
            producer.encode(out);
        }
        if self.has_markers() {
            let mut addition = Writer::new();
            self.encode_markers(&mut addition);
            out.u8(ADDITION_MARKERS);
            out.section(&addition);
        }
        if let Some(end_offset) = self.cleaned_end_offset {
            let mut addition = Writer::new();
            addition.varint(end_offset);
            out.u8(ADDITION_CLEANED_END);
            out.section(&addition);
        }
    }

    fn decode(
        key: PartitionKey,
        data_len: u64,
        reader: &mut Reader<'_>,
    ) -> Result<Self, FormatError> {
        let leader_epoch = reader.i32()?;
        let (base_offset, end_offset) = (reader.i64()?, reader.i64()?);
        if base_offset < 0 || end_offset < base_offset {
            return Err(FormatError::Invalid("extent ends before it starts"));
        }
        let bytes = reader.u64()?;
        let (min_timestamp, max_timestamp) = (reader.i64()?, reader.i64()?);
        let count = reader.count(7)?;
        let mut index: Vec<IndexEntry> = Vec::with_capacity(count);
        let (mut offset, mut timestamp, mut position) = (base_offset, max_timestamp, 0_u64);
        for _ in 0..count {
            offset = i64::try_from(reader.uvarint()?)
                .ok()
                .and_then(|delta| offset.checked_add(delta))
                .filter(|offset| *offset < end_offset)
                .ok_or(FormatError::Invalid("index offset outside the extent"))?;
            timestamp = timestamp.wrapping_add(reader.varint()?);
            position = position
                .checked_add(reader.uvarint()?)
                .filter(|position| *position < data_len)
                .ok_or(FormatError::Invalid("index position outside the data"))?;
            let entry =
                IndexEntry { offset, max_timestamp: timestamp, position, crc32c: reader.u32()? };
            if index
                .last()
                .is_some_and(|last| last.offset >= entry.offset || last.position >= entry.position)
            {
                return Err(FormatError::Invalid("index out of order"));
            }
            index.push(entry);
        }
        let count = reader.count(ProducerUpdate::ENCODED_BYTES_MIN)?;
        let mut producers = Vec::with_capacity(count);
        for _ in 0..count {
            producers.push(ProducerUpdate::decode(reader)?);
        }
        let (mut cleaned_end_offset, mut aborted) = (None, Vec::new());
        while reader.remaining() > 0 {
            let tag = reader.u8()?;
            let mut addition = reader.section()?;
            match tag {
                ADDITION_MARKERS => aborted = decode_markers(&mut producers, &mut addition)?,
                ADDITION_CLEANED_END => cleaned_end_offset = Some(addition.varint()?),
                _ => {}
            }
        }
        Ok(Self {
            key,
            leader_epoch,
            base_offset,
            end_offset,
            bytes,
            min_timestamp,
            max_timestamp,
            index,
            producers,
            cleaned_end_offset,
            aborted,
        })
    }

    /// The extent as the metadata store keeps it, committed under `leader_epoch`.
    #[must_use]
    pub fn extent(&self, leader_epoch: i32) -> Extent {
        Extent {
            key: self.key,
            leader_epoch,
            base_offset: self.base_offset,
            end_offset: self.end_offset,
            bytes: self.bytes,
            first_position: self.index.first().map_or(0, |entry| entry.position),
            min_timestamp: self.min_timestamp,
            max_timestamp: self.max_timestamp,
        }
    }

    /// Position of the last entry at or before `offset`: where a reader starts.
    #[must_use]
    pub fn entry_for(&self, offset: i64) -> Option<usize> {
        self.index.partition_point(|entry| entry.offset <= offset).checked_sub(1)
    }

    /// The first entry that covers a batch whose timestamp is at least `timestamp`.
    #[must_use]
    pub fn entry_for_timestamp(&self, timestamp: i64) -> Option<usize> {
        let first = self.index.partition_point(|entry| entry.max_timestamp < timestamp);
        (first < self.index.len()).then_some(first)
    }
}

fn with_trailer(body: Vec<u8>) -> Bytes {
    let mut tail = Writer::new();
    tail.u32(body.len() as u32);
    tail.u32(0);
    tail.u16(VERSION);
    tail.u16(0);
    tail.raw(&MAGIC);
    let mut tail = tail.into_bytes();
    let crc = checksum(&body, &tail);
    if let Some(field) = tail.get_mut(4..8) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    let mut bytes = body;
    bytes.extend_from_slice(&tail);
    Bytes::from(bytes)
}

/// Checksum of the body and of the trailer's length, version and reserved bytes.
fn checksum(body: &[u8], tail: &[u8]) -> u32 {
    let crc = crc32c::crc32c(body);
    let crc = crc32c::crc32c_append(crc, tail.get(..4).unwrap_or_default());
    crc32c::crc32c_append(crc, tail.get(8..12).unwrap_or_default())
}

#[cfg(test)]
mod tests;

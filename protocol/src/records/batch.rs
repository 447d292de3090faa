//! A view of one record batch of magic 2 (KIP-98) over bytes that stay where they are.
//!
//! Invariant: a [`Batch`] or [`BatchRef`] holds exactly the bytes of one batch whose header was read
//! and whose length field agrees with them. Its CRC and its records are checked only when asked for.
//! `patch` changes what a broker must change.
//!
//! ```text
//! 0 base offset 8 · 8 length 4 · 12 partition leader epoch 4 · 16 magic 1 · 17 crc 4 ·
//! 21 attributes 2 · 23 last offset delta 4 · 27 base timestamp 8 · 35 max timestamp 8 ·
//! 43 producer id 8 · 51 producer epoch 2 · 53 base sequence 4 · 57 records count 4 · 61 records
//! ```
//! The CRC32C covers everything from the attributes to the end.

use bytes::Bytes;

use super::{
    compression::{CompressionType, DecompressLimit, decompress},
    error::{CompressionError, RecordError},
    record::RecordIter,
};

/// Bytes before the part that the length field counts (base offset and length).
pub const LOG_OVERHEAD: usize = 12;
/// Bytes of a batch before its records.
pub const BATCH_OVERHEAD: usize = 61;
/// The only magic that Kafka 4 writes.
pub const MAGIC_V2: i8 = 2;

/// Position of the base offset (i64).
pub const BASE_OFFSET_POSITION: usize = 0;
/// Position of the length field (i32): bytes after it.
pub const LENGTH_POSITION: usize = 8;
/// Position of the partition leader epoch (i32).
pub const PARTITION_LEADER_EPOCH_POSITION: usize = 12;
/// Position of the magic byte.
pub const MAGIC_POSITION: usize = 16;
/// Position of the CRC32C (u32).
pub const CRC_POSITION: usize = 17;
/// Position of the attributes (i16); the CRC covers from here.
pub const ATTRIBUTES_POSITION: usize = 21;
/// Position of the last offset delta (i32).
pub const LAST_OFFSET_DELTA_POSITION: usize = 23;
/// Position of the base timestamp (i64).
pub const BASE_TIMESTAMP_POSITION: usize = 27;
/// Position of the max timestamp (i64).
pub const MAX_TIMESTAMP_POSITION: usize = 35;
/// Position of the producer id (i64).
pub const PRODUCER_ID_POSITION: usize = 43;
/// Position of the producer epoch (i16).
pub const PRODUCER_EPOCH_POSITION: usize = 51;
/// Position of the base sequence (i32).
pub const BASE_SEQUENCE_POSITION: usize = 53;
/// Position of the records count (i32).
pub const RECORDS_COUNT_POSITION: usize = 57;

/// Producer id of a batch that is neither idempotent nor transactional.
pub const NO_PRODUCER_ID: i64 = -1;
/// Producer epoch that goes with [`NO_PRODUCER_ID`].
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// Base sequence of a batch without sequence numbers (also of control batches).
pub const NO_SEQUENCE: i32 = -1;
/// Timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;
/// Leader epoch of a batch that no leader has stamped yet.
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;

pub(super) const COMPRESSION_MASK: i16 = 0x07;
pub(super) const TIMESTAMP_TYPE_FLAG: i16 = 0x08;
pub(super) const TRANSACTIONAL_FLAG: i16 = 0x10;
pub(super) const CONTROL_FLAG: i16 = 0x20;
pub(super) const DELETE_HORIZON_FLAG: i16 = 0x40;
pub(super) const KNOWN_ATTRIBUTES: i16 = 0x7f;

/// What the timestamps of a batch mean (KIP-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Each record has the time that the producer gave it.
    CreateTime,
    /// Every record has the time at which the broker appended the batch (its max timestamp).
    LogAppendTime,
}

/// The parsed 61 bytes in front of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 in a batch that a producer sends.
    pub base_offset: i64,
    /// Bytes after the length field; at least 49 in a parsed header.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch.
    pub partition_leader_epoch: i32,
    /// Always [`MAGIC_V2`] in a parsed header.
    pub magic: i8,
    /// CRC32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type and flags.
    pub attributes: i16,
    /// Offset of the last record minus the base offset; survives compaction.
    pub last_offset_delta: i32,
    /// What timestamp deltas count from; the delete horizon if that flag is set (KIP-534).
    pub base_timestamp: i64,
    /// The largest timestamp of the batch, in milliseconds since the epoch.
    pub max_timestamp: i64,
    /// Producer id or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Producer epoch or [`NO_PRODUCER_EPOCH`].
    pub producer_epoch: i16,
    /// Sequence number of the first record or [`NO_SEQUENCE`].
    pub base_sequence: i32,
    /// Number of records.
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may go on past the batch or end inside it.
    ///
    /// # Errors
    /// `Truncated` below 61 bytes (the magic and length are still judged if they are there),
    /// `UnsupportedMagic`, `BadLength`.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let Some(raw) = bytes.first_chunk::<BATCH_OVERHEAD>() else {
            return Err(Self::why_short(bytes));
        };
        let header = Self {
            base_offset: i64::from_be_bytes(field(raw, BASE_OFFSET_POSITION)),
            batch_length: i32::from_be_bytes(field(raw, LENGTH_POSITION)),
            partition_leader_epoch: i32::from_be_bytes(field(raw, PARTITION_LEADER_EPOCH_POSITION)),
            magic: i8::from_be_bytes(field(raw, MAGIC_POSITION)),
            crc: u32::from_be_bytes(field(raw, CRC_POSITION)),
            attributes: i16::from_be_bytes(field(raw, ATTRIBUTES_POSITION)),
            last_offset_delta: i32::from_be_bytes(field(raw, LAST_OFFSET_DELTA_POSITION)),
            base_timestamp: i64::from_be_bytes(field(raw, BASE_TIMESTAMP_POSITION)),
            max_timestamp: i64::from_be_bytes(field(raw, MAX_TIMESTAMP_POSITION)),
            producer_id: i64::from_be_bytes(field(raw, PRODUCER_ID_POSITION)),
            producer_epoch: i16::from_be_bytes(field(raw, PRODUCER_EPOCH_POSITION)),
            base_sequence: i32::from_be_bytes(field(raw, BASE_SEQUENCE_POSITION)),
            records_count: i32::from_be_bytes(field(raw, RECORDS_COUNT_POSITION)),
        };
        if header.magic != MAGIC_V2 {
            return Err(RecordError::UnsupportedMagic { magic: header.magic });
        }
        if header.checked_total_len().is_none() {
            return Err(RecordError::BadLength { batch_length: header.batch_length });
        }
        Ok(header)
    }

    /// Names the reason why fewer than 61 bytes are no batch: a shorter old message set, a length
    /// that cannot be, or a header that is cut.
    fn why_short(bytes: &[u8]) -> RecordError {
        if let Some(&[magic]) = bytes.get(MAGIC_POSITION..=MAGIC_POSITION) {
            let magic = i8::from_be_bytes([magic]);
            if magic != MAGIC_V2 {
                return RecordError::UnsupportedMagic { magic };
            }
        }
        if let Some(length) = bytes.get(LENGTH_POSITION..).and_then(|rest| rest.first_chunk::<4>())
        {
            let batch_length = i32::from_be_bytes(*length);
            if total_len(batch_length).is_none_or(|total| total < BATCH_OVERHEAD) {
                return RecordError::BadLength { batch_length };
            }
        }
        RecordError::Truncated { needed: BATCH_OVERHEAD, available: bytes.len() }
    }

    fn checked_total_len(&self) -> Option<usize> {
        total_len(self.batch_length).filter(|total| *total >= BATCH_OVERHEAD)
    }

    /// Bytes of the whole batch, header and length field included.
    pub fn total_len(&self) -> usize {
        self.checked_total_len().unwrap_or(BATCH_OVERHEAD)
    }

    /// The codec of the records.
    ///
    /// # Errors
    /// `UnknownType` for the ids 5 to 7.
    pub fn compression(&self) -> Result<CompressionType, CompressionError> {
        // Three bits, so the conversion cannot lose anything.
        CompressionType::from_id((self.attributes & COMPRESSION_MASK) as u8)
    }

    /// Whether timestamps are the producer's or the broker's.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_FLAG == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_FLAG != 0
    }

    /// Whether the records are control records (markers), which clients never see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_FLAG != 0
    }

    /// Whether the base timestamp is a delete horizon (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_FLAG != 0
    }

    /// Whether an idempotent or transactional producer wrote the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Offset of the last record (also when compaction has removed it).
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset that follows the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record, or [`NO_SEQUENCE`]. After `i32::MAX` comes 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            NO_SEQUENCE
        } else {
            increment_sequence(self.base_sequence, self.last_offset_delta)
        }
    }

    /// Timestamp of a record with this delta, as every consumer computes it.
    pub fn record_timestamp(&self, timestamp_delta: i64) -> i64 {
        match self.timestamp_type() {
            TimestampType::CreateTime => self.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.max_timestamp,
        }
    }
}

fn total_len(batch_length: i32) -> Option<usize> {
    usize::try_from(batch_length).ok()?.checked_add(LOG_OVERHEAD)
}

/// `N` bytes at a constant position of the header.
#[inline]
fn field<const N: usize>(raw: &[u8; BATCH_OVERHEAD], position: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&raw[position..position + N]);
    out
}

/// Kafka's `DefaultRecordBatch.incrementSequence`: sequence numbers wrap from `i32::MAX` to 0.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    const MODULUS: i64 = i32::MAX as i64 + 1;
    let sum = i64::from(sequence) + i64::from(increment);
    i32::try_from(sum.rem_euclid(MODULUS)).unwrap_or(i32::MAX)
}

/// Kafka's `DefaultRecordBatch.decrementSequence`: the inverse of [`increment_sequence`].
pub fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    const MODULUS: i64 = i32::MAX as i64 + 1;
    let difference = i64::from(sequence) - i64::from(decrement);
    i32::try_from(difference.rem_euclid(MODULUS)).unwrap_or(i32::MAX)
}

/// One batch over borrowed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRef<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchRef<'a> {
    /// Takes the batch at the front of `bytes`; bytes after it are left out.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`], and `Truncated` if the batch does not end within `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.total_len();
        match bytes.get(..needed) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(RecordError::Truncated { needed, available: bytes.len() }),
        }
    }

    /// The parsed header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as they are stored, that is compressed if the batch is.
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(BATCH_OVERHEAD..).unwrap_or_default()
    }

    /// Compares the stored CRC32C with the bytes from the attributes to the end.
    ///
    /// # Errors
    /// `CrcMismatch`.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let computed = compute_crc(self.bytes);
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(RecordError::CrcMismatch { stored: self.header.crc, computed })
        }
    }

    /// The records as plain bytes: the body itself, or its decompression within `limit`.
    ///
    /// # Errors
    /// `Compression` for an unknown codec, corrupt data or more data than the limit.
    pub fn decompressed(&self, limit: DecompressLimit) -> Result<PlainRecords<'a>, RecordError> {
        let body = match self.header.compression()? {
            CompressionType::None => PlainBody::Borrowed(self.body()),
            codec => PlainBody::Owned(decompress(codec, self.body(), limit)?),
        };
        Ok(PlainRecords { header: self.header, body })
    }
}

/// The records of one batch as plain bytes, borrowed where the batch is not compressed.
#[derive(Debug, Clone)]
pub struct PlainRecords<'a> {
    header: BatchHeader,
    body: PlainBody<'a>,
}

#[derive(Debug, Clone)]
enum PlainBody<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl PlainRecords<'_> {
    /// Walks the records without allocating.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter::new(self.bytes(), self.header.records_count)
    }

    /// The encoded records.
    pub fn bytes(&self) -> &[u8] {
        match &self.body {
            PlainBody::Borrowed(bytes) => bytes,
            PlainBody::Owned(bytes) => bytes,
        }
    }

    /// Header of the batch the records are from.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }
}

impl<'r> IntoIterator for &'r PlainRecords<'_> {
    type Item = Result<super::record::Record<'r>, RecordError>;
    type IntoIter = RecordIter<'r>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One batch that shares ownership of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Takes the batch at the front of `bytes` as a slice of the same buffer.
    ///
    /// # Errors
    /// As [`BatchRef::parse`].
    pub fn parse(bytes: &Bytes) -> Result<Self, RecordError> {
        let header = *BatchRef::parse(bytes)?.header();
        Ok(Self { header, bytes: bytes.slice(..header.total_len()) })
    }

    /// The parsed header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives up the view and keeps the bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The same batch, borrowed.
    pub fn borrowed(&self) -> BatchRef<'_> {
        BatchRef { header: self.header, bytes: &self.bytes }
    }

    /// As [`BatchRef::verify_crc`].
    ///
    /// # Errors
    /// `CrcMismatch`.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        self.borrowed().verify_crc()
    }
}

/// Splits a records blob into its batches; see [`batches`].
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<Batch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = Batch::parse(&self.rest);
        match &batch {
            Ok(batch) => self.rest = self.rest.slice(batch.bytes.len()..),
            Err(_) => self.rest = Bytes::new(),
        }
        Some(batch)
    }
}

/// Splits a records blob into batches without copying.
///
/// Ends after the last batch, or after the first error: what follows damage has no known bounds. A
/// partial batch at the end is `Truncated`.
pub fn batches(records: &Bytes) -> Batches {
    Batches { rest: records.clone() }
}

/// Splits borrowed bytes into batches; see [`batch_refs`].
#[derive(Debug, Clone)]
pub struct BatchRefs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for BatchRefs<'a> {
    type Item = Result<BatchRef<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = BatchRef::parse(self.rest);
        let consumed = batch.as_ref().map_or(self.rest.len(), |batch| batch.bytes.len());
        self.rest = self.rest.get(consumed..).unwrap_or_default();
        Some(batch)
    }
}

/// As [`batches`], for borrowed bytes.
pub fn batch_refs(records: &[u8]) -> BatchRefs<'_> {
    BatchRefs { rest: records }
}

/// CRC32C of everything from the attributes on.
pub(super) fn compute_crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(ATTRIBUTES_POSITION..).unwrap_or_default())
}

#[cfg(test)]
mod tests;

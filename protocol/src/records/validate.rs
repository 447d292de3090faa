//! Validates what a producer sends to one partition, as Apache Kafka 4.3 does.
//!
//! The rules are those of `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords` and
//! `LogValidator`, in that order; `docs/rfcs/0002-records.md` lists them with their error codes and the
//! few differences. Invariant: what passes has one batch of magic 2 with a right CRC, whose records
//! were all walked and have the offsets base, base + 1, … base + count - 1.
//!
//! The common case keeps the producer's bytes: [`ValidatedRecords::bytes`] is then a slice of the
//! input, and the log only patches the header ([`ValidatedRecords::stamp`]).

mod error;
mod record_check;

use bytes::Bytes;

use super::{
    batch::{
        BatchHeader, BatchRef, LENGTH_POSITION, LOG_OVERHEAD, MAGIC_POSITION, MAGIC_V2,
        TimestampType,
    },
    builder::BatchBuilder,
    compression::{Compression, CompressionType, DecompressLimit, Decompressor},
    error::RecordError,
    patch::{set_base_offset, set_max_timestamp, set_partition_leader_epoch},
    record::RecordIter,
    stream::StreamWalker,
};

pub use self::error::{RecordViolation, ValidationError, ValidationErrorKind};
use self::record_check::RecordCheck;

/// The first Produce version that may carry zstd (KIP-110).
const ZSTD_SINCE_PRODUCE_VERSION: i16 = 7;
/// Least length of any message that Kafka's batch splitter accepts (magic 0).
const LEAST_MESSAGE_LEN: i32 = 14;

/// What the topic and the request allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducePolicy {
    /// Version of the Produce request; zstd needs 7.
    pub produce_version: i16,
    /// `max.message.bytes`: largest batch, header included, as sent and as stored.
    pub max_message_bytes: usize,
    /// `compression.type` with its level.
    pub compression: CompressionPolicy,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` has `compact`, so that records need keys.
    pub compacted: bool,
    /// Whether the batch may be a control batch; never from clients.
    pub allow_control: bool,
    /// Most bytes that one batch may decompress to.
    pub max_decompressed_bytes: usize,
}

/// `compression.type` of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionPolicy {
    /// Keep what the producer chose.
    Producer,
    /// Store in this form; a batch of the same codec stays as it is, whatever its level.
    Fixed(Compression),
}

/// A batch that may be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedRecords {
    /// The batch; a slice of the input unless `rewritten` or its max timestamp had to be corrected.
    pub bytes: Bytes,
    /// Header of `bytes`, before [`ValidatedRecords::stamp`].
    pub header: BatchHeader,
    /// Timestamp type of the stored batch.
    pub timestamp_type: TimestampType,
    /// Largest timestamp of the stored batch, in milliseconds; -1 if no record has one.
    pub max_timestamp: i64,
    /// Offset of the first record with that timestamp, minus the base offset.
    pub offset_delta_of_max_timestamp: i32,
    /// Whether the records were encoded anew, because the topic wants another codec.
    pub rewritten: bool,
    /// Bytes of the records before compression.
    pub uncompressed_bytes: u64,
}

impl ValidatedRecords {
    /// One batch that this broker built itself (markers, coordinator records), to be stored with
    /// `timestamp_type`; `now_ms` is its append time where that is LogAppendTime.
    ///
    /// # Errors
    /// As [`BatchRef::parse`]; `Malformed` where the bytes are not exactly one batch.
    pub fn trusted(
        bytes: Bytes,
        timestamp_type: TimestampType,
        now_ms: i64,
    ) -> Result<Self, RecordError> {
        let header = BatchHeader::parse(&bytes)?;
        if header.total_len() != bytes.len() {
            return Err(RecordError::Malformed { index: 0, reason: "not exactly one batch" });
        }
        let max_timestamp = match timestamp_type {
            TimestampType::CreateTime => header.max_timestamp,
            TimestampType::LogAppendTime => now_ms,
        };
        Ok(Self {
            uncompressed_bytes: bytes.len() as u64,
            bytes,
            header,
            timestamp_type,
            max_timestamp,
            offset_delta_of_max_timestamp: 0,
            rewritten: false,
        })
    }

    /// The append time that the log must give the batch ([`set_log_append_time`]), if the topic
    /// wants one; `bytes` need no other patch than this, the base offset and the leader epoch.
    ///
    /// [`set_log_append_time`]: super::set_log_append_time
    pub fn log_append_time(&self) -> Option<i64> {
        match self.timestamp_type {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(self.max_timestamp),
        }
    }

    /// Patches a copy of `bytes` on its way into the log: offset, leader epoch, and the append time
    /// if the topic wants one.
    ///
    /// # Errors
    /// `Truncated` if `batch` is not a copy of `bytes`.
    pub fn stamp(
        &self,
        batch: &mut [u8],
        base_offset: i64,
        partition_leader_epoch: i32,
    ) -> Result<(), RecordError> {
        set_max_timestamp(batch, self.timestamp_type, self.max_timestamp)?;
        set_base_offset(batch, base_offset)?;
        set_partition_leader_epoch(batch, partition_leader_epoch)
    }
}

/// Checks the records that a producer sends to one partition; see the top of the file.
///
/// `now_ms` is the broker's wall clock in milliseconds since the epoch.
///
/// # Errors
/// [`ValidationError`] with the code that Kafka gives.
pub fn validate_produce(
    records: &Bytes,
    policy: &ProducePolicy,
    now_ms: i64,
) -> Result<ValidatedRecords, ValidationError> {
    let length = only_batch_len(records, policy.produce_version)?;
    let bytes = records.slice(..length);
    let batch = BatchRef::parse(&bytes)?;
    let header = *batch.header();
    check_zstd_version(&header, policy.produce_version)?;
    check_batch(&batch, policy)?;
    let source = header.compression()?;
    let target = target_compression(&header, source, policy.compression);
    let limit = DecompressLimit { max_bytes: policy.max_decompressed_bytes };

    if target.compression_type() == source {
        let mut check = RecordCheck::new(&header, policy, now_ms);
        let uncompressed_bytes = match source {
            CompressionType::None => walk_plain(batch.body(), &mut check)?,
            codec => walk_compressed(codec, batch.body(), limit, &mut check)?,
        };
        check.finish()?;
        return with_right_max_timestamp(check.into_validated(bytes, uncompressed_bytes));
    }
    rewrite(&batch, target, limit, policy, now_ms)
}

/// Corrects a max timestamp that is not the largest of the records. No known client sends one, so the
/// copy does not matter; the log then has only offset, epoch and append time left to patch.
fn with_right_max_timestamp(
    mut validated: ValidatedRecords,
) -> Result<ValidatedRecords, ValidationError> {
    if validated.timestamp_type == TimestampType::CreateTime
        && validated.header.max_timestamp != validated.max_timestamp
    {
        let mut corrected = validated.bytes.to_vec();
        set_max_timestamp(&mut corrected, validated.timestamp_type, validated.max_timestamp)?;
        validated.header = BatchHeader::parse(&corrected)?;
        validated.bytes = Bytes::from(corrected);
    }
    Ok(validated)
}

fn check_zstd_version(header: &BatchHeader, version: i16) -> Result<(), ValidationError> {
    if version < ZSTD_SINCE_PRODUCE_VERSION && header.compression() == Ok(CompressionType::Zstd) {
        return Err(ValidationError::new(
            ValidationErrorKind::UnsupportedCompressionType,
            format!(
                "Produce requests with version {version} are not allowed to use ZStandard \
                 compression"
            ),
        ));
    }
    Ok(())
}

/// The form to store; control records that came plain stay plain, as in Kafka.
fn target_compression(
    header: &BatchHeader,
    source: CompressionType,
    policy: CompressionPolicy,
) -> Compression {
    match policy {
        CompressionPolicy::Fixed(fixed)
            if !(header.is_control() && source == CompressionType::None) =>
        {
            fixed
        }
        CompressionPolicy::Fixed(_) | CompressionPolicy::Producer => {
            Compression::with_default_level(source)
        }
    }
}

/// Length of the one batch that the blob must hold. A partial batch after it is left out.
fn only_batch_len(records: &[u8], version: i16) -> Result<usize, ValidationError> {
    let Some(length) = next_batch_len(records)? else {
        return Err(ValidationError::invalid(format!(
            "Produce requests with version {version} must have at least one record batch per \
             partition"
        )));
    };
    if magic_of(records) != Some(MAGIC_V2) {
        return Err(ValidationError::invalid(format!(
            "Produce requests with version {version} are only allowed to contain record batches \
             with magic version 2"
        )));
    }
    if next_batch_len(records.get(length..).unwrap_or_default())?.is_some() {
        return Err(ValidationError::invalid(format!(
            "Produce requests with version {version} are only allowed to contain exactly one \
             record batch per partition"
        )));
    }
    Ok(length)
}

fn magic_of(records: &[u8]) -> Option<i8> {
    records.get(MAGIC_POSITION).map(|byte| byte.cast_signed())
}

/// Kafka's `ByteBufferLogInputStream.nextBatch`: `None` at the end or before a partial batch.
fn next_batch_len(rest: &[u8]) -> Result<Option<usize>, ValidationError> {
    let corrupt =
        |message: String| ValidationError::new(ValidationErrorKind::CorruptMessage, message);
    let Some(length) = rest.get(LENGTH_POSITION..).and_then(|tail| tail.first_chunk::<4>()) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    if length < LEAST_MESSAGE_LEN {
        return Err(corrupt(format!(
            "Record size {length} is less than the minimum record overhead ({LEAST_MESSAGE_LEN})"
        )));
    }
    let Some(magic) = magic_of(rest) else {
        return Ok(None);
    };
    if !(0..=MAGIC_V2).contains(&magic) {
        return Err(corrupt(format!("Invalid magic found in record: {magic}")));
    }
    let total = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(LOG_OVERHEAD);
    Ok((total <= rest.len()).then_some(total))
}

/// What the header alone can be wrong about, and the CRC.
fn check_batch(batch: &BatchRef<'_>, policy: &ProducePolicy) -> Result<(), ValidationError> {
    let header = batch.header();
    let (base, last) = (header.base_offset, header.last_offset());
    if base != 0 {
        return Err(ValidationError::invalid(format!(
            "The baseOffset of the record batch in the append should be 0, but it is {base}"
        )));
    }
    check_size(batch.bytes().len(), policy)?;
    batch.verify_crc()?;
    if header.last_offset_delta < 0 {
        return Err(ValidationError::invalid(format!(
            "Batch has an invalid offset range: [{base}, {last}]"
        )));
    }
    let count = header.records_count;
    if count <= 0 {
        return Err(ValidationError::invalid(format!(
            "Invalid reported count for record batch: {count}"
        )));
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(count) {
        return Err(ValidationError::invalid(format!(
            "Inconsistent batch offset range [{base}, {last}] and count of records {count}"
        )));
    }
    check_producer(header, policy)
}

fn check_producer(header: &BatchHeader, policy: &ProducePolicy) -> Result<(), ValidationError> {
    if header.is_control() {
        return if policy.allow_control {
            Ok(())
        } else {
            Err(ValidationError::invalid("Clients are not allowed to write control records"))
        };
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(ValidationError::invalid(format!(
            "Invalid sequence number {} in record batch with producerId {}",
            header.base_sequence, header.producer_id
        )));
    }
    if header.is_transactional() && !header.has_producer_id() {
        return Err(ValidationError::invalid("Transactional record batch has no producerId"));
    }
    Ok(())
}

fn check_size(batch_len: usize, policy: &ProducePolicy) -> Result<(), ValidationError> {
    if batch_len > policy.max_message_bytes {
        return Err(ValidationError::new(
            ValidationErrorKind::MessageTooLarge,
            format!(
                "The record batch size in the append is {batch_len} bytes which exceeds the \
                 maximum configured value of {}",
                policy.max_message_bytes
            ),
        ));
    }
    Ok(())
}

/// Walks encoded records; gives their bytes.
fn walk_plain(plain: &[u8], check: &mut RecordCheck<'_>) -> Result<u64, ValidationError> {
    for record in RecordIter::new(plain, check.header.records_count) {
        let record = record?;
        check.observe(record.offset_delta, record.timestamp_delta, record.key.is_some());
    }
    Ok(plain.len() as u64)
}

/// Walks the records inside the codec; gives the bytes they decompress to.
fn walk_compressed(
    codec: CompressionType,
    body: &[u8],
    limit: DecompressLimit,
    check: &mut RecordCheck<'_>,
) -> Result<u64, ValidationError> {
    let mut walker = StreamWalker::new(Decompressor::new(codec, body, limit)?);
    for _ in 0..check.header.records_count {
        let outline = walker.next_record()?;
        check.observe(outline.offset_delta, outline.timestamp_delta, outline.has_key);
    }
    walker.expect_end()?;
    Ok(walker.consumed())
}

/// Encodes the records anew, in the target's form.
fn rewrite(
    batch: &BatchRef<'_>,
    target: Compression,
    limit: DecompressLimit,
    policy: &ProducePolicy,
    now_ms: i64,
) -> Result<ValidatedRecords, ValidationError> {
    let header = *batch.header();
    let plain = batch.decompressed(limit)?;
    let mut check = RecordCheck::new(&header, policy, now_ms);
    let uncompressed_bytes = walk_plain(plain.bytes(), &mut check)?;
    check.finish()?;
    let mut builder = BatchBuilder::new(target)
        .producer(header.producer_id, header.producer_epoch, header.base_sequence)
        .transactional(header.is_transactional())
        .control(header.is_control());
    if policy.timestamp_type == TimestampType::LogAppendTime {
        builder = builder.log_append_time(now_ms);
    }
    for record in &plain {
        let record = record?;
        let timestamp = header.record_timestamp(record.timestamp_delta);
        let (key, value, headers) = (record.key, record.value, record.headers);
        builder.append_with(record.offset_delta, timestamp, key, value, headers)?;
    }
    let bytes = builder.build()?;
    check_size(bytes.len(), policy)?;
    let rewritten_header = BatchHeader::parse(&bytes)?;
    let mut validated = check.into_validated(bytes, uncompressed_bytes);
    validated.header = rewritten_header;
    validated.rewritten = true;
    Ok(validated)
}

#[cfg(test)]
mod tests;

//! What a broker changes in a batch, in place.
//!
//! Invariant: the CRC is right after each patch if it was before. It does not cover offset and leader
//! epoch; [`set_max_timestamp`] computes it anew, as Kafka's `DefaultRecordBatch.setMaxTimestamp` does.

use super::{
    batch::{
        ATTRIBUTES_POSITION, BASE_OFFSET_POSITION, BATCH_OVERHEAD, BatchRef, CRC_POSITION,
        KNOWN_ATTRIBUTES, MAX_TIMESTAMP_POSITION, PARTITION_LEADER_EPOCH_POSITION,
        TIMESTAMP_TYPE_FLAG, TimestampType, compute_crc,
    },
    error::RecordError,
};

fn header_mut(batch: &mut [u8]) -> Result<&mut [u8; BATCH_OVERHEAD], RecordError> {
    let available = batch.len();
    batch
        .first_chunk_mut::<BATCH_OVERHEAD>()
        .ok_or(RecordError::Truncated { needed: BATCH_OVERHEAD, available })
}

fn put<const N: usize>(raw: &mut [u8; BATCH_OVERHEAD], position: usize, value: [u8; N]) {
    raw[position..position + N].copy_from_slice(&value);
}

/// Gives the batch at the front of `batch` its first offset. The CRC does not cover it.
///
/// # Errors
/// `Truncated` below 61 bytes.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) -> Result<(), RecordError> {
    put(header_mut(batch)?, BASE_OFFSET_POSITION, base_offset.to_be_bytes());
    Ok(())
}

/// Stamps the leader epoch. The CRC does not cover it.
///
/// # Errors
/// `Truncated` below 61 bytes.
pub fn set_partition_leader_epoch(batch: &mut [u8], epoch: i32) -> Result<(), RecordError> {
    put(header_mut(batch)?, PARTITION_LEADER_EPOCH_POSITION, epoch.to_be_bytes());
    Ok(())
}

/// Makes the broker's append time the timestamp of every record: sets the timestamp-type bit and the
/// max timestamp and recomputes the CRC. The base timestamp and the deltas stay, as in Kafka.
///
/// # Errors
/// As [`set_max_timestamp`].
pub fn set_log_append_time(batch: &mut [u8], append_time_ms: i64) -> Result<(), RecordError> {
    set_max_timestamp(batch, TimestampType::LogAppendTime, append_time_ms)
}

/// Sets timestamp type and max timestamp (milliseconds) of the batch at the front of `batch` and
/// recomputes its CRC over the bytes of that batch; does nothing if both are so already.
///
/// # Errors
/// As [`BatchRef::parse`]: the whole batch must be there.
pub fn set_max_timestamp(
    batch: &mut [u8],
    timestamp_type: TimestampType,
    max_timestamp_ms: i64,
) -> Result<(), RecordError> {
    let header = *BatchRef::parse(batch)?.header();
    if header.timestamp_type() == timestamp_type && header.max_timestamp == max_timestamp_ms {
        return Ok(());
    }
    // Kafka rebuilds the attributes from the flags it knows.
    let known = header.attributes & KNOWN_ATTRIBUTES;
    let attributes = match timestamp_type {
        TimestampType::CreateTime => known & !TIMESTAMP_TYPE_FLAG,
        TimestampType::LogAppendTime => known | TIMESTAMP_TYPE_FLAG,
    };
    let raw = header_mut(batch)?;
    put(raw, ATTRIBUTES_POSITION, attributes.to_be_bytes());
    put(raw, MAX_TIMESTAMP_POSITION, max_timestamp_ms.to_be_bytes());
    let crc = compute_crc(batch.get(..header.total_len()).unwrap_or_default());
    put(header_mut(batch)?, CRC_POSITION, crc.to_be_bytes());
    Ok(())
}

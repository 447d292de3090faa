//! The batches that clients send: each record tells which batch and which place it belongs to.

use bytes::Bytes;
use common::rng::Rng;
use protocol::records::{ATTRIBUTES_POSITION, BatchBuilder, Compression, Header, RecordError};

use crate::model::{BatchId, Sequence};

/// The shape of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Records in it.
    pub records: i32,
    /// Bytes of each value behind its number.
    pub value_bytes: usize,
    /// How it is compressed.
    pub compression: Compression,
    /// `CreateTime` of its first record, Unix milliseconds.
    pub timestamp_ms: i64,
}

impl Shape {
    /// A shape with at most `value_bytes_max` per value.
    #[must_use]
    pub fn sample(rng: &Rng, timestamp_ms: i64, value_bytes_max: usize) -> Self {
        let compression = match rng.below(10) {
            0 => Compression::Gzip(-1),
            1 => Compression::Snappy,
            2 => Compression::Lz4(9),
            3 => Compression::Zstd(0),
            _ => Compression::None,
        };
        let records = 1 + rng.below(if rng.below(4) == 0 { 20 } else { 4 }) as i32;
        let value_bytes = rng.below(value_bytes_max as u64) as usize;
        Self { records, value_bytes, compression, timestamp_ms }
    }
}

/// The bytes of a batch.
///
/// # Errors
/// Where a codec refuses.
pub fn build(id: BatchId, shape: &Shape, sequence: Option<Sequence>) -> Result<Bytes, RecordError> {
    let mut builder = BatchBuilder::new(shape.compression);
    if let Some(sequence) = sequence {
        let Sequence { producer_id, producer_epoch, base_sequence } = sequence;
        builder = builder.producer(producer_id, producer_epoch, base_sequence);
    }
    for index in 0..shape.records {
        let value = value(id, index, shape.value_bytes);
        let key = id.to_be_bytes();
        let key = (index % 2 == 0).then_some(key.as_slice());
        let index_bytes = index.to_be_bytes();
        let header = Header { key: b"index", value: Some(&index_bytes) };
        let timestamp_ms = shape.timestamp_ms + i64::from(index);
        builder.append(index, timestamp_ms, key, Some(&value), &[header])?;
    }
    builder.build()
}

/// The batch with one bit of what its CRC covers turned over.
#[must_use]
pub fn damaged(batch: &Bytes, rng: &Rng) -> Bytes {
    let mut bytes = batch.to_vec();
    let covered = bytes.len().saturating_sub(ATTRIBUTES_POSITION) as u64;
    let at = ATTRIBUTES_POSITION + rng.below(covered) as usize;
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << rng.below(8);
    }
    bytes.into()
}

fn value(id: BatchId, index: i32, filler: usize) -> Vec<u8> {
    let mut value = id.to_be_bytes().to_vec();
    value.extend_from_slice(&index.to_be_bytes());
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(index.unsigned_abs());
    for _ in 0..filler {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Half of the bytes are equal, so that compression has something to do.
        value.push(if state & (1 << 40) == 0 { b'=' } else { state.to_be_bytes()[0] });
    }
    value
}

//! Snapshots of all partitions' producers and transactions, so that a start reads only the footers
//! behind the newest one instead of every object's (design D4).
//!
//! A snapshot is an object of its own under `producers/`; metadata points at the newest. It holds
//! what is durable, of every partition up to an end offset; what lies behind comes from object
//! footers and from the WAL. The format is specified in `docs/rfcs/0005-objects.md`; version 1,
//! which knows of no transactions, still reads.

mod decode;

use bytes::{BufMut, Bytes, BytesMut};
use common::PartitionKey;

pub(crate) use self::decode::decode;
use crate::{
    producer_state::{ActiveProducer, ProducerBatch, RestoredProducers},
    transactions::Ended,
};

/// The metadata pointer's name.
pub(crate) const POINTER: &str = "producer-snapshot";

const MAGIC: u32 = u32::from_le_bytes(*b"SHPS");
/// The version without transactions.
const VERSION_BATCHES: u16 = 1;
/// The version that this build writes.
const VERSION: u16 = 2;
/// Incompatible features that this build understands: none yet.
const INCOMPATIBLE_KNOWN: u32 = 0;
/// Stands for no open transaction.
const NO_TRANSACTION: i64 = -1;

/// One partition's producers up to an end offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionProducers {
    pub(crate) key: PartitionKey,
    pub(crate) restored: RestoredProducers,
}

/// The snapshot's bytes.
pub(crate) fn encode(partitions: &[PartitionProducers]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32_le(MAGIC);
    out.put_u16_le(VERSION);
    out.put_u32_le(0); // incompatible features
    out.put_u32_le(0); // compatible features
    out.put_u32_le(len_u32(partitions.len()));
    for PartitionProducers { key, restored } in partitions {
        out.put_slice(key.topic_id.0.as_bytes());
        out.put_i32_le(key.partition);
        out.put_i64_le(restored.end_offset);
        out.put_u32_le(len_u32(restored.producers.len()));
        for producer in &restored.producers {
            put_producer(&mut out, producer);
        }
        out.put_u32_le(len_u32(restored.ended.len()));
        for ended in &restored.ended {
            put_ended(&mut out, ended);
        }
    }
    let checksum = crc32c::crc32c(&out);
    out.put_u32_le(checksum);
    out.freeze()
}

fn put_producer(out: &mut BytesMut, producer: &ActiveProducer) {
    out.put_i64_le(producer.producer_id.0);
    out.put_i16_le(producer.producer_epoch);
    out.put_i32_le(producer.coordinator_epoch);
    out.put_i64_le(producer.last_timestamp);
    out.put_i64_le(producer.txn_first_offset.unwrap_or(NO_TRANSACTION));
    out.put_u8(u8::try_from(producer.batches.len()).unwrap_or(u8::MAX));
    for batch in &producer.batches {
        put_batch(out, batch);
    }
}

fn put_batch(out: &mut BytesMut, batch: &ProducerBatch) {
    out.put_i16_le(batch.producer_epoch);
    out.put_i32_le(batch.base_sequence);
    out.put_i32_le(batch.last_sequence);
    out.put_i64_le(batch.base_offset);
    out.put_i64_le(batch.last_offset);
    out.put_i64_le(batch.timestamp);
}

fn put_ended(out: &mut BytesMut, ended: &Ended) {
    out.put_i64_le(ended.producer_id.0);
    out.put_i64_le(ended.first_offset);
    out.put_i64_le(ended.last_offset);
    out.put_u8(u8::from(ended.aborted));
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;

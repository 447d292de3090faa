//! Reads producer snapshots, of this version and of those before.
//!
//! Invariant: no bytes make it panic, or allocate more than a small multiple of their length.

use bytes::Buf;
use common::{PartitionKey, ProducerId, TopicId, limits::PRODUCER_BATCHES_RETAINED};
use uuid::Uuid;

use super::{
    INCOMPATIBLE_KNOWN, MAGIC, NO_TRANSACTION, PartitionProducers, VERSION, VERSION_BATCHES,
};
use crate::{
    producer_state::{ActiveProducer, ProducerBatch, RestoredProducers},
    transactions::Ended,
};

const BATCH_BYTES: usize = 2 + 4 + 4 + 8 + 8 + 8;
const ENDED_BYTES: usize = 8 + 8 + 8 + 1;
const PARTITION_BYTES_MIN: usize = 16 + 4 + 8 + 4;
const PRODUCER_BYTES_MIN: usize = 8 + 1;
const HEAD_BYTES: usize = 2 + 4 + 8 + 8;

/// Why bytes are no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("truncated")]
    Truncated,
    #[error("checksum mismatch")]
    Checksum,
    #[error("not a producer snapshot")]
    Magic,
    #[error("snapshot version {0} needs a newer release")]
    Version(u16),
    #[error("snapshot features {0:#x} need a newer release")]
    Features(u32),
    #[error("{0} batches of one producer")]
    TooManyBatches(usize),
}

/// Reads a snapshot.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<PartitionProducers>, SnapshotError> {
    let Some((mut body, mut checksum)) = bytes.split_last_chunk::<4>().map(|(b, c)| (b, &c[..]))
    else {
        return Err(SnapshotError::Truncated);
    };
    if crc32c::crc32c(body) != checksum.get_u32_le() {
        return Err(SnapshotError::Checksum);
    }
    need(body, 6)?;
    if body.get_u32_le() != MAGIC {
        return Err(SnapshotError::Magic);
    }
    let version = body.get_u16_le();
    match version {
        VERSION_BATCHES => {}
        VERSION => {
            need(body, 8)?;
            let unknown = body.get_u32_le() & !INCOMPATIBLE_KNOWN;
            if unknown != 0 {
                return Err(SnapshotError::Features(unknown));
            }
            let _compatible = body.get_u32_le();
        }
        newer => return Err(SnapshotError::Version(newer)),
    }
    let count = take_count(&mut body, PARTITION_BYTES_MIN)?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        partitions.push(take_partition(&mut body, version)?);
    }
    Ok(partitions)
}

fn take_partition(body: &mut &[u8], version: u16) -> Result<PartitionProducers, SnapshotError> {
    need(body, PARTITION_BYTES_MIN)?;
    let mut topic_id = [0_u8; 16];
    body.copy_to_slice(&mut topic_id);
    let key = PartitionKey {
        topic_id: TopicId(Uuid::from_bytes(topic_id)),
        partition: body.get_i32_le(),
    };
    let end_offset = body.get_i64_le();
    let count = take_count(body, PRODUCER_BYTES_MIN)?;
    let mut producers = Vec::with_capacity(count);
    for _ in 0..count {
        producers.push(take_producer(body, version)?);
    }
    let mut ended = Vec::new();
    if version > VERSION_BATCHES {
        let count = take_count(body, ENDED_BYTES)?;
        need(body, count * ENDED_BYTES)?;
        ended.extend((0..count).map(|_| take_ended(body)));
    }
    let restored = RestoredProducers { end_offset, producers, ended };
    Ok(PartitionProducers { key, restored })
}

fn take_producer(body: &mut &[u8], version: u16) -> Result<ActiveProducer, SnapshotError> {
    need(body, PRODUCER_BYTES_MIN)?;
    let mut producer = ActiveProducer {
        producer_id: ProducerId(body.get_i64_le()),
        producer_epoch: -1,
        coordinator_epoch: -1,
        last_timestamp: -1,
        txn_first_offset: None,
        batches: Vec::new(),
    };
    if version > VERSION_BATCHES {
        need(body, HEAD_BYTES)?;
        producer.producer_epoch = body.get_i16_le();
        producer.coordinator_epoch = body.get_i32_le();
        producer.last_timestamp = body.get_i64_le();
        let first_offset = body.get_i64_le();
        producer.txn_first_offset = (first_offset != NO_TRANSACTION).then_some(first_offset);
    }
    need(body, 1)?;
    let count = usize::from(body.get_u8());
    if count > PRODUCER_BATCHES_RETAINED {
        return Err(SnapshotError::TooManyBatches(count));
    }
    need(body, count * BATCH_BYTES)?;
    producer.batches.extend((0..count).map(|_| take_batch(body)));
    if let (VERSION_BATCHES, Some(last)) = (version, producer.batches.last()) {
        producer.producer_epoch = last.producer_epoch;
        producer.last_timestamp = last.timestamp;
    }
    Ok(producer)
}

fn take_batch(body: &mut &[u8]) -> ProducerBatch {
    ProducerBatch {
        producer_epoch: body.get_i16_le(),
        base_sequence: body.get_i32_le(),
        last_sequence: body.get_i32_le(),
        base_offset: body.get_i64_le(),
        last_offset: body.get_i64_le(),
        timestamp: body.get_i64_le(),
    }
}

fn take_ended(body: &mut &[u8]) -> Ended {
    Ended {
        producer_id: ProducerId(body.get_i64_le()),
        first_offset: body.get_i64_le(),
        last_offset: body.get_i64_le(),
        aborted: body.get_u8() != 0,
    }
}

/// A count of what takes at least `bytes_min` bytes each: more than can follow is refused.
fn take_count(body: &mut &[u8], bytes_min: usize) -> Result<usize, SnapshotError> {
    need(body, 4)?;
    let count = body.get_u32_le() as usize;
    if count > body.len() / bytes_min { Err(SnapshotError::Truncated) } else { Ok(count) }
}

fn need(body: &[u8], bytes: usize) -> Result<(), SnapshotError> {
    if body.len() < bytes { Err(SnapshotError::Truncated) } else { Ok(()) }
}

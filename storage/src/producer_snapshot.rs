//! Snapshots of all partitions' producers, so that a start reads only the footers behind the
//! newest one instead of every object's (design D4).
//!
//! A snapshot is an object of its own under `producers/`; metadata points at the newest. It holds
//! durable batches only, per partition up to an end offset; what lies behind comes from object
//! footers and from the WAL. Format: little-endian, magic `SHPS`, version, partitions, CRC32C.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use common::{PartitionKey, ProducerId, TopicId, limits::PRODUCER_BATCHES_RETAINED};
use uuid::Uuid;

use crate::producer_state::{ActiveProducer, ProducerBatch};

/// The metadata pointer's name.
pub(crate) const POINTER: &str = "producer-snapshot";

const MAGIC: u32 = u32::from_le_bytes(*b"SHPS");
const VERSION: u16 = 1;
const BATCH_BYTES: usize = 2 + 4 + 4 + 8 + 8 + 8;
const PARTITION_BYTES_MIN: usize = 16 + 4 + 8 + 4;
const PRODUCER_BYTES_MIN: usize = 8 + 1;

/// One partition's producers up to an end offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionProducers {
    pub(crate) key: PartitionKey,
    pub(crate) end_offset: i64,
    pub(crate) producers: Vec<ActiveProducer>,
}

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
    #[error("{0} batches of one producer")]
    TooManyBatches(usize),
}

pub(crate) fn encode(partitions: &[PartitionProducers]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32_le(MAGIC);
    out.put_u16_le(VERSION);
    out.put_u32_le(len_u32(partitions.len()));
    for partition in partitions {
        out.put_slice(partition.key.topic_id.0.as_bytes());
        out.put_i32_le(partition.key.partition);
        out.put_i64_le(partition.end_offset);
        out.put_u32_le(len_u32(partition.producers.len()));
        for producer in &partition.producers {
            out.put_i64_le(producer.producer_id.0);
            out.put_u8(u8::try_from(producer.batches.len()).unwrap_or(u8::MAX));
            for batch in &producer.batches {
                put_batch(&mut out, batch);
            }
        }
    }
    let checksum = crc32c::crc32c(&out);
    out.put_u32_le(checksum);
    out.freeze()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<PartitionProducers>, SnapshotError> {
    let Some((mut body, mut checksum)) = bytes.split_last_chunk::<4>().map(|(b, c)| (b, &c[..]))
    else {
        return Err(SnapshotError::Truncated);
    };
    if crc32c::crc32c(body) != checksum.get_u32_le() {
        return Err(SnapshotError::Checksum);
    }
    need(body, 10)?;
    if body.get_u32_le() != MAGIC {
        return Err(SnapshotError::Magic);
    }
    let version = body.get_u16_le();
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let count = body.get_u32_le() as usize;
    let mut partitions = Vec::with_capacity(count.min(body.len() / PARTITION_BYTES_MIN));
    for _ in 0..count {
        partitions.push(take_partition(&mut body)?);
    }
    Ok(partitions)
}

fn take_partition(body: &mut &[u8]) -> Result<PartitionProducers, SnapshotError> {
    need(body, PARTITION_BYTES_MIN)?;
    let mut topic_id = [0_u8; 16];
    body.copy_to_slice(&mut topic_id);
    let key = PartitionKey {
        topic_id: TopicId(Uuid::from_bytes(topic_id)),
        partition: body.get_i32_le(),
    };
    let end_offset = body.get_i64_le();
    let count = body.get_u32_le() as usize;
    let mut producers = Vec::with_capacity(count.min(body.len() / PRODUCER_BYTES_MIN));
    for _ in 0..count {
        need(body, PRODUCER_BYTES_MIN)?;
        let producer_id = ProducerId(body.get_i64_le());
        let batches = usize::from(body.get_u8());
        if batches > PRODUCER_BATCHES_RETAINED {
            return Err(SnapshotError::TooManyBatches(batches));
        }
        need(body, batches * BATCH_BYTES)?;
        let batches = (0..batches).map(|_| take_batch(body)).collect();
        producers.push(ActiveProducer { producer_id, batches });
    }
    Ok(PartitionProducers { key, end_offset, producers })
}

fn put_batch(out: &mut BytesMut, batch: &ProducerBatch) {
    out.put_i16_le(batch.producer_epoch);
    out.put_i32_le(batch.base_sequence);
    out.put_i32_le(batch.last_sequence);
    out.put_i64_le(batch.base_offset);
    out.put_i64_le(batch.last_offset);
    out.put_i64_le(batch.timestamp);
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

fn need(body: &[u8], bytes: usize) -> Result<(), SnapshotError> {
    if body.len() < bytes { Err(SnapshotError::Truncated) } else { Ok(()) }
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<PartitionProducers> {
        let batch = |n: i32| ProducerBatch {
            producer_epoch: 3,
            base_sequence: n,
            last_sequence: n + 1,
            base_offset: 10 + i64::from(n),
            last_offset: 11 + i64::from(n),
            timestamp: 1_700_000_000_000,
        };
        let key = |n| PartitionKey { topic_id: TopicId(Uuid::from_u128(7)), partition: n };
        let producers = vec![
            ActiveProducer { producer_id: ProducerId(1), batches: (0..5).map(batch).collect() },
            ActiveProducer { producer_id: ProducerId(9), batches: vec![batch(4)] },
        ];
        vec![
            PartitionProducers { key: key(0), end_offset: 99, producers },
            PartitionProducers { key: key(1), end_offset: 0, producers: Vec::new() },
        ]
    }

    #[test]
    fn decodes_what_was_encoded() {
        assert_eq!(decode(&encode(&sample())), Ok(sample()));
    }

    #[test]
    fn reads_the_golden_file_of_version_1() {
        let golden = include_bytes!("../testdata/producers-v1.snap");
        assert_eq!(decode(golden), Ok(sample()));
        assert_eq!(encode(&sample()), &golden[..]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encode(&sample());
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), Err(SnapshotError::Checksum), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
            if magic && bytes.len() > 10 {
                bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
                bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
            }
            let checksum = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            let _ = decode(&bytes);
        }
    }
}

//! Record batches made before the clock starts.
//!
//! Values look like what is sent in practice: JSON that compresses about as well as event streams
//! do. Several batches are made and sent in turn, so that neither a cache nor a codec sees the same
//! bytes all the time.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use protocol::Records;
use protocol::records::{
    ATTRIBUTES_POSITION, BASE_SEQUENCE_POSITION, BATCH_OVERHEAD, BatchBuilder, CRC_POSITION,
    Compression, CompressionType, PRODUCER_EPOCH_POSITION, PRODUCER_ID_POSITION,
};

/// How many different batches are made.
const VARIANTS: usize = 16;

/// One prepared batch.
#[derive(Debug, Clone)]
pub struct Prepared {
    bytes: Bytes,
    /// Records in it.
    pub records: u64,
    /// Bytes of their values before compression.
    pub value_bytes: u64,
}

/// The identity and progress of an idempotent producer on one partition.
#[derive(Debug, Clone, Copy)]
pub struct Sequence {
    /// From InitProducerId.
    pub producer_id: i64,
    /// From InitProducerId.
    pub producer_epoch: i16,
    /// Sequence number of the next record.
    pub next: i32,
}

impl Prepared {
    /// Bytes on the wire.
    pub fn wire_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// As it was built, from no particular producer.
    pub fn records(&self) -> Records {
        let mut records = Records::new();
        records.push(self.bytes.clone());
        records
    }

    /// As the next batch of an idempotent producer: a header of its own in front of the shared
    /// body.
    pub fn records_of(&self, sequence: &mut Sequence) -> Records {
        let mut head = BytesMut::from(&self.bytes[..BATCH_OVERHEAD]);
        head[PRODUCER_ID_POSITION..][..8].copy_from_slice(&sequence.producer_id.to_be_bytes());
        head[PRODUCER_EPOCH_POSITION..][..2]
            .copy_from_slice(&sequence.producer_epoch.to_be_bytes());
        head[BASE_SEQUENCE_POSITION..][..4].copy_from_slice(&sequence.next.to_be_bytes());
        let body = self.bytes.slice(BATCH_OVERHEAD..);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head[ATTRIBUTES_POSITION..]), &body);
        head[CRC_POSITION..][..4].copy_from_slice(&crc.to_be_bytes());
        // Sequence numbers wrap to 0, as in Kafka.
        sequence.next = sequence.next.wrapping_add(self.records as i32) & i32::MAX;
        let mut records = Records::new();
        records.push(head.freeze());
        records.push(body);
        records
    }
}

/// Batches of records of `record_bytes` each, filled up to `batch_bytes` before compression.
pub fn prepare(record_bytes: usize, batch_bytes: usize, codec: &str) -> Result<Vec<Prepared>> {
    let compression = compression(codec)?;
    let mut seed = 0x5EED_u64;
    (0..VARIANTS).map(|_| batch(record_bytes, batch_bytes, compression, &mut seed)).collect()
}

fn batch(
    record_bytes: usize,
    batch_bytes: usize,
    compression: Compression,
    seed: &mut u64,
) -> Result<Prepared> {
    let mut builder = BatchBuilder::new(compression);
    let now = now_ms()?;
    let mut records = 0;
    // Room for the record's own lengths and deltas.
    while records == 0 || builder.size_bytes() + record_bytes + 16 <= batch_bytes {
        builder.append(records, now, None, Some(&json(record_bytes, seed)), &[])?;
        records += 1;
    }
    Ok(Prepared {
        bytes: builder.build()?,
        records: records as u64,
        value_bytes: records as u64 * record_bytes as u64,
    })
}

/// `bytes` bytes of JSON that differ with `seed`.
pub fn json(bytes: usize, seed: &mut u64) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "created", "paid", "shipped", "returned", "alpha", "bravo", "charlie", "delta", "echo",
        "foxtrot", "golf", "hotel",
    ];
    let mut out = Vec::with_capacity(bytes + 64);
    out.push(b'{');
    while out.len() < bytes {
        let (a, b) = (next_random(seed), next_random(seed));
        let word = WORDS[(a % 12) as usize];
        let part = format!(
            "\"{word}\":{{\"id\":{},\"amount\":{}.{:02}}},",
            b % 100_000_000,
            a % 997,
            b % 100
        );
        out.extend_from_slice(part.as_bytes());
    }
    out.truncate(bytes);
    if let Some(last) = out.last_mut() {
        *last = b'}';
    }
    out
}

/// Xorshift: repeatable from run to run.
pub(crate) fn next_random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn compression(name: &str) -> Result<Compression> {
    let codec = match name {
        "none" => CompressionType::None,
        "gzip" => CompressionType::Gzip,
        "snappy" => CompressionType::Snappy,
        "lz4" => CompressionType::Lz4,
        "zstd" => CompressionType::Zstd,
        other => bail!("unknown codec {other}"),
    };
    Ok(Compression::with_default_level(codec))
}

/// Now, as record timestamps have it.
pub(crate) fn now_ms() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
    Ok(i64::try_from(since.as_millis())?)
}

#[cfg(test)]
mod tests {
    use protocol::records::BatchRef;

    use super::*;

    #[test]
    fn batches_are_filled_but_not_beyond_the_limit() {
        for (record, batch) in [(100, 16_384), (1024, 16_384), (1024, 131_072), (50_000, 16_384)] {
            for prepared in prepare(record, batch, "none").unwrap() {
                let limit = batch.max(record + 100) as u64;
                assert!(prepared.wire_bytes() <= limit, "{}", prepared.wire_bytes());
                assert!(prepared.wire_bytes() + record as u64 + 32 > batch as u64);
                assert_eq!(prepared.value_bytes, prepared.records * record as u64);
            }
        }
    }

    #[test]
    fn an_idempotent_batch_has_its_sequence_and_a_right_checksum() {
        for codec in ["none", "lz4"] {
            let prepared = &prepare(100, 4096, codec).unwrap()[0];
            let mut sequence = Sequence { producer_id: 7, producer_epoch: 3, next: 10 };
            let bytes = prepared.records_of(&mut sequence).to_bytes();
            let batch = BatchRef::parse(&bytes).unwrap();
            batch.verify_crc().unwrap();
            let header = batch.header();
            assert_eq!((header.producer_id, header.producer_epoch), (7, 3));
            assert_eq!(header.base_sequence, 10);
            assert_eq!(sequence.next, 10 + prepared.records as i32);
        }
    }

    #[test]
    fn lz4_makes_the_values_smaller_but_not_tiny() {
        let prepared = &prepare(1024, 131_072, "lz4").unwrap()[0];
        let share = prepared.wire_bytes() as f64 / prepared.value_bytes as f64;
        assert!((0.15..0.75).contains(&share), "{share}");
    }
}

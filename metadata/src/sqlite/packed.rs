//! The extents of an L0 object in one compact blob: about 17 bytes each.
//!
//! ```text
//!   version u8 = 1 | uvarint count of runs | run … | crc32c of all before, u32 little endian
//!   run    = topic id, 16 bytes | uvarint count of extents | extent …
//!   extent = svarint partition ∆ | svarint leader epoch | svarint base offset
//!          | uvarint end − base | uvarint bytes | svarint first position ∆
//!          | svarint min timestamp ∆ | svarint max − min timestamp
//! ```
//! ∆ is the difference to the extent before it in the run (0 before the first). `uvarint` is
//! LEB128, `svarint` is that of the zigzag form; differences wrap. Golden file:
//! `testdata/extents.v1.bin`; see `docs/rfcs/0004-metadata.md`.

use common::{PartitionKey, TopicId};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    model::Extent,
};

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// Packs extents in their order.
pub(crate) fn encode(extents: &[Extent]) -> Vec<u8> {
    let runs: Vec<_> = extents.chunk_by(|a, b| a.key.topic_id == b.key.topic_id).collect();
    let mut out = Vec::with_capacity(24 + extents.len() * 20);
    out.push(VERSION);
    put_unsigned(&mut out, runs.len() as u64);
    for run in runs {
        out.extend_from_slice(run[0].key.topic_id.0.as_bytes());
        put_unsigned(&mut out, run.len() as u64);
        let mut previous = Previous::default();
        for extent in run {
            put_extent(&mut out, extent, &previous);
            previous = Previous::of(extent);
        }
    }
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Unpacks extents.
///
/// # Errors
/// [`Error::NewerFormat`] for an unknown version, [`Error::Corrupt`] for anything that
/// [`encode`] does not write.
pub(crate) fn decode(blob: &[u8]) -> Result<Vec<Extent>> {
    let corrupt = |what: &str| Error::Corrupt(format!("packed extents: {what}"));
    let (body, checksum) =
        blob.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| corrupt("too short"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(corrupt("wrong checksum"));
    }
    let (&version, body) = body.split_first().ok_or_else(|| corrupt("empty"))?;
    if version != VERSION {
        return Err(Error::NewerFormat {
            found: format!("packed extents version {version}"),
            supported: VERSION.to_string(),
        });
    }
    read_runs(body).ok_or_else(|| corrupt("malformed"))
}

fn put_extent(out: &mut Vec<u8>, extent: &Extent, previous: &Previous) {
    put_signed(out, i64::from(extent.key.partition) - i64::from(previous.partition));
    put_signed(out, i64::from(extent.leader_epoch));
    put_signed(out, extent.base_offset);
    put_unsigned(out, extent.end_offset.wrapping_sub(extent.base_offset).cast_unsigned());
    put_unsigned(out, extent.bytes);
    put_signed(out, extent.first_position.wrapping_sub(previous.first_position).cast_signed());
    put_signed(out, extent.min_timestamp.wrapping_sub(previous.min_timestamp));
    put_signed(out, extent.max_timestamp.wrapping_sub(extent.min_timestamp));
}

fn read_runs(mut body: &[u8]) -> Option<Vec<Extent>> {
    let mut extents = Vec::new();
    for _ in 0..unsigned(&mut body)? {
        let (topic_id, rest) = body.split_first_chunk::<16>()?;
        body = rest;
        let topic_id = TopicId(Uuid::from_bytes(*topic_id));
        let mut previous = Previous::default();
        for _ in 0..unsigned(&mut body)? {
            let extent = read_extent(&mut body, topic_id, &previous)?;
            previous = Previous::of(&extent);
            extents.push(extent);
        }
    }
    body.is_empty().then_some(extents)
}

fn read_extent(body: &mut &[u8], topic_id: TopicId, previous: &Previous) -> Option<Extent> {
    let partition = i64::from(previous.partition).checked_add(signed(body)?)?;
    let leader_epoch = i32::try_from(signed(body)?).ok()?;
    let base_offset = signed(body)?;
    let end_offset = base_offset.wrapping_add(unsigned(body)?.cast_signed());
    let bytes = unsigned(body)?;
    let first_position = previous.first_position.wrapping_add(signed(body)?.cast_unsigned());
    let min_timestamp = previous.min_timestamp.wrapping_add(signed(body)?);
    let max_timestamp = min_timestamp.wrapping_add(signed(body)?);
    let key = PartitionKey { topic_id, partition: i32::try_from(partition).ok()? };
    Some(Extent {
        key,
        leader_epoch,
        base_offset,
        end_offset,
        bytes,
        first_position,
        min_timestamp,
        max_timestamp,
    })
}

/// What the differences of an extent are taken from.
#[derive(Default)]
struct Previous {
    partition: i32,
    first_position: u64,
    min_timestamp: i64,
}

impl Previous {
    fn of(extent: &Extent) -> Self {
        Self {
            partition: extent.key.partition,
            first_position: extent.first_position,
            min_timestamp: extent.min_timestamp,
        }
    }
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn unsigned(body: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = body.split_first()?;
        *body = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn signed(body: &mut &[u8]) -> Option<i64> {
    let value = unsigned(body)?;
    Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../testdata/extents.v1.bin");

    fn golden_extents() -> Vec<Extent> {
        let extent = |topic: u128, partition, base_offset, position: u64| Extent {
            key: PartitionKey { topic_id: TopicId(Uuid::from_u128(topic)), partition },
            leader_epoch: 3,
            base_offset,
            end_offset: base_offset + 500,
            bytes: 65_536,
            first_position: position,
            min_timestamp: 1_767_225_600_000 + base_offset,
            max_timestamp: 1_767_225_600_250 + base_offset,
        };
        vec![
            extent(7, 0, 0, 4_096),
            extent(7, 1, 1_000_000, 69_632),
            extent(7, 11, 5_000_000_000, 135_168),
            Extent { min_timestamp: -1, max_timestamp: -1, ..extent(9, 2, 12, 200_704) },
        ]
    }

    #[test]
    fn version_1_is_read_and_written_as_it_always_was() {
        assert_eq!(decode(GOLDEN).unwrap(), golden_extents());
        assert_eq!(encode(&golden_extents()), GOLDEN);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        for length in 0..GOLDEN.len() {
            assert!(decode(&GOLDEN[..length]).is_err(), "{length} bytes");
        }
        for bit in 0..GOLDEN.len() * 8 {
            let mut damaged = GOLDEN.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_as_newer() {
        let mut blob = GOLDEN[..GOLDEN.len() - CHECKSUM_BYTES].to_vec();
        blob[0] = 2;
        blob.extend_from_slice(&crc32c::crc32c(&blob).to_le_bytes());
        assert!(matches!(decode(&blob), Err(Error::NewerFormat { .. })));
    }

    prop_compose! {
        fn any_extent()(
            topic in 0_u128..3,
            partition: i32,
            leader_epoch: i32,
            offsets: (i64, i64),
            bytes: u64,
            first_position: u64,
            timestamps: (i64, i64),
        ) -> Extent {
            Extent {
                key: PartitionKey { topic_id: TopicId(Uuid::from_u128(topic)), partition },
                leader_epoch,
                base_offset: offsets.0,
                end_offset: offsets.1,
                bytes,
                first_position,
                min_timestamp: timestamps.0,
                max_timestamp: timestamps.1,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(extents in prop::collection::vec(any_extent(), 0..20)) {
            prop_assert_eq!(decode(&encode(&extents)).unwrap(), extents);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_but_never_panic(mut bytes: Vec<u8>) {
            let _ = decode(&bytes);
            bytes.insert(0, VERSION);
            bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
            let _ = decode(&bytes);
        }
    }
}

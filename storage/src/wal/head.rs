//! The head of a WAL file: its first 4 KiB sector, written and synced before the file has its name.
//!
//! Invariant: a CRC32C covers the whole sector, so a head is whole or refused. Format:
//! `docs/rfcs/0003-wal.md`.

use bytes::Bytes;
use common::limits::WAL_BLOCK_ALIGN;

/// Bytes of the head; the first block starts after it.
pub const HEAD_BYTES: u64 = WAL_BLOCK_ALIGN;

/// Version of the file format.
pub const FILE_VERSION: u16 = 1;

const FILE_MAGIC: [u8; 8] = *b"SHwal\r\n\x1a";
const CRC_POSITION: usize = HEAD_BYTES as usize - 4;
const INCOMPATIBLE_KNOWN: u32 = 0;

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHead {
    /// Features that an older reader may ignore.
    pub compatible: u32,
    /// Features that a reader must know.
    pub incompatible: u32,
    /// The file's number.
    pub file_id: u64,
    /// A random number that each of its blocks repeats.
    pub nonce: u64,
    /// When it was prepared, Unix milliseconds.
    pub created_ms: i64,
    /// Bytes that it was prepared with; a shorter file was sealed.
    pub capacity: u64,
}

/// Why bytes are not a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Too short, no magic, or a checksum that does not match.
    #[error("no file head: {0}")]
    Invalid(&'static str),
    /// A newer version, or a feature that this version does not know.
    #[error("version {version}, incompatible features {features:#x}")]
    Unsupported {
        /// Its version.
        version: u16,
        /// Its incompatible features.
        features: u32,
    },
}

impl FileHead {
    /// A head without features.
    #[must_use]
    pub fn new(file_id: u64, nonce: u64, created_ms: i64, capacity: u64) -> Self {
        Self { compatible: 0, incompatible: 0, file_id, nonce, created_ms, capacity }
    }

    /// The sector's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![0; HEAD_BYTES as usize];
        out[0..8].copy_from_slice(&FILE_MAGIC);
        out[8..10].copy_from_slice(&FILE_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.compatible.to_le_bytes());
        out[16..20].copy_from_slice(&self.incompatible.to_le_bytes());
        out[24..32].copy_from_slice(&self.file_id.to_le_bytes());
        out[32..40].copy_from_slice(&self.nonce.to_le_bytes());
        out[40..48].copy_from_slice(&self.created_ms.to_le_bytes());
        out[48..56].copy_from_slice(&self.capacity.to_le_bytes());
        let crc = crc32c::crc32c(&out[..CRC_POSITION]);
        out[CRC_POSITION..].copy_from_slice(&crc.to_le_bytes());
        out.into()
    }

    /// Reads a head.
    ///
    /// # Errors
    /// `Invalid`, `Unsupported`.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let raw = bytes
            .first_chunk::<{ HEAD_BYTES as usize }>()
            .ok_or(HeadError::Invalid("cut short"))?;
        if raw[0..8] != FILE_MAGIC {
            return Err(HeadError::Invalid("wrong magic"));
        }
        if field::<4>(raw, CRC_POSITION) != crc32c::crc32c(&raw[..CRC_POSITION]).to_le_bytes() {
            return Err(HeadError::Invalid("checksum mismatch"));
        }
        let version = u16::from_le_bytes(field(raw, 8));
        let incompatible = u32::from_le_bytes(field(raw, 16));
        if version != FILE_VERSION || incompatible & !INCOMPATIBLE_KNOWN != 0 {
            return Err(HeadError::Unsupported { version, features: incompatible });
        }
        Ok(Self {
            compatible: u32::from_le_bytes(field(raw, 12)),
            incompatible,
            file_id: u64::from_le_bytes(field(raw, 24)),
            nonce: u64::from_le_bytes(field(raw, 32)),
            created_ms: i64::from_le_bytes(field(raw, 40)),
            capacity: u64::from_le_bytes(field(raw, 48)),
        })
    }
}

fn field<const N: usize>(raw: &[u8; HEAD_BYTES as usize], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&raw[at..at + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_any_flipped_bit_is_refused() {
        let head = FileHead::new(7, 0x1234_5678_9abc_def0, 1_700_000_000_000, 64 << 20);
        let bytes = head.encode();
        assert_eq!(FileHead::decode(&bytes), Ok(head));
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << (at % 8);
            assert!(FileHead::decode(&changed).is_err(), "byte {at}");
        }
        assert!(FileHead::decode(&bytes[..4095]).is_err());
    }

    #[test]
    fn an_unknown_incompatible_feature_is_refused_and_a_compatible_one_is_not() {
        let mut head = FileHead::new(1, 2, 3, 4);
        head.compatible = 8;
        assert_eq!(FileHead::decode(&head.encode()), Ok(head));
        head.incompatible = 1;
        let refused = HeadError::Unsupported { version: 1, features: 1 };
        assert_eq!(FileHead::decode(&head.encode()), Err(refused));
    }
}

//! The block: what one group commit wrote. Header, directory, payload, zero padding to 4 KiB.
//!
//! Invariants: a header or directory is accepted only if its CRC32C and every claim in it agree
//! with what is there; decoding allocates no more than the bytes in hand can justify. Format:
//! `docs/rfcs/0003-wal.md`.

mod directory;

use common::limits::WAL_BLOCK_ALIGN;

pub use self::directory::{BatchEntry, Directory, RunEntry};

/// Bytes of a block header.
pub const BLOCK_HEADER_BYTES: usize = 64;

/// A block of only a header: what a marker takes, bytes.
pub const MARKER_BYTES: u64 = WAL_BLOCK_ALIGN;

/// Version of the block format.
pub const BLOCK_VERSION: u8 = 1;

const BLOCK_MAGIC: [u8; 4] = *b"SHbk";
const FLAG_COMMIT: u8 = 1;
const FLAG_SEAL: u8 = 2;
const FLAG_COPY: u8 = 4;

/// Why bytes are not a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The bytes end first.
    #[error("block is cut short: {needed} bytes needed, {available} there")]
    Truncated {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        available: u64,
    },
    /// The bytes end here, between blocks.
    #[error("no more blocks")]
    End,
    /// No block starts here.
    #[error("no block header: wrong magic")]
    Magic,
    /// A newer version, or flags that this version does not know.
    #[error("unknown block version {version} or flags {flags:#x}")]
    Unsupported {
        /// The version byte.
        version: u8,
        /// The flags byte.
        flags: u8,
    },
    /// A checksum does not match.
    #[error("{part} has CRC32C {computed:#010x}, {stored:#010x} is stored")]
    Crc {
        /// What the checksum covers.
        part: &'static str,
        /// The checksum in the block.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The block belongs to another file or position.
    #[error("block of another file or position")]
    Misplaced,
    /// The block is whole but not the one that should follow.
    #[error("block {found} where {expected} should be")]
    Sequence {
        /// The number that should be there.
        expected: u64,
        /// The number that is there.
        found: u64,
    },
    /// The directory contradicts itself, the header or the payload.
    #[error("directory: {0}")]
    Directory(&'static str),
    /// A batch is not what the directory says.
    #[error("batch at offset {base_offset} of {key}: {reason}")]
    Batch {
        /// The partition.
        key: common::PartitionKey,
        /// The batch's base offset in the directory.
        base_offset: i64,
        /// What differs.
        reason: String,
    },
}

/// The 64 bytes in front of each block. Integers are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// A marker that closes a commit: all before it was synced when it was written.
    pub commit: bool,
    /// The last block of its file. Implies `commit`.
    pub seal: bool,
    /// The file's nonce.
    pub nonce: u64,
    /// The block's number: one more than the block before, across files.
    pub sequence: u64,
    /// The last block that was synced when this one was written; 0 for none.
    pub synced_through: u64,
    /// The block's position in its WAL file.
    pub position: u64,
    /// Bytes of the directory.
    pub directory_len: u32,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// CRC32C of the directory.
    pub directory_crc: u32,
    /// Set in a copy that recovery made of the block at that position, while it writes that one
    /// again. A copy is never part of the log.
    pub copy_of: Option<u64>,
}

impl BlockHeader {
    /// A marker block: no directory, no payload.
    #[must_use]
    pub fn marker(nonce: u64, sequence: u64, position: u64, seal: bool) -> Self {
        Self {
            commit: true,
            seal,
            nonce,
            sequence,
            synced_through: sequence.saturating_sub(1),
            position,
            directory_len: 0,
            payload_len: 0,
            directory_crc: crc32c::crc32c(&[]),
            copy_of: None,
        }
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut out = [0; BLOCK_HEADER_BYTES];
        let flags = u8::from(self.commit) * FLAG_COMMIT
            + u8::from(self.seal) * FLAG_SEAL
            + u8::from(self.copy_of.is_some()) * FLAG_COPY;
        out[0..4].copy_from_slice(&BLOCK_MAGIC);
        out[4] = BLOCK_VERSION;
        out[5] = flags;
        out[8..16].copy_from_slice(&self.nonce.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.synced_through.to_le_bytes());
        out[32..40].copy_from_slice(&self.position.to_le_bytes());
        out[40..44].copy_from_slice(&self.directory_len.to_le_bytes());
        out[44..48].copy_from_slice(&self.payload_len.to_le_bytes());
        out[48..52].copy_from_slice(&self.directory_crc.to_le_bytes());
        out[52..60].copy_from_slice(&self.copy_of.unwrap_or(0).to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header at the front of `bytes`.
    ///
    /// # Errors
    /// Whatever is wrong with it; `Magic` where there is none at all.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let Some(raw) = bytes.first_chunk::<BLOCK_HEADER_BYTES>() else {
            let (needed, available) = (BLOCK_HEADER_BYTES as u64, bytes.len() as u64);
            return Err(BlockError::Truncated { needed, available });
        };
        if raw[0..4] != BLOCK_MAGIC {
            return Err(BlockError::Magic);
        }
        let (stored, computed) = (le32(raw, 60), crc32c::crc32c(&raw[..60]));
        if stored != computed {
            return Err(BlockError::Crc { part: "block header", stored, computed });
        }
        let (version, flags) = (raw[4], raw[5]);
        if version != BLOCK_VERSION || flags & !(FLAG_COMMIT | FLAG_SEAL | FLAG_COPY) != 0 {
            return Err(BlockError::Unsupported { version, flags });
        }
        Ok(Self {
            commit: flags & FLAG_COMMIT != 0,
            seal: flags & FLAG_SEAL != 0,
            nonce: le64(raw, 8),
            sequence: le64(raw, 16),
            synced_through: le64(raw, 24),
            position: le64(raw, 32),
            directory_len: le32(raw, 40),
            payload_len: le32(raw, 44),
            directory_crc: le32(raw, 48),
            copy_of: (flags & FLAG_COPY != 0).then(|| le64(raw, 52)),
        })
    }

    /// Whether the block says that it belongs to this file and place, and is no copy.
    #[must_use]
    pub fn is_at(&self, nonce: u64, position: u64) -> bool {
        self.nonce == nonce && self.position == position && self.copy_of.is_none()
    }

    /// Bytes before the payload.
    #[must_use]
    pub fn payload_start(&self) -> u64 {
        BLOCK_HEADER_BYTES as u64 + u64::from(self.directory_len)
    }

    /// Bytes up to the padding.
    #[must_use]
    pub fn content_len(&self) -> u64 {
        self.payload_start() + u64::from(self.payload_len)
    }

    /// Bytes with padding, a multiple of 4 KiB.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.content_len().next_multiple_of(WAL_BLOCK_ALIGN)
    }

    /// Position after the block.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.total_len())
    }
}

fn le32(raw: &[u8; BLOCK_HEADER_BYTES], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&raw[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn le64(raw: &[u8; BLOCK_HEADER_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&raw[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_header() -> impl Strategy<Value = BlockHeader> {
        (any::<(bool, bool, u64, u64, u64)>(), any::<(u64, u32, u32, u32)>()).prop_map(
            |((commit, seal, nonce, sequence, synced_through), rest)| BlockHeader {
                commit,
                seal,
                nonce,
                sequence,
                synced_through,
                position: rest.0,
                directory_len: rest.1,
                payload_len: rest.2,
                directory_crc: rest.3,
                copy_of: seal.then_some(nonce),
            },
        )
    }

    proptest! {
        #[test]
        fn a_header_reads_back(header in any_header()) {
            prop_assert_eq!(BlockHeader::decode(&header.encode()), Ok(header));
            prop_assert_eq!(header.total_len() % WAL_BLOCK_ALIGN, 0);
        }

        #[test]
        fn a_header_with_any_changed_byte_is_refused(
            header in any_header(), at in 0..BLOCK_HEADER_BYTES, flip in 1_u8..,
        ) {
            let mut bytes = header.encode();
            bytes[at] ^= flip;
            prop_assert!(BlockHeader::decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic_as_a_header(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = BlockHeader::decode(&bytes);
        }
    }

    #[test]
    fn a_marker_takes_one_sector() {
        let marker = BlockHeader::marker(1, 2, 4096, true);
        assert_eq!((marker.total_len(), marker.synced_through), (MARKER_BYTES, 1));
    }
}

//! The block: what one group commit wrote. Header, directory, payload, zero padding to 4 KiB.
//!
//! Invariants: a header or directory is accepted only if its CRC32C and every claim in it agree
//! with what is there; decoding allocates no more than the bytes in hand can justify. Format:
//! `docs/rfcs/0003-wal.md`.

/// Bytes of a block header.
pub const BLOCK_HEADER_BYTES: usize = 64;

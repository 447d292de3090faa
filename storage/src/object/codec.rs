//! The primitives of the object footer: little-endian integers, LEB128 varints, and a reader that
//! never allocates what a count merely claims.
//!
//! Invariant: no function here panics on any input.

use super::error::FormatError;

/// Appends primitives to a byte vector.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.raw(&value.to_le_bytes());
    }

    /// Unsigned LEB128, at most ten bytes.
    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Zigzag LEB128.
    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A section of known length: `u32` length, then what `body` wrote.
    pub(super) fn section(&mut self, body: &Self) {
        self.u32(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
        self.raw(&body.bytes);
    }
}

/// Reads primitives off the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(FormatError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(FormatError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, FormatError> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn uvarint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(FormatError::Invalid("varint overflows 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FormatError::Invalid("varint longer than ten bytes"))
    }

    pub(super) fn varint(&mut self) -> Result<i64, FormatError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A count of items of at least `item_bytes_min` bytes each: more than can follow is refused.
    pub(super) fn count(&mut self, item_bytes_min: usize) -> Result<usize, FormatError> {
        let count = usize::try_from(self.uvarint()?).map_err(|_| FormatError::Truncated)?;
        if count > self.remaining() / item_bytes_min.max(1) {
            return Err(FormatError::Truncated);
        }
        Ok(count)
    }

    /// The bytes of a section written by [`Writer::section`].
    pub(super) fn section(&mut self) -> Result<Self, FormatError> {
        let len = usize::try_from(self.u32()?).map_err(|_| FormatError::Truncated)?;
        Ok(Reader { rest: self.take(len)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip(unsigned in any::<u64>(), signed in any::<i64>()) {
            let mut writer = Writer::new();
            writer.uvarint(unsigned);
            writer.varint(signed);
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.uvarint(), Ok(unsigned));
            prop_assert_eq!(reader.varint(), Ok(signed));
            prop_assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn a_count_larger_than_what_follows_is_refused() {
        let mut writer = Writer::new();
        writer.uvarint(1 << 40);
        let bytes = writer.into_bytes();
        assert_eq!(Reader::new(&bytes).count(1), Err(FormatError::Truncated));
    }

    #[test]
    fn an_overlong_varint_is_refused() {
        assert!(Reader::new(&[0xff; 12]).uvarint().is_err());
    }
}

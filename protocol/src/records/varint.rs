//! The zigzag varints of magic-2 records (KIP-98; the encoding is Protocol Buffers' `sint32/sint64`).
//!
//! Decoding is bounded: at most 5 bytes for a 32-bit and 10 for a 64-bit number, and bits that do not
//! fit are refused rather than dropped, so every stored number means the same to every client.

/// Most bytes of an encoded 32-bit number.
pub const MAX_VARINT_BYTES: usize = 5;
/// Most bytes of an encoded 64-bit number.
pub const MAX_VARLONG_BYTES: usize = 10;

/// Reads a zigzag 32-bit number from the front of `input` and advances it.
///
/// `None` when the bytes end inside the number or the number is over-long.
#[inline]
pub fn read_varint(input: &mut &[u8]) -> Option<i32> {
    match short_raw(input) {
        Some((raw, rest)) => {
            *input = rest;
            Some(unzigzag32(raw))
        }
        None => read_varint_slow(input),
    }
}

/// A number of one or two bytes, which nearly all numbers of a batch are; or `None`.
#[inline]
fn short_raw(input: &[u8]) -> Option<(u32, &[u8])> {
    let (&first, rest) = input.split_first()?;
    if first < 0x80 {
        return Some((u32::from(first), rest));
    }
    let (&second, rest) = rest.split_first()?;
    (second < 0x80).then(|| (u32::from(first & 0x7f) | (u32::from(second) << 7), rest))
}

#[cold]
fn read_varint_slow(input: &mut &[u8]) -> Option<i32> {
    let raw = read_raw(input, MAX_VARINT_BYTES)?;
    u32::try_from(raw).ok().map(unzigzag32)
}

/// Reads a zigzag 64-bit number from the front of `input` and advances it.
///
/// `None` when the bytes end inside the number or the number is over-long.
#[inline]
pub fn read_varlong(input: &mut &[u8]) -> Option<i64> {
    match short_raw(input) {
        Some((raw, rest)) => {
            *input = rest;
            Some(unzigzag64(u64::from(raw)))
        }
        None => read_raw(input, MAX_VARLONG_BYTES).map(unzigzag64),
    }
}

fn read_raw(input: &mut &[u8], max_bytes: usize) -> Option<u64> {
    let mut decoder = VarintDecoder::new(max_bytes);
    let mut rest = *input;
    loop {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        match decoder.push(byte) {
            VarintStep::More => {}
            VarintStep::Done(raw) => {
                *input = rest;
                return Some(raw);
            }
            VarintStep::TooLong => return None,
        }
    }
}

/// What one more byte did to a number being decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VarintStep {
    /// The number goes on.
    More,
    /// The number is complete (still zigzag-coded).
    Done(u64),
    /// The number has more bytes or bits than its type.
    TooLong,
}

/// Decodes one number byte by byte, for readers that have no slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct VarintDecoder {
    value: u64,
    shift: u32,
    bytes_left: usize,
}

impl VarintDecoder {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { value: 0, shift: 0, bytes_left: max_bytes }
    }

    #[inline]
    pub(super) fn push(&mut self, byte: u8) -> VarintStep {
        if self.bytes_left == 0 {
            return VarintStep::TooLong;
        }
        let bits = u64::from(byte & 0x7f);
        // The tenth byte of a 64-bit number has room for one bit only.
        if self.shift == 63 && bits > 1 {
            return VarintStep::TooLong;
        }
        self.value |= bits << self.shift;
        if byte < 0x80 {
            return VarintStep::Done(self.value);
        }
        self.shift += 7;
        self.bytes_left -= 1;
        if self.bytes_left == 0 { VarintStep::TooLong } else { VarintStep::More }
    }
}

/// Appends a 32-bit number in zigzag varint form (1 to 5 bytes).
pub fn write_varint(out: &mut Vec<u8>, value: i32) {
    write_raw(out, u64::from(zigzag32(value)));
}

/// Appends a 64-bit number in zigzag varint form (1 to 10 bytes).
pub fn write_varlong(out: &mut Vec<u8>, value: i64) {
    write_raw(out, zigzag64(value));
}

fn write_raw(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push(low_byte(raw) | 0x80);
        raw >>= 7;
    }
    out.push(low_byte(raw));
}

fn low_byte(raw: u64) -> u8 {
    // Masked to seven bits, so the conversion cannot lose anything.
    (raw & 0x7f) as u8
}

/// Bytes that [`write_varint`] would append.
pub fn varint_len(value: i32) -> usize {
    raw_len(u64::from(zigzag32(value)))
}

/// Bytes that [`write_varlong`] would append.
pub fn varlong_len(value: i64) -> usize {
    raw_len(zigzag64(value))
}

fn raw_len(raw: u64) -> usize {
    let significant_bits = 64 - (raw | 1).leading_zeros();
    // At most 10, so the conversion cannot lose anything.
    significant_bits.div_ceil(7) as usize
}

fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
pub(super) fn unzigzag32(raw: u32) -> i32 {
    (raw >> 1).cast_signed() ^ -((raw & 1).cast_signed())
}

#[inline]
pub(super) fn unzigzag64(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -((raw & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_encodings_match_kafkas() {
        for (value, bytes) in [
            (0, vec![0]),
            (-1, vec![1]),
            (1, vec![2]),
            (63, vec![0x7e]),
            (-64, vec![0x7f]),
            (64, vec![0x80, 0x01]),
            (i32::MAX, vec![0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn refuses_overlong_and_truncated_numbers() {
        assert_eq!(read_varint(&mut &[0x80u8, 0x80, 0x80, 0x80, 0x80, 0x00][..]), None);
        assert_eq!(read_varint(&mut &[0xffu8, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(read_varint(&mut &[0x80u8][..]), None);
        assert_eq!(read_varint(&mut &[][..]), None);
        assert_eq!(read_varlong(&mut &[0x80u8; 11][..]), None);
        let mut too_many_bits = [0xffu8; 10];
        too_many_bits[9] = 0x02;
        assert_eq!(read_varlong(&mut &too_many_bits[..]), None);
    }

    #[test]
    fn a_failed_read_leaves_the_input_where_it_was() {
        let mut input = &[0x80u8, 0x80][..];
        assert_eq!(read_varint(&mut input), None);
        assert_eq!(input.len(), 2);
    }

    proptest! {
        #[test]
        fn varint_round_trips(value: i32, tail: Vec<u8>) {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            out.extend_from_slice(&tail);
            let mut input = &out[..];
            prop_assert_eq!(read_varint(&mut input), Some(value));
            prop_assert_eq!(input, &tail[..]);
        }

        #[test]
        fn varlong_round_trips(value: i64, tail: Vec<u8>) {
            let mut out = Vec::new();
            write_varlong(&mut out, value);
            prop_assert_eq!(out.len(), varlong_len(value));
            out.extend_from_slice(&tail);
            let mut input = &out[..];
            prop_assert_eq!(read_varlong(&mut input), Some(value));
            prop_assert_eq!(input, &tail[..]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read_varint(&mut &bytes[..]);
            let _ = read_varlong(&mut &bytes[..]);
        }
    }
}

//! Reads Kafka's primitives from one frame.
//!
//! Invariants: no input makes it panic; a claimed length is compared with what remains before
//! anything is allocated; all that a message allocates is charged to one budget first. Byte fields
//! are slices of the frame, not copies.
//!
//! Where Kafka's own parser (`ByteBufferAccessor` and the generated `read` methods) is lenient, so
//! is this one: any negative length means null, invalid UTF-8 is replaced, bytes after the last
//! field are ignored.

use bytes::Bytes;
use uuid::Uuid;

use super::{DecodeError, Records};

/// A message may allocate this many times the bytes of its frame ...
pub const BUDGET_FRAME_FACTOR: usize = 4;
/// ... and this many bytes on top. The densest honest requests (arrays of three-letter topic names)
/// need nine times their wire size in memory; the base lets those through up to tens of thousands
/// of elements, and bounds what a hostile small frame can claim.
pub const BUDGET_BASE_BYTES: usize = 1024 * 1024;

/// A cursor over one frame with an allocation budget.
#[derive(Debug, Clone)]
pub struct Reader {
    frame: Bytes,
    position: usize,
    budget: usize,
    spent: usize,
}

impl Reader {
    /// A reader over `frame` with the default budget: [`BUDGET_FRAME_FACTOR`] times its length plus
    /// [`BUDGET_BASE_BYTES`].
    pub fn new(frame: Bytes) -> Self {
        let budget =
            frame.len().saturating_mul(BUDGET_FRAME_FACTOR).saturating_add(BUDGET_BASE_BYTES);
        Self::with_budget(frame, budget)
    }

    /// A reader over `frame` that may allocate at most `budget` bytes.
    pub fn with_budget(frame: Bytes, budget: usize) -> Self {
        Self { frame, position: 0, budget, spent: 0 }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.frame.len().saturating_sub(self.position)
    }

    /// Bytes charged to the budget so far.
    pub fn spent(&self) -> usize {
        self.spent
    }

    /// Everything that has not been read yet, as a slice of the frame.
    pub fn rest(&self) -> Bytes {
        self.frame.slice(self.position.min(self.frame.len())..)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let spent = self.spent.saturating_add(bytes);
        if spent > self.budget {
            return Err(DecodeError::TooLarge { budget: self.budget });
        }
        self.spent = spent;
        Ok(())
    }

    fn peek(&self, needed: usize) -> Result<&[u8], DecodeError> {
        let short = DecodeError::UnexpectedEnd { needed, remaining: self.remaining() };
        let end = self.position.checked_add(needed).ok_or_else(|| short.clone())?;
        self.frame.get(self.position..end).ok_or(short)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let short = DecodeError::UnexpectedEnd { needed: N, remaining: self.remaining() };
        let unread = self.frame.get(self.position..).ok_or_else(|| short.clone())?;
        let value = *unread.first_chunk::<N>().ok_or(short)?;
        self.position += N;
        Ok(value)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.peek(bytes)?;
        self.position += bytes;
        Ok(())
    }

    fn slice(&mut self, bytes: usize) -> Result<Bytes, DecodeError> {
        self.peek(bytes)?;
        let slice = self.frame.slice(self.position..self.position + bytes);
        self.position += bytes;
        Ok(slice)
    }

    /// One byte, zero or not.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// A signed byte.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// Two bytes, signed.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// Four bytes, signed.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// An IEEE 754 double.
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.fixed().map(f64::from_be_bytes)
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.fixed().map(Uuid::from_bytes)
    }

    /// An unsigned varint of at most 32 bits in at most five bytes. As in Kafka, bits beyond the
    /// 32nd in the fifth byte are dropped.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed::<1>()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::OverlongVarint)
    }

    /// A length of a string: two bytes, or a varint one too high. `None` is null.
    fn string_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.compact_length() } else { Ok(usize::try_from(self.i16()?).ok()) }
    }

    /// A length of bytes, records or an array: four bytes, or a varint one too high.
    fn long_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.compact_length() } else { Ok(usize::try_from(self.i32()?).ok()) }
    }

    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        // Kafka holds the varint in a signed int, so the upper half of the range is null too.
        let length = self.unsigned_varint()?.cast_signed().wrapping_sub(1);
        Ok(usize::try_from(length).ok())
    }

    /// A string that may be null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.string_length(flexible)? else { return Ok(None) };
        self.peek(length)?;
        self.charge(length)?;
        let text = match std::str::from_utf8(self.peek(length)?) {
            Ok(text) => text.to_owned(),
            Err(_) => self.replaced_utf8(length)?,
        };
        self.position += length;
        Ok(Some(text))
    }

    /// A replacement character takes three bytes where the bad byte took one: charge for those.
    fn replaced_utf8(&mut self, length: usize) -> Result<String, DecodeError> {
        self.charge(length.saturating_mul(2))?;
        Ok(String::from_utf8_lossy(self.peek(length)?).into_owned())
    }

    /// A string that may not be null.
    pub fn string(&mut self, flexible: bool, field: &'static str) -> Result<String, DecodeError> {
        self.nullable_string(flexible)?.ok_or(DecodeError::NullField { field })
    }

    /// Bytes that may be null, as a slice of the frame.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        self.long_length(flexible)?.map(|length| self.slice(length)).transpose()
    }

    /// Bytes that may not be null, as a slice of the frame.
    pub fn bytes(&mut self, flexible: bool, field: &'static str) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::NullField { field })
    }

    /// Records that may be null, as a slice of the frame.
    pub fn nullable_records(&mut self, flexible: bool) -> Result<Option<Records>, DecodeError> {
        Ok(self.nullable_bytes(flexible)?.map(Records::from))
    }

    /// Records that may not be null, as a slice of the frame.
    pub fn records(&mut self, flexible: bool, field: &'static str) -> Result<Records, DecodeError> {
        self.bytes(flexible, field).map(Records::from)
    }

    /// An array that may be null. `wire_bytes_min` is the least that one element takes on the wire:
    /// a claimed count that cannot fit what remains fails before anything is reserved.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        wire_bytes_min: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.long_length(flexible)? else { return Ok(None) };
        let needed = count.saturating_mul(wire_bytes_min.max(1));
        if needed > self.remaining() {
            return Err(DecodeError::UnexpectedEnd { needed, remaining: self.remaining() });
        }
        self.charge(count.saturating_mul(size_of::<T>()))?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// An array that may not be null; see [`Self::nullable_array`].
    pub fn array<T>(
        &mut self,
        flexible: bool,
        wire_bytes_min: usize,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flexible, wire_bytes_min, element)?
            .ok_or(DecodeError::NullField { field })
    }

    /// A struct that may be null: one byte, negative for null, then the struct.
    pub fn nullable_struct<T>(
        &mut self,
        decode: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 { Ok(None) } else { decode(self).map(Some) }
    }

    /// A struct that may be null as a tagged field: a varint, 0 for null, then the struct.
    pub fn nullable_tagged_struct<T>(
        &mut self,
        decode: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        // Kafka holds the varint in a signed int.
        if self.unsigned_varint()?.cast_signed() <= 0 { Ok(None) } else { decode(self).map(Some) }
    }

    /// The tagged fields at the end of a flexible struct (KIP-482). `known` reads the field of a tag
    /// that it knows and answers `true`; unknown ones are skipped and dropped.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.unsigned_varint()? {
            let tag = self.unsigned_varint()?;
            let announced = usize::try_from(self.unsigned_varint()?).unwrap_or(usize::MAX);
            self.peek(announced)?;
            let start = self.position;
            if !known(self, tag)? {
                self.skip(announced)?;
            }
            let actual = self.position - start;
            if actual != announced {
                return Err(DecodeError::TaggedFieldSize { tag, announced, actual });
            }
        }
        Ok(())
    }
}

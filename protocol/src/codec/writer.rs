//! Writes Kafka's primitives into a chain of byte slices.
//!
//! Small fields gather in one growing buffer; byte fields of [`SPLICE_BYTES_MIN`] and more are
//! spliced in by reference. So the cost of encoding a fetch response does not depend on how many
//! bytes of records it carries.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::{EncodeError, Piece, Records, Slice};

/// Byte fields at least this long are referenced, shorter ones copied: below it a copy is cheaper
/// than one more entry in the socket's vectored write.
pub const SPLICE_BYTES_MIN: usize = 4096;

/// The first buffer of a writer: most responses other than Fetch and Metadata fit.
const BUFFER_BYTES_INITIAL: usize = 256;

#[derive(Debug)]
enum Chunk {
    Owned(BytesMut),
    Shared(Bytes),
    Slice(Slice),
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Self::Owned(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
            Self::Slice(slice) => slice.len,
        }
    }
}

/// Bytes ready for the socket: pieces in order, none empty.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    pieces: Vec<Piece>,
    len: usize,
}

impl Encoded {
    /// Bytes in all pieces.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The pieces in order.
    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// The pieces in memory, in order: all of them, unless it has records that lie elsewhere.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter().filter_map(Piece::bytes)
    }

    /// All bytes in memory in one piece; copies unless there is only one.
    pub fn to_bytes(&self) -> Bytes {
        self.chunks().cloned().collect::<Records>().to_bytes()
    }
}

/// Builds one message, or one frame of header and message.
#[derive(Debug, Default)]
pub struct Writer {
    chunks: Vec<Chunk>,
    chunks_len: usize,
    tail: BytesMut,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self { tail: BytesMut::with_capacity(BUFFER_BYTES_INITIAL), ..Self::default() }
    }

    /// A writer that has left room for a frame's length, to be ended with [`Self::finish_frame`].
    pub fn framed() -> Self {
        let mut writer = Self::new();
        writer.i32(0);
        writer
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.chunks_len + self.tail.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, chunk: Chunk) {
        if chunk.len() > 0 {
            self.chunks_len += chunk.len();
            self.chunks.push(chunk);
        }
    }

    fn cut_tail(&mut self) {
        let tail = self.tail.split();
        self.push(Chunk::Owned(tail));
    }

    /// What was written.
    pub fn finish(mut self) -> Encoded {
        self.cut_tail();
        let freeze = |chunk| match chunk {
            Chunk::Owned(bytes) => Piece::Bytes(bytes.freeze()),
            Chunk::Shared(bytes) => Piece::Bytes(bytes),
            Chunk::Slice(slice) => Piece::Slice(slice),
        };
        Encoded { pieces: self.chunks.into_iter().map(freeze).collect(), len: self.chunks_len }
    }

    /// What was written since [`Self::framed`], as a frame: four bytes of length in front.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when the length does not fit in 31 bits.
    pub fn finish_frame(mut self) -> Result<Encoded, EncodeError> {
        let length = length_i32("frame", self.len().saturating_sub(size_of::<i32>()))?;
        self.cut_tail();
        // The placeholder is the head of the first chunk: nothing is ever written before it.
        if let Some(Chunk::Owned(first)) = self.chunks.first_mut()
            && let Some(prefix) = first.first_chunk_mut()
        {
            *prefix = length.to_be_bytes();
        }
        Ok(self.finish())
    }

    /// One byte, zero or one.
    pub fn bool(&mut self, value: bool) {
        self.tail.put_u8(u8::from(value));
    }

    /// A signed byte.
    pub fn i8(&mut self, value: i8) {
        self.tail.put_i8(value);
    }

    /// Two bytes, signed.
    pub fn i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self, value: u16) {
        self.tail.put_u16(value);
    }

    /// Four bytes, signed.
    pub fn i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self, value: u32) {
        self.tail.put_u32(value);
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    /// An IEEE 754 double.
    pub fn f64(&mut self, value: f64) {
        self.tail.put_f64(value);
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.tail.put_slice(value.as_bytes());
    }

    /// An unsigned varint.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value.to_le_bytes()[0]);
    }

    /// A string that may be null.
    pub fn nullable_string(
        &mut self,
        value: Option<&str>,
        flexible: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        let Some(value) = value else {
            if flexible {
                self.unsigned_varint(0);
            } else {
                self.i16(-1);
            }
            return Ok(());
        };
        let too_long = |_| EncodeError::TooLong { field, length: value.len() };
        let length = i16::try_from(value.len()).map_err(too_long)?;
        if flexible {
            self.unsigned_varint(u32::from(length.cast_unsigned()) + 1);
        } else {
            self.i16(length);
        }
        self.tail.put_slice(value.as_bytes());
        Ok(())
    }

    /// A string.
    pub fn string(
        &mut self,
        value: &str,
        flexible: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.nullable_string(Some(value), flexible, field)
    }

    /// The length in front of bytes, records and arrays; `None` is null.
    pub fn long_length(
        &mut self,
        length: Option<usize>,
        flexible: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match (length, flexible) {
            (None, true) => self.unsigned_varint(0),
            (None, false) => self.i32(-1),
            (Some(length), true) => {
                self.unsigned_varint(length_i32(field, length)?.cast_unsigned() + 1);
            }
            (Some(length), false) => self.i32(length_i32(field, length)?),
        }
        Ok(())
    }

    /// Bytes that may be null.
    pub fn nullable_bytes(
        &mut self,
        value: Option<&Bytes>,
        flexible: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.long_length(value.map(Bytes::len), flexible, field)?;
        value.into_iter().for_each(|bytes| self.splice(bytes));
        Ok(())
    }

    /// Bytes.
    pub fn bytes(
        &mut self,
        value: &Bytes,
        flexible: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.nullable_bytes(Some(value), flexible, field)
    }

    /// Records that may be null.
    pub fn nullable_records(
        &mut self,
        value: Option<&Records>,
        flexible: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.long_length(value.map(Records::len), flexible, field)?;
        value.into_iter().flat_map(Records::pieces).for_each(|piece| self.splice_piece(piece));
        Ok(())
    }

    /// Records.
    pub fn records(
        &mut self,
        value: &Records,
        flexible: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.nullable_records(Some(value), flexible, field)
    }

    /// An array that may be null.
    pub fn nullable_array<T>(
        &mut self,
        value: Option<&[T]>,
        flexible: bool,
        field: &'static str,
        element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            Some(elements) => self.array(elements, flexible, field, element),
            None => self.long_length(None, flexible, field),
        }
    }

    /// An array.
    pub fn array<T>(
        &mut self,
        value: &[T],
        flexible: bool,
        field: &'static str,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.long_length(Some(value.len()), flexible, field)?;
        value.iter().try_for_each(|item| element(self, item))
    }

    /// A struct that may be null: one byte, then the struct.
    pub fn nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        encode: impl FnOnce(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.i8(1);
                encode(self, value)
            }
            None => {
                self.i8(-1);
                Ok(())
            }
        }
    }

    /// A struct that may be null as a tagged field: a varint, then the struct.
    pub fn nullable_tagged_struct<T>(
        &mut self,
        value: Option<&T>,
        encode: impl FnOnce(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.unsigned_varint(u32::from(value.is_some()));
        value.map_or(Ok(()), |value| encode(self, value))
    }

    /// One tagged field: its tag, its size, and what `encode` writes. The number of tagged fields
    /// is written before the first of them, and tags must ascend.
    pub fn tagged_field(
        &mut self,
        tag: u32,
        encode: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut field = Self::new();
        encode(&mut field)?;
        self.unsigned_varint(tag);
        self.unsigned_varint(length_i32("tagged field", field.len())?.cast_unsigned());
        field.finish().pieces.iter().for_each(|piece| self.splice_piece(piece));
        Ok(())
    }

    /// Appends raw bytes: by reference when they are long enough to be worth it.
    pub fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_BYTES_MIN {
            self.tail.put_slice(bytes);
            return;
        }
        self.cut_tail();
        self.push(Chunk::Shared(bytes.clone()));
    }

    fn splice_piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Bytes(bytes) => self.splice(bytes),
            Piece::Slice(slice) => {
                self.cut_tail();
                self.push(Chunk::Slice(slice.clone()));
            }
        }
    }
}

fn length_i32(field: &'static str, length: usize) -> Result<i32, EncodeError> {
    i32::try_from(length).map_err(|_| EncodeError::TooLong { field, length })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::codec::{DecodeError, Reader};

    fn varint(value: u32) -> Bytes {
        let mut writer = Writer::new();
        writer.unsigned_varint(value);
        writer.finish().to_bytes()
    }

    #[test]
    fn varints_take_the_fewest_bytes_and_come_back() {
        for (value, bytes) in
            [(0, 1), (0x7f, 1), (0x80, 2), (0x3fff, 2), (0x4000, 3), (u32::MAX, 5)]
        {
            let written = varint(value);
            assert_eq!(written.len(), bytes, "{value}");
            let mut reader = Reader::new(written.clone());
            assert_eq!(reader.unsigned_varint(), Ok(value));
            let mut cut = Reader::new(written.slice(..bytes - 1));
            assert_eq!(
                cut.unsigned_varint(),
                Err(DecodeError::UnexpectedEnd { needed: 1, remaining: 0 })
            );
        }
    }

    #[test]
    fn short_bytes_are_copied_and_long_ones_referenced() {
        let long = Bytes::from(vec![1; SPLICE_BYTES_MIN]);
        let short = long.slice(1..);
        let mut writer = Writer::new();
        writer.i8(7);
        writer.splice(&short);
        writer.splice(&long);
        writer.i8(8);
        let encoded = writer.finish();
        let lengths: Vec<usize> = encoded.pieces().iter().map(Piece::len).collect();
        assert_eq!(lengths, [SPLICE_BYTES_MIN, SPLICE_BYTES_MIN, 1]);
        assert_eq!(encoded.pieces()[1].bytes().unwrap().as_ptr(), long.as_ptr());
        assert_eq!(encoded.len(), 2 * SPLICE_BYTES_MIN + 1);
    }

    #[test]
    fn a_frame_begins_with_the_length_of_all_its_slices() {
        let mut writer = Writer::framed();
        writer.i16(5);
        writer.splice(&Bytes::from(vec![1; SPLICE_BYTES_MIN]));
        let frame = writer.finish_frame().unwrap();
        assert_eq!(frame.pieces().len(), 2);
        assert_eq!(frame.pieces()[0].bytes().unwrap().as_ref(), [0, 0, 0x10, 2, 0, 5]);
        assert_eq!(Writer::framed().finish_frame().unwrap().to_bytes().as_ref(), [0; 4]);
    }

    #[test]
    fn null_and_empty_differ_in_both_forms() {
        let mut writer = Writer::new();
        for flexible in [false, true] {
            writer.nullable_string(None, flexible, "f").unwrap();
            writer.nullable_string(Some(""), flexible, "f").unwrap();
            writer.nullable_bytes(None, flexible, "f").unwrap();
            writer.bytes(&Bytes::new(), flexible, "f").unwrap();
        }
        let written = writer.finish().to_bytes();
        assert_eq!(written.as_ref(), b"\xff\xff\0\0\xff\xff\xff\xff\0\0\0\0\x00\x01\x00\x01");
        let mut reader = Reader::new(written);
        for flexible in [false, true] {
            assert_eq!(reader.nullable_string(flexible), Ok(None));
            assert_eq!(reader.nullable_string(flexible), Ok(Some(String::new())));
            assert_eq!(reader.nullable_bytes(flexible), Ok(None));
            assert_eq!(reader.nullable_bytes(flexible), Ok(Some(Bytes::new())));
        }
    }
}

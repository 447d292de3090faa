//! Records of magic 2 over plain (decompressed) bytes, walked without allocating.
//!
//! Invariant: a [`Record`] that the iterator gave out is whole: its length field agrees with its
//! fields and each of its headers was found inside it, so [`Headers`] cannot meet a malformed one.
//! Negative lengths of keys and values mean null, as in Kafka; header keys have no null.

use super::{
    error::RecordError,
    varint::{read_varint, read_varlong},
};

/// One record; keys, values and header keys are raw bytes of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Unused by Kafka so far; kept as sent.
    pub attributes: i8,
    /// Milliseconds to add to the batch's base timestamp.
    pub timestamp_delta: i64,
    /// What to add to the batch's base offset.
    pub offset_delta: i32,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in the order sent, duplicates included.
    pub headers: Headers<'a>,
    /// Bytes of the record in the batch, its length field included.
    pub size_bytes: usize,
}

/// One record header; keys may repeat within a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key, UTF-8 by convention only.
    pub key: &'a [u8],
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
}

/// The headers of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    remaining: usize,
    bytes: &'a [u8],
}

impl Headers<'_> {
    /// Whether no header is left.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        read_header(&mut self.bytes).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Walks the records of a batch; see [`RecordIter::new`].
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    count: i32,
    index: u32,
    failed: bool,
}

impl<'a> RecordIter<'a> {
    /// Walks `records_count` records of plain bytes.
    ///
    /// Gives each record, and after the last one an error if bytes remain. Ends after an error.
    pub fn new(plain: &'a [u8], records_count: i32) -> Self {
        Self { rest: plain, count: records_count, index: 0, failed: false }
    }

    fn end(&mut self) -> Option<Result<Record<'a>, RecordError>> {
        self.failed = true;
        if self.count < 0 {
            return Some(Err(RecordError::InvalidCount { count: self.count }));
        }
        match self.rest.len() {
            0 => None,
            remaining => Some(Err(RecordError::TrailingBytes { remaining })),
        }
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if i64::from(self.index) >= i64::from(self.count) {
            return self.end();
        }
        match read_record(&mut self.rest) {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.failed = true;
                Some(Err(RecordError::Malformed { index: self.index, reason }))
            }
        }
    }
}

/// Reads one record from the front of `input` and advances it.
#[inline]
pub(super) fn read_record<'a>(input: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
    let before = input.len();
    let length = read_varint(input).ok_or("length is cut or over-long")?;
    let length = usize::try_from(length).map_err(|_| "length is negative")?;
    let (mut body, rest) = input.split_at_checked(length).ok_or("length exceeds the batch")?;
    *input = rest;
    let size_bytes = before - rest.len();

    let (&attributes, tail) = body.split_first().ok_or("attributes are missing")?;
    body = tail;
    let timestamp_delta = read_varlong(&mut body).ok_or("timestamp delta is cut or over-long")?;
    let offset_delta = read_varint(&mut body).ok_or("offset delta is cut or over-long")?;
    let key = read_nullable(&mut body).ok_or("key exceeds the record")?;
    let value = read_nullable(&mut body).ok_or("value exceeds the record")?;
    let headers = read_headers(body)?;
    Ok(Record {
        attributes: i8::from_be_bytes([attributes]),
        timestamp_delta,
        offset_delta,
        key,
        value,
        headers,
        size_bytes,
    })
}

/// Checks that `body` is a header count and exactly that many headers.
#[inline]
fn read_headers(mut body: &[u8]) -> Result<Headers<'_>, &'static str> {
    let count = read_varint(&mut body).ok_or("header count is cut or over-long")?;
    let remaining = usize::try_from(count).map_err(|_| "header count is negative")?;
    let headers = Headers { remaining, bytes: body };
    if remaining > body.len() {
        return Err("header count exceeds the record");
    }
    for _ in 0..remaining {
        read_header(&mut body)?;
    }
    if body.is_empty() { Ok(headers) } else { Err("length exceeds its fields") }
}

fn read_header<'a>(input: &mut &'a [u8]) -> Result<Header<'a>, &'static str> {
    let length = read_varint(input).ok_or("header key length is cut or over-long")?;
    let length = usize::try_from(length).map_err(|_| "header key length is negative")?;
    let (key, rest) = input.split_at_checked(length).ok_or("header key exceeds the record")?;
    *input = rest;
    let value = read_nullable(input).ok_or("header value exceeds the record")?;
    Ok(Header { key, value })
}

/// Reads a length and that many bytes; a negative length is null. `None` if the bytes are not there.
#[inline]
fn read_nullable<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(read_varint(input)?) else {
        return Some(None);
    };
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(Some(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::records::varint::{write_varint, write_varlong};

    fn record_body(fields: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut body = vec![0];
        write_varlong(&mut body, 7);
        write_varint(&mut body, 0);
        fields(&mut body);
        let mut out = Vec::new();
        write_varint(&mut out, i32::try_from(body.len()).unwrap());
        out.extend_from_slice(&body);
        out
    }

    fn only_error(bytes: &[u8]) -> RecordError {
        RecordIter::new(bytes, 1).next().unwrap().unwrap_err()
    }

    #[test]
    fn any_negative_length_is_null() {
        let bytes = record_body(|body| {
            write_varint(body, -1);
            write_varint(body, -5);
            write_varint(body, 0);
        });
        let record = RecordIter::new(&bytes, 1).next().unwrap().unwrap();
        assert_eq!((record.key, record.value, record.timestamp_delta), (None, None, 7));
        assert_eq!(record.size_bytes, bytes.len());
    }

    #[test]
    fn empty_key_is_not_null() {
        let bytes = record_body(|body| {
            write_varint(body, 0);
            write_varint(body, -1);
            write_varint(body, 0);
        });
        let record = RecordIter::new(&bytes, 1).next().unwrap().unwrap();
        assert_eq!(record.key, Some(&[][..]));
    }

    #[test]
    fn refuses_fields_that_leave_the_record() {
        for (name, bytes) in [
            ("key", record_body(|body| write_varint(body, 100))),
            (
                "header count",
                record_body(|body| {
                    write_varint(body, -1);
                    write_varint(body, -1);
                    write_varint(body, i32::MAX);
                }),
            ),
            (
                "negative header count",
                record_body(|body| {
                    write_varint(body, -1);
                    write_varint(body, -1);
                    write_varint(body, -1);
                }),
            ),
            (
                "null header key",
                record_body(|body| {
                    write_varint(body, -1);
                    write_varint(body, -1);
                    write_varint(body, 1);
                    write_varint(body, -1);
                    write_varint(body, -1);
                }),
            ),
            (
                "spare bytes",
                record_body(|body| {
                    write_varint(body, -1);
                    write_varint(body, -1);
                    write_varint(body, 0);
                    body.push(0);
                }),
            ),
        ] {
            assert!(
                matches!(only_error(&bytes), RecordError::Malformed { index: 0, .. }),
                "{name}"
            );
        }
    }

    #[test]
    fn bytes_after_the_last_record_are_an_error() {
        let mut iter = RecordIter::new(&[0, 0, 0], 0);
        assert_eq!(iter.next(), Some(Err(RecordError::TrailingBytes { remaining: 3 })));
        assert_eq!(iter.next(), None);
    }

    #[test]
    fn negative_count_is_an_error() {
        let mut iter = RecordIter::new(&[], -3);
        assert_eq!(iter.next(), Some(Err(RecordError::InvalidCount { count: -3 })));
        assert_eq!(iter.next(), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, count: i32) {
            for record in RecordIter::new(&bytes, count).flatten() {
                prop_assert_eq!(record.headers.len(), record.headers.count());
            }
        }
    }
}

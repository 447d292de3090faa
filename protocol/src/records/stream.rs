//! Walks the records of a compressed batch without keeping them: keys and values are skipped as they
//! come out of the codec, so memory is one small buffer, however large the batch.
//!
//! The counterpart of Kafka's `DefaultRecord.readPartiallyFrom`; stricter in that the length field of
//! a record must agree with its fields, as it must for an uncompressed batch.

use super::{
    compression::Decompressor,
    error::{CompressionError, RecordError},
    varint::{
        MAX_VARINT_BYTES, MAX_VARLONG_BYTES, VarintDecoder, VarintStep, unzigzag32, unzigzag64,
    },
};

const BUFFER_LEN: usize = 16 * 1024;

/// What validation wants to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordOutline {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) has_key: bool,
}

/// Why a record could not be skipped through.
enum SkipError {
    Malformed(&'static str),
    Codec(CompressionError),
}

impl From<CompressionError> for SkipError {
    fn from(error: CompressionError) -> Self {
        Self::Codec(error)
    }
}

/// Reads record outlines from a decompressor.
pub(super) struct StreamWalker<'a> {
    source: Decompressor<'a>,
    buffer: Vec<u8>,
    position: usize,
    filled: usize,
    /// Bytes taken from the stream so far.
    consumed: u64,
    index: u32,
}

impl<'a> StreamWalker<'a> {
    pub(super) fn new(source: Decompressor<'a>) -> Self {
        Self { source, buffer: vec![0; BUFFER_LEN], position: 0, filled: 0, consumed: 0, index: 0 }
    }

    /// Plain bytes read so far.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Reads the next record.
    pub(super) fn next_record(&mut self) -> Result<RecordOutline, RecordError> {
        match self.skip_record() {
            Ok(outline) => {
                self.index += 1;
                Ok(outline)
            }
            Err(SkipError::Malformed(reason)) => {
                Err(RecordError::Malformed { index: self.index, reason })
            }
            Err(SkipError::Codec(error)) => Err(error.into()),
        }
    }

    /// Checks that the stream ends here.
    pub(super) fn expect_end(&mut self) -> Result<(), RecordError> {
        if self.refill()? == 0 {
            Ok(())
        } else {
            Err(RecordError::TrailingBytes { remaining: self.filled - self.position })
        }
    }

    fn skip_record(&mut self) -> Result<RecordOutline, SkipError> {
        let length = usize::try_from(self.varint("length is cut or over-long")?)
            .map_err(|_| SkipError::Malformed("length is negative"))?;
        let start = self.consumed;
        self.byte("attributes are missing")?;
        let timestamp_delta =
            unzigzag64(self.raw(MAX_VARLONG_BYTES, "timestamp delta is cut or over-long")?);
        let offset_delta = self.varint("offset delta is cut or over-long")?;
        let has_key = self.skip_nullable("key exceeds the batch")?;
        self.skip_nullable("value exceeds the batch")?;
        let headers = self.varint("header count is cut or over-long")?;
        if headers < 0 {
            return Err(SkipError::Malformed("header count is negative"));
        }
        for _ in 0..headers {
            if !self.skip_nullable("header key exceeds the batch")? {
                return Err(SkipError::Malformed("header key length is negative"));
            }
            self.skip_nullable("header value exceeds the batch")?;
        }
        if self.consumed - start != length as u64 {
            return Err(SkipError::Malformed("length disagrees with its fields"));
        }
        Ok(RecordOutline { timestamp_delta, offset_delta, has_key })
    }

    /// Skips a length and that many bytes; false for null (any negative length).
    fn skip_nullable(&mut self, what: &'static str) -> Result<bool, SkipError> {
        let Ok(length) = usize::try_from(self.varint(what)?) else {
            return Ok(false);
        };
        let mut left = length;
        while left > 0 {
            let available = self.refill()?;
            if available == 0 {
                return Err(SkipError::Malformed(what));
            }
            let step = available.min(left);
            self.advance(step);
            left -= step;
        }
        Ok(true)
    }

    fn varint(&mut self, what: &'static str) -> Result<i32, SkipError> {
        let raw = self.raw(MAX_VARINT_BYTES, what)?;
        u32::try_from(raw).map(unzigzag32).map_err(|_| SkipError::Malformed(what))
    }

    #[inline]
    fn raw(&mut self, max_bytes: usize, what: &'static str) -> Result<u64, SkipError> {
        let first = self.byte(what)?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut decoder = VarintDecoder::new(max_bytes);
        let mut step = decoder.push(first);
        loop {
            match step {
                VarintStep::Done(raw) => return Ok(raw),
                VarintStep::TooLong => return Err(SkipError::Malformed(what)),
                VarintStep::More => step = decoder.push(self.byte(what)?),
            }
        }
    }

    #[inline]
    fn byte(&mut self, what: &'static str) -> Result<u8, SkipError> {
        if self.position == self.filled && self.refill()? == 0 {
            return Err(SkipError::Malformed(what));
        }
        let byte = self.buffer.get(self.position).copied();
        self.advance(1);
        byte.ok_or(SkipError::Malformed(what))
    }

    #[inline]
    fn advance(&mut self, len: usize) {
        self.position += len;
        self.consumed += len as u64;
    }

    /// Makes sure there are bytes in the buffer; how many, 0 at the end of the stream.
    fn refill(&mut self) -> Result<usize, CompressionError> {
        if self.position == self.filled {
            self.position = 0;
            self.filled = 0;
            self.filled = self.source.read(&mut self.buffer)?;
        }
        Ok(self.filled - self.position)
    }
}

//! Snappy as Kafka's clients write it: Xerial's framing (the Java client) or one raw block
//! (librdkafka and others).
//!
//! Xerial's stream is a header of 16 bytes (magic, version, least compatible version), then chunks
//! of a big-endian length and a raw snappy block. A header may come again where a chunk could begin
//! (concatenated streams). Invariant: a block is decoded only after its claimed size was found to be
//! possible for its bytes and within the limit.

use super::error::CompressionError;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: i32 = 1;
const HEADER_LEN: usize = 16;
/// The block size of snappy-java's output stream.
const BLOCK_SIZE: usize = 32 * 1024;
/// A snappy block cannot grow by more: a copy of 64 bytes takes at least 3, a literal more.
const MAX_RATIO: usize = 32;

/// Writes Xerial framing.
pub(super) fn compress(plain: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::with_capacity(HEADER_LEN + plain.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(BLOCK_SIZE) {
        let encode = |reason: String| CompressionError::Encode { codec: "snappy", reason };
        let packed = encoder.compress_vec(block).map_err(|error| encode(error.to_string()))?;
        let len = i32::try_from(packed.len()).map_err(|error| encode(error.to_string()))?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

/// Streams the plain bytes, one block in memory at a time.
pub(super) struct SnappyReader<'a> {
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    block_position: usize,
    max_block_bytes: usize,
}

impl<'a> SnappyReader<'a> {
    /// Reads `body`; a block that claims more than `max_bytes` is refused before it is decoded.
    pub(super) fn new(body: &'a [u8], max_bytes: usize) -> Self {
        Self {
            rest: body,
            framed: body.starts_with(&MAGIC),
            block: Vec::new(),
            block_position: 0,
            max_block_bytes: max_bytes,
        }
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, CompressionError> {
        while self.block_position == self.block.len() {
            match self.next_block()? {
                Some(block) => self.decode(block)?,
                None => return Ok(0),
            }
        }
        let pending = self.block.get(self.block_position..).unwrap_or_default();
        let len = pending.len().min(out.len());
        out[..len].copy_from_slice(&pending[..len]);
        self.block_position += len;
        Ok(len)
    }

    /// The next compressed block, or `None` at the end.
    fn next_block(&mut self) -> Result<Option<&'a [u8]>, CompressionError> {
        if !self.framed {
            let block = std::mem::take(&mut self.rest);
            return Ok((!block.is_empty()).then_some(block));
        }
        while self.rest.starts_with(&MAGIC) {
            self.read_stream_header()?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or_else(|| cut("length"))?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| corrupt("negative block length".to_owned()))?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(|| cut("block"))?;
        self.rest = rest;
        Ok(Some(block))
    }

    fn read_stream_header(&mut self) -> Result<(), CompressionError> {
        let (header, rest) =
            self.rest.split_first_chunk::<HEADER_LEN>().ok_or_else(|| cut("header"))?;
        let version = header.get(8..).and_then(|tail| tail.first_chunk::<4>());
        match version.map(|bytes| i32::from_be_bytes(*bytes)) {
            Some(version) if version >= VERSION => {
                self.rest = rest;
                Ok(())
            }
            version => Err(corrupt(format!("unsupported framing version {version:?}"))),
        }
    }

    fn decode(&mut self, block: &[u8]) -> Result<(), CompressionError> {
        let claimed =
            snap::raw::decompress_len(block).map_err(|error| corrupt(error.to_string()))?;
        if claimed > block.len().saturating_mul(MAX_RATIO) {
            return Err(corrupt(format!("{} bytes cannot hold {claimed}", block.len())));
        }
        if claimed > self.max_block_bytes {
            return Err(CompressionError::LimitExceeded { limit_bytes: self.max_block_bytes });
        }
        self.block.clear();
        self.block.resize(claimed, 0);
        self.block_position = 0;
        snap::raw::Decoder::new()
            .decompress(block, &mut self.block)
            .map_err(|error| corrupt(error.to_string()))?;
        Ok(())
    }
}

fn corrupt(reason: String) -> CompressionError {
    CompressionError::Corrupt { codec: "snappy", reason }
}

fn cut(what: &str) -> CompressionError {
    corrupt(format!("{what} is cut short"))
}

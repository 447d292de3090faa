//! The five codecs of Kafka: compress a batch body, and decompress one within a limit.
//!
//! Invariant: decompression is streaming. Memory is the codec's own window and the caller's buffer,
//! whatever a header claims, and the first byte past the limit is an error, so a bomb costs at most
//! the limit in time and never in memory.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{
    error::CompressionError,
    snappy::{self, SnappyReader},
    zstd_reader::ZstdReader,
};

/// Codec ids of the batch attributes (Kafka's `CompressionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CompressionType {
    /// 0: records as they are.
    None,
    /// 1: RFC 1952.
    Gzip,
    /// 2: Xerial's framing of snappy blocks, or one raw block.
    Snappy,
    /// 3: the LZ4 frame format.
    Lz4,
    /// 4: RFC 8878 (KIP-110).
    Zstd,
}

impl CompressionType {
    /// The type with this id.
    ///
    /// # Errors
    /// `UnknownType` above 4.
    pub fn from_id(id: u8) -> Result<Self, CompressionError> {
        match id {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            id => Err(CompressionError::UnknownType { id }),
        }
    }

    /// The id in the attributes.
    pub fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Kafka's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A codec and its level, for writing. Levels out of the codec's range are brought into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Leave the bytes as they are.
    None,
    /// Level 1 to 9; -1 is the library's default (6).
    Gzip(i32),
    /// Xerial framing with blocks of 32 KiB, as the Java client writes.
    Snappy,
    /// Frames of independent 64 KiB blocks, as the Java client writes. The encoder has one speed,
    /// so the level (1 to 17) is accepted and has no effect.
    Lz4(i32),
    /// Level -131072 to 22; 0 is the library's default (3).
    Zstd(i32),
}

impl Compression {
    /// The id part.
    pub fn compression_type(self) -> CompressionType {
        match self {
            Self::None => CompressionType::None,
            Self::Gzip(_) => CompressionType::Gzip,
            Self::Snappy => CompressionType::Snappy,
            Self::Lz4(_) => CompressionType::Lz4,
            Self::Zstd(_) => CompressionType::Zstd,
        }
    }

    /// The codec at Kafka's default level.
    pub fn with_default_level(codec: CompressionType) -> Self {
        match codec {
            CompressionType::None => Self::None,
            CompressionType::Gzip => Self::Gzip(-1),
            CompressionType::Snappy => Self::Snappy,
            CompressionType::Lz4 => Self::Lz4(9),
            CompressionType::Zstd => Self::Zstd(3),
        }
    }
}

/// How much decompressed data the caller is ready to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecompressLimit {
    /// Most bytes of output of one body.
    pub max_bytes: usize,
}

/// Compresses a batch body.
///
/// # Errors
/// `Encode` if the codec refuses (memory).
pub fn compress(compression: Compression, plain: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let codec = compression.compression_type();
    let encode = |error: io::Error| encode_error(codec, &error);
    match compression {
        Compression::None => Ok(plain.to_vec()),
        Compression::Gzip(level) => {
            let level = match u32::try_from(level) {
                Ok(level) => flate2::Compression::new(level.clamp(1, 9)),
                Err(_) => flate2::Compression::default(),
            };
            let out = Vec::with_capacity(plain.len() / 2);
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            encoder.write_all(plain).map_err(encode)?;
            encoder.finish().map_err(encode)
        }
        Compression::Snappy => snappy::compress(plain),
        Compression::Lz4(_) => {
            let info =
                FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
            let out = Vec::with_capacity(plain.len() / 2);
            let mut encoder = FrameEncoder::with_frame_info(info, out);
            encoder.write_all(plain).map_err(encode)?;
            encoder.finish().map_err(|error| encode_error(codec, &error))
        }
        Compression::Zstd(level) => {
            let range = zstd::compression_level_range();
            let level = level.clamp(*range.start(), *range.end());
            zstd::bulk::compress(plain, level).map_err(encode)
        }
    }
}

fn encode_error(codec: CompressionType, error: &dyn std::error::Error) -> CompressionError {
    CompressionError::Encode { codec: codec.name(), reason: error.to_string() }
}

/// Decompresses a whole body into memory.
///
/// # Errors
/// `LimitExceeded` past `limit.max_bytes`, `Corrupt` for what the codec cannot read.
pub fn decompress(
    codec: CompressionType,
    body: &[u8],
    limit: DecompressLimit,
) -> Result<Vec<u8>, CompressionError> {
    const STEP_MIN: usize = 4 * 1024;
    const STEP_MAX: usize = 1024 * 1024;
    let mut reader = Decompressor::new(codec, body, limit)?;
    let mut out = Vec::new();
    let mut filled = 0;
    loop {
        if filled == out.len() {
            let step = body.len().saturating_mul(4).max(filled).clamp(STEP_MIN, STEP_MAX);
            // One byte past the limit is enough for the reader to notice.
            let len = filled.saturating_add(step).min(limit.max_bytes.saturating_add(1));
            out.resize(len, 0);
        }
        match reader.read(out.get_mut(filled..).unwrap_or_default())? {
            0 => break,
            read => filled += read,
        }
    }
    out.truncate(filled);
    Ok(out)
}

/// Streams the plain bytes of a body, within a limit.
pub struct Decompressor<'a> {
    codec: Codec<'a>,
    codec_type: CompressionType,
    limit: DecompressLimit,
    remaining: usize,
    finished: bool,
}

enum Codec<'a> {
    Plain(&'a [u8]),
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(SnappyReader<'a>),
    Lz4(Box<FrameDecoder<&'a [u8]>>),
    Zstd(ZstdReader<'a>),
}

impl<'a> Decompressor<'a> {
    /// Prepares to read `body`.
    ///
    /// # Errors
    /// `Corrupt` if the body does not even begin as the codec must.
    pub fn new(
        codec_type: CompressionType,
        body: &'a [u8],
        limit: DecompressLimit,
    ) -> Result<Self, CompressionError> {
        let corrupt = |error: io::Error| corrupt(codec_type, &error);
        let codec = match codec_type {
            CompressionType::None => Codec::Plain(body),
            CompressionType::Gzip => {
                Codec::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(body)))
            }
            CompressionType::Snappy => Codec::Snappy(SnappyReader::new(body, limit.max_bytes)),
            CompressionType::Lz4 => {
                check_lz4_magic(body)?;
                Codec::Lz4(Box::new(FrameDecoder::new(body)))
            }
            CompressionType::Zstd => Codec::Zstd(ZstdReader::new(body).map_err(corrupt)?),
        };
        Ok(Self { codec, codec_type, limit, remaining: limit.max_bytes, finished: false })
    }

    /// Fills the front of `out` and says how far; 0 at the end (or if `out` is empty).
    ///
    /// # Errors
    /// `LimitExceeded`, `Corrupt`. What was written to `out` in a call that fails has no meaning.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, CompressionError> {
        if self.finished || out.is_empty() {
            return Ok(0);
        }
        let room = out.len().min(self.remaining.saturating_add(1));
        let window = out.get_mut(..room).unwrap_or_default();
        let read = match &mut self.codec {
            Codec::Plain(rest) => rest.read(window),
            Codec::Gzip(decoder) => decoder.read(window),
            Codec::Snappy(reader) => {
                let read = reader.read(window)?;
                Ok(read)
            }
            Codec::Lz4(decoder) => decoder.read(window),
            Codec::Zstd(decoder) => decoder.read(window),
        };
        let read = read.map_err(|error| corrupt(self.codec_type, &error))?;
        if read == 0 {
            // Kafka's reader ends with the first LZ4 frame; going on would decode trailing bytes.
            self.finished = true;
            return Ok(0);
        }
        match self.remaining.checked_sub(read) {
            Some(remaining) => self.remaining = remaining,
            None => {
                self.finished = true;
                return Err(CompressionError::LimitExceeded { limit_bytes: self.limit.max_bytes });
            }
        }
        Ok(read)
    }
}

fn corrupt(codec: CompressionType, error: &io::Error) -> CompressionError {
    CompressionError::Corrupt { codec: codec.name(), reason: error.to_string() }
}

/// Skippable and legacy frames are refused, as in Kafka.
fn check_lz4_magic(body: &[u8]) -> Result<(), CompressionError> {
    const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
    if body.is_empty() || body.starts_with(&MAGIC) {
        return Ok(());
    }
    Err(CompressionError::Corrupt {
        codec: CompressionType::Lz4.name(),
        reason: "frame magic is missing".to_owned(),
    })
}

#[cfg(test)]
mod tests;

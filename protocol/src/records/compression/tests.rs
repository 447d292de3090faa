//! Every codec: round trips, other writers' framings, bombs and garbage.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const ALL: [Compression; 5] = [
    Compression::None,
    Compression::Gzip(-1),
    Compression::Snappy,
    Compression::Lz4(9),
    Compression::Zstd(3),
];
const CODECS: [CompressionType; 5] = [
    CompressionType::None,
    CompressionType::Gzip,
    CompressionType::Snappy,
    CompressionType::Lz4,
    CompressionType::Zstd,
];

fn limit(max_bytes: usize) -> DecompressLimit {
    DecompressLimit { max_bytes }
}

/// Text-like bytes with repetition, so that every codec has something to do.
fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|at| b"the quick brown fox "[(at * at / 7 + at) % 20]).collect()
}

#[test]
fn ids_and_names_are_kafkas() {
    let names: Vec<_> = CODECS.iter().map(|codec| codec.name()).collect();
    assert_eq!(names, ["none", "gzip", "snappy", "lz4", "zstd"]);
    for (id, codec) in (0..).zip(CODECS) {
        assert_eq!(codec.id(), id);
        assert_eq!(CompressionType::from_id(id), Ok(codec));
        assert_eq!(Compression::with_default_level(codec).compression_type(), codec);
    }
    assert_eq!(CompressionType::from_id(5), Err(CompressionError::UnknownType { id: 5 }));
}

#[test]
fn every_codec_round_trips_at_the_exact_limit() {
    for compression in ALL {
        let codec = compression.compression_type();
        for len in [0, 1, 100, 32 * 1024, 64 * 1024 + 1, 1_000_000] {
            let plain = sample(len);
            let packed = compress(compression, &plain).unwrap();
            assert_eq!(decompress(codec, &packed, limit(len)).unwrap(), plain, "{codec:?} {len}");
            if len > 0 {
                let error = decompress(codec, &packed, limit(len - 1)).unwrap_err();
                let expected = CompressionError::LimitExceeded { limit_bytes: len - 1 };
                assert_eq!(error, expected, "{codec:?} {len}");
            }
        }
    }
}

#[test]
fn levels_out_of_range_are_brought_into_it() {
    let plain = sample(10_000);
    for compression in [
        Compression::Gzip(0),
        Compression::Gzip(99),
        Compression::Gzip(i32::MIN),
        Compression::Zstd(i32::MIN),
        Compression::Zstd(i32::MAX),
        Compression::Lz4(i32::MAX),
    ] {
        let packed = compress(compression, &plain).unwrap();
        let codec = compression.compression_type();
        assert_eq!(decompress(codec, &packed, limit(10_000)).unwrap(), plain);
    }
}

#[test]
fn snappy_reads_raw_blocks_and_concatenated_streams() {
    let plain = sample(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    assert_eq!(decompress(CompressionType::Snappy, &raw, limit(100_000)).unwrap(), plain);
    let framed = compress(Compression::Snappy, &plain).unwrap();
    let twice = [&framed[..], &framed[..]].concat();
    let read = decompress(CompressionType::Snappy, &twice, limit(200_000)).unwrap();
    assert_eq!(read, [&plain[..], &plain[..]].concat());
}

#[test]
fn snappy_refuses_a_size_that_its_bytes_cannot_hold() {
    // A block of six bytes that claims 4 GiB - 1.
    let body = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let error = decompress(CompressionType::Snappy, &body, limit(usize::MAX)).unwrap_err();
    assert!(matches!(error, CompressionError::Corrupt { codec: "snappy", .. }));
}

#[test]
fn lz4_reads_every_kind_of_frame() {
    let plain = sample(300_000);
    for block_mode in [BlockMode::Independent, BlockMode::Linked] {
        for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for (checksums, content_size) in [(false, None), (true, Some(300_000))] {
                let info = FrameInfo::new()
                    .block_mode(block_mode)
                    .block_size(block_size)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(content_size);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&plain).unwrap();
                let packed = encoder.finish().unwrap();
                let read = decompress(CompressionType::Lz4, &packed, limit(300_000)).unwrap();
                assert_eq!(read, plain);
            }
        }
    }
}

#[test]
fn lz4_ends_with_its_first_frame_as_kafkas_reader_does() {
    let packed = compress(Compression::Lz4(9), b"first").unwrap();
    let info = FrameInfo::new().block_size(BlockSize::Max4MB);
    let mut second = FrameEncoder::with_frame_info(info, packed);
    second.write_all(b"second").unwrap();
    let both = second.finish().unwrap();
    assert_eq!(decompress(CompressionType::Lz4, &both, limit(100)).unwrap(), b"first");
    assert!(decompress(CompressionType::Lz4, b"not a frame", limit(100)).is_err());
}

#[test]
fn gzip_and_zstd_read_concatenated_members() {
    for compression in [Compression::Gzip(1), Compression::Zstd(1)] {
        let packed = compress(compression, b"ab").unwrap();
        let twice = [&packed[..], &packed[..]].concat();
        assert_eq!(decompress(compression.compression_type(), &twice, limit(4)).unwrap(), b"abab");
    }
}

#[test]
fn damage_is_an_error_or_a_difference_and_never_a_panic() {
    let plain = sample(3_000);
    for compression in ALL {
        let codec = compression.compression_type();
        let packed = compress(compression, &plain).unwrap();
        for position in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[position] ^= 0x55;
            if let Ok(read) = decompress(codec, &damaged, limit(3_000)) {
                assert!(read.len() <= 3_000);
            }
            let cut = &packed[..position];
            if let Ok(read) = decompress(codec, cut, limit(3_000)) {
                assert!(plain.starts_with(&read), "{codec:?} cut at {position}");
            }
        }
    }
}

/// A body of at most 1 MiB that stands for far more zeros than any limit here.
fn bomb(compression: Compression) -> Vec<u8> {
    const ZEROS: &[u8] = &[0; 1 << 20];
    match compression {
        Compression::Gzip(_) => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
            (0..64).for_each(|_| encoder.write_all(ZEROS).unwrap());
            encoder.finish().unwrap()
        }
        Compression::Zstd(_) => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            // The 10 GiB of a real bomb, cheaply: one frame after the other.
            encoder.write_all(ZEROS).unwrap();
            encoder.finish().unwrap().repeat(10_240)
        }
        other => compress(other, &ZEROS.repeat(16)).unwrap(),
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    for compression in ALL {
        let codec = compression.compression_type();
        let body = bomb(compression);
        for max_bytes in [0, 1, 10_000, 5_000_000] {
            let error = decompress(codec, &body, limit(max_bytes)).unwrap_err();
            let expected = CompressionError::LimitExceeded { limit_bytes: max_bytes };
            assert_eq!(error, expected, "{codec:?}");
        }
    }
}

#[test]
fn zstd_survives_damage_and_abandoned_readers_before_it() {
    let plain = sample(50_000);
    let packed = compress(Compression::Zstd(3), &plain).unwrap();
    for position in (0..packed.len()).step_by(97) {
        let mut damaged = packed.clone();
        damaged[position] ^= 0xff;
        let _ = decompress(CompressionType::Zstd, &damaged, limit(50_000));
        let mut abandoned =
            Decompressor::new(CompressionType::Zstd, &packed, limit(50_000)).unwrap();
        abandoned.read(&mut [0; 100]).unwrap();
        drop(abandoned);
        assert_eq!(decompress(CompressionType::Zstd, &packed, limit(50_000)).unwrap(), plain);
    }
}

#[test]
fn a_reader_that_met_the_limit_stays_ended() {
    let body = bomb(Compression::Lz4(9));
    let mut reader = Decompressor::new(CompressionType::Lz4, &body, limit(10)).unwrap();
    let mut out = [0; 64];
    assert!(reader.read(&mut out).is_err());
    assert_eq!(reader.read(&mut out), Ok(0));
}

proptest! {
    #[test]
    fn garbage_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..400),
        max_bytes in 0_usize..2_000,
        prefixed: bool,
    ) {
        for compression in ALL {
            let codec = compression.compression_type();
            let mut body = garbage.clone();
            if prefixed {
                // Keep the codec's own beginning, so that garbage gets past the magic.
                let start = compress(compression, b"abc").unwrap();
                body.splice(..0, start.into_iter().take(16));
            }
            if let Ok(read) = decompress(codec, &body, limit(max_bytes)) {
                prop_assert!(read.len() <= max_bytes);
            }
        }
    }

    #[test]
    fn small_reads_give_the_same_bytes(
        plain in prop::collection::vec(0_u8..4, 0..5_000),
        step in 1_usize..700,
    ) {
        for compression in ALL {
            let packed = compress(compression, &plain).unwrap();
            let codec = compression.compression_type();
            let mut reader = Decompressor::new(codec, &packed, limit(plain.len())).unwrap();
            let mut read = Vec::new();
            let mut out = vec![0; step];
            loop {
                let len = reader.read(&mut out).unwrap();
                if len == 0 {
                    break;
                }
                read.extend_from_slice(&out[..len]);
            }
            prop_assert_eq!(&read, &plain);
        }
    }
}

//! Frames of real clients and a real broker decode and encode to themselves, byte for byte. Where they
//! come from: `protocol/testdata/README.md`.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::*;
use crate::{
    header::{RequestHeader, ResponseHeader},
    messages::for_each_api,
};

const FILES: [(&str, &str); 3] = [
    ("kcat", include_str!("../../../testdata/frames/kcat.txt")),
    ("librdkafka", include_str!("../../../testdata/frames/librdkafka.txt")),
    ("java", include_str!("../../../testdata/frames/java.txt")),
];

/// One recorded frame without its length.
struct Frame {
    is_request: bool,
    api_key: ApiKey,
    version: i16,
    bytes: Bytes,
}

impl Frame {
    fn parse(line: &str) -> Self {
        let [direction, api_key, version, hex] =
            line.split(' ').collect::<Vec<_>>().try_into().expect("four words a line");
        let bytes = (0..hex.len()).step_by(2);
        Self {
            is_request: direction == "request",
            api_key: ApiKey::try_from(api_key.parse::<i16>().unwrap()).unwrap(),
            version: version.parse().unwrap(),
            bytes: bytes.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect(),
        }
    }
}

fn request_again<R: Request>(frame: &Frame) -> Bytes {
    let mut reader = Reader::new(frame.bytes.clone());
    let header = RequestHeader::decode(&mut reader).unwrap();
    assert_eq!((header.api_key, header.api_version), (frame.api_key, frame.version));
    let request = R::decode(&mut reader, frame.version).unwrap();
    let mut writer = Writer::new();
    header.encode(&mut writer).unwrap();
    request.encode(&mut writer, frame.version).unwrap();
    writer.finish().to_bytes()
}

fn response_again<R: Request>(frame: &Frame) -> Bytes {
    let mut reader = Reader::new(frame.bytes.clone());
    let header = ResponseHeader::decode(&mut reader, frame.api_key, frame.version).unwrap();
    let response = R::Response::decode(&mut reader, frame.version).unwrap();
    let mut writer = Writer::new();
    header.encode(&mut writer, frame.api_key, frame.version);
    response.encode(&mut writer, frame.version).unwrap();
    writer.finish().to_bytes()
}

fn encoded_again(frame: &Frame) -> Bytes {
    macro_rules! dispatch {
        ($(($api:ident, $module:ident, $request:ident, $response:ident))*) => {
            match frame.api_key {
                $(
                    ApiKey::$api if frame.is_request => request_again::<$module::$request>(frame),
                    ApiKey::$api => response_again::<$module::$request>(frame),
                )*
                other => panic!("{other} has no messages"),
            }
        };
    }
    for_each_api!(dispatch)
}

#[test]
fn recorded_frames_encode_to_themselves() {
    let mut seen = BTreeSet::new();
    for (client, lines) in FILES {
        for line in lines.lines() {
            let frame = Frame::parse(line);
            let again = encoded_again(&frame);
            assert_eq!(again, frame.bytes, "{client}: {} v{}", frame.api_key, frame.version);
            seen.insert((frame.api_key, frame.version, frame.is_request));
        }
    }
    assert!(seen.len() > 150, "only {} kinds of frames", seen.len());
}

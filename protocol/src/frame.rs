//! The four bytes in front of every request and response.
//!
//! The length is judged before one byte is allocated for the frame: what a TLS hello, an HTTP request
//! or garbage says where the length should be is refused here.

use crate::{
    codec::{EncodeError, Encoded, Writer},
    header::{RequestHeader, ResponseHeader},
    messages::{Message, Request},
};

/// Bytes of the length prefix.
pub const FRAME_PREFIX_BYTES: usize = 4;

/// `socket.request.max.bytes` unless configured.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 104_857_600;

/// Why a length prefix is refused; Kafka closes the connection for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is below zero.
    #[error("negative frame length {0}")]
    Negative(i32),
    /// The length is beyond the limit.
    #[error("frame of {length} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Bytes announced.
        length: usize,
        /// Bytes allowed (`socket.request.max.bytes`).
        limit: usize,
    },
}

/// The length of the frame behind `prefix`, if it is between 0 and `limit` bytes.
///
/// # Errors
/// [`FrameError`] says which bound the length breaks.
pub fn frame_length(prefix: [u8; FRAME_PREFIX_BYTES], limit: usize) -> Result<usize, FrameError> {
    let signed = i32::from_be_bytes(prefix);
    let length = usize::try_from(signed).map_err(|_| FrameError::Negative(signed))?;
    if length > limit {
        return Err(FrameError::TooLarge { length, limit });
    }
    Ok(length)
}

/// A whole request frame: length, header, body.
///
/// # Errors
/// [`EncodeError`] when the body cannot be written in `version`.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Encoded, EncodeError> {
    let mut writer = Writer::framed();
    let header = RequestHeader {
        api_key: R::API_KEY,
        api_version: version,
        correlation_id,
        client_id: client_id.map(str::to_owned),
    };
    header.encode(&mut writer)?;
    request.encode(&mut writer, version)?;
    writer.finish_frame()
}

/// A whole response frame to a request `R`: length, header, body.
///
/// # Errors
/// [`EncodeError`] when the body cannot be written in `version`.
pub fn encode_response<R: Request>(
    response: &R::Response,
    version: i16,
    correlation_id: i32,
) -> Result<Encoded, EncodeError> {
    let mut writer = Writer::framed();
    ResponseHeader { correlation_id }.encode(&mut writer, R::API_KEY, version);
    response.encode(&mut writer, version)?;
    writer.finish_frame()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        codec::Reader,
        messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse},
    };

    #[test]
    fn length_is_between_zero_and_the_limit() {
        assert_eq!(frame_length([0, 0, 0, 0], 10), Ok(0));
        assert_eq!(frame_length([0, 0, 0, 10], 10), Ok(10));
        let too_large = FrameError::TooLarge { length: 11, limit: 10 };
        assert_eq!(frame_length([0, 0, 0, 11], 10), Err(too_large));
        assert_eq!(frame_length([0xff; 4], 10), Err(FrameError::Negative(-1)));
    }

    #[test]
    fn other_protocols_are_refused_by_their_first_four_bytes() {
        for prefix in [*b"GET ", *b"POST", *b"PRI ", *b"SSH-"] {
            assert!(frame_length(prefix, FRAME_BYTES_MAX_DEFAULT).is_err());
        }
        let tls_hello = [0x16, 0x03, 0x01, 0x02];
        assert!(frame_length(tls_hello, FRAME_BYTES_MAX_DEFAULT).is_err());
    }

    #[test]
    fn request_frame_is_length_header_body() {
        let request = ApiVersionsRequest {
            client_software_name: "kcat".into(),
            client_software_version: "1".into(),
        };
        let frame = encode_request(&request, 3, 7, Some("me")).unwrap();
        assert_eq!(
            frame.to_bytes().as_ref(),
            b"\0\0\0\x15\0\x12\0\x03\0\0\0\x07\0\x02me\0\x05kcat\x021\0"
        );
    }

    #[test]
    fn api_versions_answers_with_the_oldest_header_even_when_flexible() {
        let frame =
            encode_response::<ApiVersionsRequest>(&ApiVersionsResponse::default(), 3, 9).unwrap();
        let mut reader = Reader::new(frame.to_bytes().slice(FRAME_PREFIX_BYTES..));
        assert_eq!(reader.i32().unwrap(), 9);
        let body = ApiVersionsResponse::decode(&mut reader, 3).unwrap();
        assert_eq!(body, ApiVersionsResponse::default());
        assert_eq!(reader.remaining(), 0);
    }
}

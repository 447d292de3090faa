//! The headers in front of every request and response body.
//!
//! Which of their versions applies follows from the API and its version alone (`api_key`), so a header
//! is read without knowing anything else about the connection.

use crate::{
    api_key::ApiKey,
    codec::{DecodeError, EncodeError, Reader, Writer},
};

/// The header of a request, version 1, or 2 in flexible versions of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API asked for.
    pub api_key: ApiKey,
    /// Its version; decoding does not check that it is one that the broker supports.
    pub api_version: i16,
    /// Chosen by the client, repeated in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Reads the header and leaves the reader at the body.
    ///
    /// `ApiVersions` of a version that does not exist yet is readable too: header 2 has been stable
    /// since KIP-511, which is what lets the broker answer it with version 0.
    ///
    /// # Errors
    /// [`DecodeError::UnknownApiKey`] for an API that is not in the table, which Kafka answers by
    /// closing the connection, as it does for a header that is cut short.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let code = reader.i16()?;
        let api_key = ApiKey::try_from(code).map_err(|_| DecodeError::UnknownApiKey(code))?;
        let header = Self {
            api_key,
            api_version: reader.i16()?,
            correlation_id: reader.i32()?,
            // Two bytes of length in both versions: an old broker must be able to read it.
            client_id: reader.nullable_string(false)?,
        };
        if api_key.request_header_version(header.api_version) >= 2 {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(header)
    }

    /// Appends the header.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when the client id is longer than 32767 bytes.
    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.i16(self.api_key.code());
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        writer.nullable_string(self.client_id.as_deref(), false, "client_id")?;
        if self.api_key.request_header_version(self.api_version) >= 2 {
            writer.unsigned_varint(0);
        }
        Ok(())
    }
}

/// The header of a response, version 0, or 1 in flexible versions of an API other than ApiVersions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The correlation id of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header of an answer to `api_key` in `api_version`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is cut short.
    pub fn decode(
        reader: &mut Reader,
        api_key: ApiKey,
        api_version: i16,
    ) -> Result<Self, DecodeError> {
        let correlation_id = reader.i32()?;
        if api_key.response_header_version(api_version) >= 1 {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { correlation_id })
    }

    /// Appends the header of an answer to `api_key` in `api_version`.
    pub fn encode(self, writer: &mut Writer, api_key: ApiKey, api_version: i16) {
        writer.i32(self.correlation_id);
        if api_key.response_header_version(api_version) >= 1 {
            writer.unsigned_varint(0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;

    fn decode(bytes: &'static [u8]) -> Result<RequestHeader, DecodeError> {
        RequestHeader::decode(&mut Reader::new(Bytes::from_static(bytes)))
    }

    #[test]
    fn header_version_follows_from_api_and_version() {
        assert_eq!(ApiKey::Produce.request_header_version(8), 1);
        assert_eq!(ApiKey::Produce.request_header_version(9), 2);
        assert_eq!(ApiKey::Produce.response_header_version(8), 0);
        assert_eq!(ApiKey::Produce.response_header_version(9), 1);
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
    }

    #[test]
    fn every_api_and_version_round_trips() {
        for api_key in ApiKey::ALL {
            for api_version in 0..=api_key.max_version() {
                for client_id in [None, Some(String::new()), Some("rdkafka".to_owned())] {
                    let header = RequestHeader {
                        api_key: *api_key,
                        api_version,
                        correlation_id: -3,
                        client_id,
                    };
                    let mut writer = Writer::new();
                    header.encode(&mut writer).unwrap();
                    let mut reader = Reader::new(writer.finish().to_bytes());
                    assert_eq!(RequestHeader::decode(&mut reader).unwrap(), header);
                    assert_eq!(reader.remaining(), 0);
                }
            }
        }
    }

    #[test]
    fn tagged_fields_of_the_header_are_skipped() {
        let header = decode(b"\0\0\0\x09\0\0\0\x01\0\x01c\x02\x00\x01x\x05\x02yz").unwrap();
        assert_eq!(header.client_id.as_deref(), Some("c"));
    }

    #[test]
    fn unknown_api_and_short_header_are_errors() {
        assert_eq!(decode(b"\x03\xe7\0\0\0\0\0\0\0\0"), Err(DecodeError::UnknownApiKey(999)));
        assert!(matches!(decode(b"\0\x12\0"), Err(DecodeError::UnexpectedEnd { .. })));
    }
}

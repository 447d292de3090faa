//! What the record enums of both coordinators have in common: bytes to variants and back.

use bytes::Bytes;
use protocol::{
    DecodeError, EncodeError,
    coordinator_records::{RecordKey, decode_key, decode_value, encode_key, encode_value},
};

use crate::shard::{EncodedRecord, RecordError};

/// Declares an enum with a variant per record type and its [`LogRecord`](crate::shard::LogRecord);
/// behind each type stands a function from the value to the version that it is written in.
macro_rules! coordinator_records {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$variant_about:meta])* $variant:ident($key:ty, $value:ty) in $version:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $($(#[$variant_about])* $variant($key, Option<$value>),)*
        }

        impl LogRecord for $name {
            fn encode(&self) -> Result<EncodedRecord, RecordError> {
                match self {
                    $(Self::$variant(key, value) => {
                        crate::records::encode::<$key>(key, value.as_ref(), $version)
                    })*
                }
            }

            fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Self>, RecordError> {
                $(const _: () = assert!(
                    <$key as protocol::messages::Message>::MAX_VERSION == 0,
                    "keys have one version"
                );)*
                let record_type = crate::records::record_type(key)?;
                $(if record_type
                    == <$key as protocol::coordinator_records::RecordKey>::RECORD_TYPE
                {
                    let (key, value) = crate::records::decode::<$key>(key, value)?;
                    return Ok(Some(Self::$variant(key, value)));
                })*
                Ok(None)
            }
        }
    };
}

pub(crate) use coordinator_records;

pub(crate) fn encode<K: RecordKey>(
    key: &K,
    value: Option<&K::Value>,
    version: impl Fn(&K::Value) -> i16,
) -> Result<EncodedRecord, RecordError> {
    let failed =
        |error: EncodeError| RecordError { record_type: K::RECORD_TYPE, reason: error.to_string() };
    let value = value.map(|value| encode_value(value, version(value))).transpose();
    Ok(EncodedRecord { key: encode_key(key).map_err(failed)?, value: value.map_err(failed)? })
}

pub(crate) fn decode<K: RecordKey>(
    key: &Bytes,
    value: Option<&Bytes>,
) -> Result<(K, Option<K::Value>), RecordError> {
    let failed = |part: &str, error: DecodeError| RecordError {
        record_type: K::RECORD_TYPE,
        reason: format!("{part}: {error}"),
    };
    let key = decode_key::<K>(key).map_err(|error| failed("key", error))?;
    let value = value.map(decode_value::<K::Value>).transpose();
    Ok((key, value.map_err(|error| failed("value", error))?))
}

pub(crate) fn record_type(key: &Bytes) -> Result<i16, RecordError> {
    protocol::coordinator_records::prefix(key).ok_or_else(|| RecordError {
        record_type: -1,
        reason: format!("a key of {} bytes has no type", key.len()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::shard::LogRecord;

    fn bytes(hex: &str) -> Option<Bytes> {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (hex != "-").then(|| (0..hex.len()).step_by(2).map(byte).collect())
    }

    /// Reads the lines of a golden file, each of which must be written as it was.
    pub(crate) fn golden<R: LogRecord>(lines: &str) -> Vec<R> {
        let read = |line: &str| {
            let (key, value) = line.split_once(' ').unwrap();
            let written = EncodedRecord { key: bytes(key).unwrap(), value: bytes(value) };
            let record = R::decode(&written.key, written.value.as_ref()).unwrap().unwrap();
            assert_eq!(record.encode().unwrap(), written, "{record:?}");
            record
        };
        lines.lines().map(read).collect()
    }
}

//! Kafka's requests and responses as Rust structs, one module per API.
//!
//! `protocol::messages::fetch` holds `FetchRequest`, `FetchResponse` and the structs in them, under
//! the names of Kafka's own definitions (where both directions use one name, the response's struct
//! has the suffix `Response`). The modules are generated; the rules are in
//! `docs/rfcs/0001-protocol-messages.md`. What to know when using them:
//!
//! - `Default` is the definition's default. A nullable field without a default of null is empty, not
//!   `None`; spell out such fields in responses.
//! - Decoding leaves fields that a version lacks at their defaults. Encoding skips them if they are
//!   ignorable, and fails if they are not and hold something else than the default.
//! - Bytes after the last field are ignored, unknown tagged fields dropped, as in Kafka.

mod generated;

#[cfg(test)]
mod tests;

use crate::{
    api_key::ApiKey,
    codec::{DecodeError, EncodeError, Reader, Writer},
};

pub use self::generated::*;

/// A request or response that can be read and written in each of its versions.
pub trait Message:
    Sized + Default + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static
{
    /// The definition's name, such as `FetchRequest`.
    const NAME: &'static str;
    /// The lowest version that the definition describes.
    const MIN_VERSION: i16;
    /// The highest version that the definition describes.
    const MAX_VERSION: i16;
    /// The first flexible version (KIP-482), if there is one.
    const FLEXIBLE_VERSION_MIN: Option<i16>;

    /// Reads the message; what follows it stays in the reader.
    ///
    /// # Errors
    /// [`DecodeError`] when the version does not exist or the bytes are not such a message.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Appends the message.
    ///
    /// # Errors
    /// [`EncodeError`] when the version does not exist or cannot carry what is set.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Whether the definition describes `version`.
    fn has_version(version: i16) -> bool {
        (Self::MIN_VERSION..=Self::MAX_VERSION).contains(&version)
    }

    /// Fails unless `version` exists.
    ///
    /// # Errors
    /// [`DecodeError::UnsupportedVersion`].
    fn check_decodable(version: i16) -> Result<(), DecodeError> {
        if Self::has_version(version) {
            return Ok(());
        }
        Err(DecodeError::UnsupportedVersion { message: Self::NAME, version })
    }

    /// Fails unless `version` exists.
    ///
    /// # Errors
    /// [`EncodeError::UnsupportedVersion`].
    fn check_encodable(version: i16) -> Result<(), EncodeError> {
        if Self::has_version(version) {
            return Ok(());
        }
        Err(EncodeError::UnsupportedVersion { message: Self::NAME, version })
    }
}

/// A message that a client sends.
pub trait Request: Message {
    /// The API that the request belongs to.
    const API_KEY: ApiKey;
    /// What the broker answers.
    type Response: Message;
}

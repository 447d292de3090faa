//! The bytes that classic consumers exchange through JoinGroup and SyncGroup: a version and then the
//! subscription or the assignment.
//!
//! New versions only append fields, so bytes of a newer version are read as the newest known one.

use bytes::Bytes;

use super::{
    consumer_protocol_assignment::ConsumerProtocolAssignment,
    consumer_protocol_subscription::ConsumerProtocolSubscription, encode_value,
};
use crate::{
    codec::{DecodeError, EncodeError, Reader},
    messages::Message,
};

/// Reads a member's subscription and the version that it was written in.
///
/// # Errors
/// [`DecodeError`] when the bytes are no subscription, as with members that are no consumers.
pub fn decode_subscription(
    bytes: &Bytes,
) -> Result<(i16, ConsumerProtocolSubscription), DecodeError> {
    decode(bytes)
}

/// Reads a member's assignment and the version that it was written in.
///
/// # Errors
/// [`DecodeError`] when the bytes are no assignment.
pub fn decode_assignment(bytes: &Bytes) -> Result<(i16, ConsumerProtocolAssignment), DecodeError> {
    decode(bytes)
}

/// A subscription in `version`.
///
/// # Errors
/// [`EncodeError`] when the version does not exist.
pub fn encode_subscription(
    subscription: &ConsumerProtocolSubscription,
    version: i16,
) -> Result<Bytes, EncodeError> {
    encode_value(subscription, version)
}

/// An assignment in `version`.
///
/// # Errors
/// [`EncodeError`] when the version does not exist.
pub fn encode_assignment(
    assignment: &ConsumerProtocolAssignment,
    version: i16,
) -> Result<Bytes, EncodeError> {
    encode_value(assignment, version)
}

fn decode<M: Message>(bytes: &Bytes) -> Result<(i16, M), DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?;
    Ok((version, M::decode(&mut reader, version.min(M::MAX_VERSION))?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_read_as_the_newest_known_one() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["orders".into()],
            user_data: None,
            generation_id: 7,
            rack_id: Some("a".into()),
            ..ConsumerProtocolSubscription::default()
        };
        let mut bytes = encode_subscription(&subscription, 3).unwrap().to_vec();
        bytes[1] = 9;
        bytes.extend_from_slice(b"what a later version appends");
        assert_eq!(decode_subscription(&bytes.into()).unwrap(), (9, subscription));
    }

    #[test]
    fn a_negative_version_is_refused() {
        let bytes = Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0]);
        assert!(decode_assignment(&bytes).is_err());
    }
}

//! The part of a consumer's subscription that a coordinator understands: its topics.
//!
//! Metadata of protocol type `consumer` begins with a version and the topics, in every version
//! (`ConsumerProtocolSubscription`), so version 0 is all that needs to be read.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::{DecodeError, Reader};

/// The protocol type of consumers.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The topics that a member subscribes to.
pub(super) fn topics(metadata: &Bytes) -> Result<BTreeSet<String>, DecodeError> {
    let mut reader = Reader::new(metadata.clone());
    reader.i16()?;
    let topics = reader.array(false, 2, "topics", |reader| reader.string(false, "topic"))?;
    Ok(topics.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_topics_of_any_version() {
        let version_1 =
            b"\x00\x01\x00\x00\x00\x02\x00\x01b\x00\x01a\xff\xff\xff\xff\x00\x00\x00\x00";
        let topics = topics(&Bytes::from_static(version_1)).unwrap();
        assert_eq!(topics, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn refuses_what_is_no_subscription() {
        for garbage in [b"".as_slice(), b"\x00", b"\x00\x00\x00\x00\x00\x05\x00\x01a"] {
            assert!(topics(&Bytes::copy_from_slice(garbage)).is_err(), "{garbage:?}");
        }
    }
}

//! Kafka's rules for topic names, with Kafka's messages (`Topic.validate`), and the collision of
//! names that differ only in `.` and `_`.

use common::limits::TOPIC_NAME_LEN_MAX;

/// Checks a topic name.
///
/// # Errors
/// Kafka's message for `INVALID_TOPIC_EXCEPTION`.
pub fn validate(name: &str) -> Result<(), String> {
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if matches!(name, "." | "..") {
        format!("'{name}' is not allowed")
    } else if name.len() > TOPIC_NAME_LEN_MAX {
        format!("the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LEN_MAX}")
    } else if !name.bytes().all(is_legal) {
        format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        )
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {why}"))
}

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether two different names would be one to metrics, which know no difference between `.` and
/// `_`.
#[must_use]
pub fn collides(one: &str, other: &str) -> bool {
    let unified = |byte: u8| if byte == b'.' { b'_' } else { byte };
    one != other && one.bytes().map(unified).eq(other.bytes().map(unified))
}

/// Kafka's topic of group offsets.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Kafka's topic of transaction state.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// Kafka's topic of share group state.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";
/// Kafka's metadata log, which is no topic here.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Whether a topic belongs to the broker's own coordinators.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn accepts_what_kafka_accepts() {
        for name in ["a", "...", "_", "-", "A.b_c-9", &"x".repeat(249)] {
            validate(name).unwrap();
        }
    }

    #[test]
    fn messages_are_those_of_kafka() {
        let message = |name: &str| validate(name).unwrap_err();
        assert_eq!(message(""), "Topic name is invalid: the empty string is not allowed");
        assert_eq!(message("."), "Topic name is invalid: '.' is not allowed");
        assert_eq!(message(".."), "Topic name is invalid: '..' is not allowed");
        assert_eq!(
            message("bad name"),
            "Topic name is invalid: 'bad name' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'"
        );
        assert!(message("t\u{e9}").contains("contains one or more"));
        let long = "x".repeat(250);
        assert_eq!(
            message(&long),
            format!(
                "Topic name is invalid: the length of '{long}' is longer than the max allowed \
                 length 249"
            )
        );
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert!(collides("a.b", "a_b") && collides("a_b", "a.b"));
        assert!(!collides("a.b", "a.b") && !collides("a-b", "a_b") && !collides("a.b", "a.bc"));
    }

    #[test]
    fn coordinators_topics_are_internal() {
        assert!(is_internal("__consumer_offsets") && is_internal("__transaction_state"));
        assert!(!is_internal("__consumer_offsets_") && !is_internal(CLUSTER_METADATA));
    }
}

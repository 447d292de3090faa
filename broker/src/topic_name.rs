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
        format!(
            "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LEN_MAX}"
        )
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

/// What two colliding names have in common: metrics know no difference between `.` and `_`.
#[must_use]
pub fn unify(name: &str) -> String {
    name.replace('.', "_")
}

/// Whether a name has a character that can make it collide with another.
#[must_use]
pub fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
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
        assert_eq!(unify("a.b"), unify("a_b"));
        assert_ne!(unify("a-b"), unify("a_b"));
        assert!(may_collide("a.b") && !may_collide("a-b"));
    }
}

//! Which errors of a send guarantee that nothing was appended.
//!
//! Invariant: whatever is not listed counts as "may have happened". Adding a name here shrinks what
//! the checker must allow for, so each needs an argument: the broker decides it before it appends,
//! and no earlier attempt of the same batch can have been applied.

/// Errors, by librdkafka's or Kafka's name, after which the record is certainly not in the log.
const NOT_APPLIED: &[&str] = &[
    // Refused by validation, on every attempt alike.
    "MSG_SIZE_TOO_LARGE",
    "MESSAGE_TOO_LARGE",
    "RECORD_LIST_TOO_LARGE",
    "INVALID_RECORD",
    "INVALID_TIMESTAMP",
    "INVALID_MSG",
    "CORRUPT_MESSAGE",
    "UNSUPPORTED_COMPRESSION_TYPE",
    "UNSUPPORTED_VERSION",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    // Refused before the log is reached.
    "TOPIC_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TOPIC_EXCEPTION",
    "INVALID_TOPIC_EXCEPTION",
    "INVALID_REQUIRED_ACKS",
    // Never left the client.
    "_MSG_SIZE_TOO_LARGE",
    "_QUEUE_FULL",
    "_PURGE_QUEUE",
];

/// Whether an error with this name proves that the send was not applied.
pub fn is_definite_failure(error: &str) -> bool {
    NOT_APPLIED.contains(&error)
}

#[cfg(test)]
mod tests {
    use super::is_definite_failure;

    #[test]
    fn an_unknown_outcome_is_not_a_failure() {
        for error in [
            "_MSG_TIMED_OUT",
            "_TRANSPORT",
            "_PURGE_INFLIGHT",
            "REQUEST_TIMED_OUT",
            "NOT_LEADER_FOR_PARTITION",
            "KAFKA_STORAGE_ERROR",
            "OUT_OF_ORDER_SEQUENCE_NUMBER",
            "UNKNOWN",
        ] {
            assert!(!is_definite_failure(error), "{error}");
        }
        assert!(is_definite_failure("MSG_SIZE_TOO_LARGE"));
    }
}

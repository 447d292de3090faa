//! The rules that hold for each record of a produced batch.
//!
//! One [`RecordCheck`] sees every record of a batch in order, from whichever walk, and keeps what the
//! walk teaches: the largest timestamp and which records are at fault.

use bytes::Bytes;

use super::{
    super::batch::{BatchHeader, NO_TIMESTAMP, TimestampType},
    ProducePolicy, RecordViolation, ValidatedRecords, ValidationError, ValidationErrorKind,
};

/// How many records an error names one by one; a batch of a million bad records must not become a
/// response of a hundred megabytes.
pub(super) const RECORD_VIOLATIONS_MAX: usize = 1_000;

/// The rules that hold for each record, and what is learned by walking all of them.
pub(super) struct RecordCheck<'p> {
    pub(super) header: BatchHeader,
    policy: &'p ProducePolicy,
    now_ms: i64,
    next_index: i32,
    max_timestamp: i64,
    max_timestamp_index: i32,
    violations: Vec<RecordViolation>,
    violations_count: usize,
    any_invalid_timestamp: bool,
}

impl<'p> RecordCheck<'p> {
    pub(super) fn new(header: &BatchHeader, policy: &'p ProducePolicy, now_ms: i64) -> Self {
        Self {
            header: *header,
            policy,
            now_ms,
            next_index: 0,
            max_timestamp: NO_TIMESTAMP,
            max_timestamp_index: 0,
            violations: Vec::new(),
            violations_count: 0,
            any_invalid_timestamp: false,
        }
    }

    #[inline]
    pub(super) fn observe(&mut self, offset_delta: i32, timestamp_delta: i64, has_key: bool) {
        let index = self.next_index;
        self.next_index += 1;
        let timestamp = self.header.record_timestamp(timestamp_delta);
        if self.policy.compacted && !has_key {
            self.violation(index, "Compacted topic cannot accept message without key".to_owned());
        } else if self.header.timestamp_type() == TimestampType::LogAppendTime {
            self.any_invalid_timestamp = true;
            self.violation(
                index,
                "Invalid timestamp type in message. Producer should not set timestamp type to \
                 LogAppendTime."
                    .to_owned(),
            );
        } else if !self.timestamp_in_window(timestamp) {
            self.invalid_timestamp(index, offset_delta, timestamp);
        } else if offset_delta != index {
            self.offset_gap(index, offset_delta);
        } else if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.max_timestamp_index = index;
        }
    }

    /// Wraps around as Kafka does, so that times which no clock ever showed are out of the window.
    #[inline]
    fn timestamp_in_window(&self, timestamp: i64) -> bool {
        if self.policy.timestamp_type == TimestampType::LogAppendTime || timestamp == NO_TIMESTAMP {
            return true;
        }
        let age = self.now_ms.wrapping_sub(timestamp);
        age <= self.policy.timestamp_before_max_ms
            && age.wrapping_neg() <= self.policy.timestamp_after_max_ms
    }

    #[cold]
    fn invalid_timestamp(&mut self, index: i32, offset_delta: i32, timestamp: i64) {
        self.any_invalid_timestamp = true;
        let earliest = self.now_ms.saturating_sub(self.policy.timestamp_before_max_ms);
        let latest = self.now_ms.saturating_add(self.policy.timestamp_after_max_ms);
        self.violation(
            index,
            format!(
                "Timestamp {timestamp} of message with offset {offset_delta} is out of range. The \
                 timestamp should be within [{earliest}, {latest}]"
            ),
        );
    }

    #[cold]
    fn offset_gap(&mut self, index: i32, offset_delta: i32) {
        self.violation(
            index,
            format!("Offset delta of the record should be {index}, but it is {offset_delta}"),
        );
    }

    #[cold]
    fn violation(&mut self, batch_index: i32, message: String) {
        self.violations_count += 1;
        if self.violations.len() < RECORD_VIOLATIONS_MAX {
            self.violations.push(RecordViolation { batch_index, message });
        }
    }

    /// Fails if any record was found wrong.
    pub(super) fn finish(&mut self) -> Result<(), ValidationError> {
        if self.violations_count == 0 {
            return Ok(());
        }
        let record_errors = std::mem::take(&mut self.violations);
        if self.any_invalid_timestamp {
            return Err(ValidationError {
                kind: ValidationErrorKind::InvalidTimestamp,
                message: "One or more records have been rejected due to invalid timestamp"
                    .to_owned(),
                record_errors,
            });
        }
        let first: Vec<&str> =
            record_errors.iter().take(3).map(|error| error.message.as_str()).collect();
        let message = format!(
            "One or more records have been rejected due to {} record errors in total, and only \
             showing the first three errors at most: [{}]",
            self.violations_count,
            first.join(", ")
        );
        let kind = ValidationErrorKind::InvalidRecord;
        Err(ValidationError { kind, message, record_errors })
    }

    pub(super) fn into_validated(self, bytes: Bytes, uncompressed_bytes: u64) -> ValidatedRecords {
        let (max_timestamp, index) = match self.policy.timestamp_type {
            TimestampType::CreateTime => (self.max_timestamp, self.max_timestamp_index),
            TimestampType::LogAppendTime => (self.now_ms, 0),
        };
        ValidatedRecords {
            bytes,
            header: self.header,
            timestamp_type: self.policy.timestamp_type,
            max_timestamp,
            offset_delta_of_max_timestamp: index,
            rewritten: false,
            uncompressed_bytes,
        }
    }
}

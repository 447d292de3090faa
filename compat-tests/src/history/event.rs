//! One thing a client did or was told.
//!
//! Invariant: a value is unique for the whole run and says who sent it and when in that sender's
//! order (`process << 40 | counter`), so the log alone shows reordering.

use serde::{Deserialize, Serialize};

/// Bits of a value that count the sender's records.
const COUNTER_BITS: u32 = 40;

/// How far an operation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It succeeded.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may have happened.
    Info,
    /// It ended with the named `error`; [`super::outcome`] tells whether that is a [`Self::Fail`]
    /// or an [`Self::Info`].
    Error,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// Records were produced.
    Send,
    /// Records were consumed by an assigned reader.
    Poll,
    /// The reader jumped: its next poll may start anywhere.
    Seek,
    /// Watermarks were asked for.
    ListOffsets,
    /// The broker was killed or restarted.
    Crash,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The client's number; one client does one thing after the other.
    pub process: u32,
    /// How far it got.
    pub kind: Kind,
    /// What was done.
    pub f: Function,
    /// Topic; empty where there is only one.
    #[serde(default)]
    pub topic: String,
    /// Partition.
    #[serde(default)]
    pub partition: i32,
    /// The unique values sent or read, in order.
    #[serde(default)]
    pub values: Vec<u64>,
    /// Where they are in the log, in the same order; empty if unknown.
    #[serde(default)]
    pub offsets: Vec<i64>,
    /// High watermark that came with a poll or ListOffsets.
    #[serde(default)]
    pub high_watermark: Option<i64>,
    /// Log start offset that came with a poll or ListOffsets.
    #[serde(default)]
    pub log_start: Option<i64>,
    /// Name of the error of [`Kind::Error`].
    #[serde(default)]
    pub error: Option<String>,
}

impl Event {
    /// An event of `process` on partition 0 of the only topic.
    pub fn new(process: u32, kind: Kind, f: Function, values: &[u64], offsets: &[i64]) -> Self {
        Self {
            process,
            kind,
            f,
            topic: String::new(),
            partition: 0,
            values: values.to_vec(),
            offsets: offsets.to_vec(),
            high_watermark: None,
            log_start: None,
            error: None,
        }
    }

    /// [`Kind::Error`] resolved by its name, every other kind as it is.
    pub fn outcome(&self) -> Kind {
        match (self.kind, self.error.as_deref()) {
            (Kind::Error, Some(error)) if super::outcome::is_definite_failure(error) => Kind::Fail,
            (Kind::Error, _) => Kind::Info,
            (kind, _) => kind,
        }
    }
}

/// The `counter`th value of `process`.
pub fn value(process: u32, counter: u64) -> u64 {
    u64::from(process) << COUNTER_BITS | counter
}

/// Who sent `value`.
pub fn process_of(value: u64) -> u64 {
    value >> COUNTER_BITS
}

/// Which of its sender's values `value` is.
pub fn counter(value: u64) -> u64 {
    value & ((1 << COUNTER_BITS) - 1)
}

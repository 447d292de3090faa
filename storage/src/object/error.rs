//! What can go wrong with objects, by who has to act: nobody (gone, unavailable), an operator
//! (damage, configuration).

use std::sync::Arc;

use common::{ObjectId, PartitionKey};

/// The result of an object operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an object could not be read, written or understood. Cheap to clone: one failed request may
/// have many waiters.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The object is not in the store (any more): whoever reads resolves its extent again.
    #[error("object {id} ({key}) does not exist any more")]
    Gone {
        /// The object.
        id: ObjectId,
        /// Its key in the store.
        key: String,
    },
    /// Bytes are not what was written. Never skipped; readers of this range go on failing.
    #[error("object {id} ({key}) is damaged at byte {position}{}: {reason}", of(partition.as_ref()))]
    Damaged {
        /// The object.
        id: ObjectId,
        /// Its key in the store.
        key: String,
        /// Where in the object.
        position: u64,
        /// Whose bytes they are, if that is known.
        partition: Option<PartitionKey>,
        /// What does not fit.
        reason: String,
    },
    /// The footer or trailer cannot be understood.
    #[error("footer of object {id} ({key}): {source}")]
    Format {
        /// The object.
        id: ObjectId,
        /// Its key in the store.
        key: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The object does not hold what the metadata says.
    #[error("object {id} ({key}) does not hold offset {offset} of partition {partition}")]
    NotHeld {
        /// The object.
        id: ObjectId,
        /// Its key in the store.
        key: String,
        /// The partition.
        partition: PartitionKey,
        /// The offset asked for.
        offset: i64,
    },
    /// The store did not answer, or refused, within the budget of attempts.
    #[error("{operation} {key}: {source}")]
    Store {
        /// What was tried: `get`, `put`, …
        operation: &'static str,
        /// The key, or the prefix of a listing.
        key: String,
        /// The last attempt's failure.
        source: Arc<object_store::Error>,
    },
    /// The store did not answer within the timeout of the last attempt.
    #[error("{operation} {key}: no answer within {timeout_ms} ms")]
    Timeout {
        /// What was tried.
        operation: &'static str,
        /// The key, or the prefix of a listing.
        key: String,
        /// The timeout of one attempt.
        timeout_ms: u64,
    },
    /// A key that was never used before is taken by other bytes.
    #[error("{key} exists with other contents")]
    ForeignContents {
        /// The key.
        key: String,
    },
    /// The store's URL or one of its options.
    #[error("object store {url}: {reason}")]
    Configuration {
        /// The URL, without credentials.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A local file failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// The system's error.
        source: Arc<std::io::Error>,
    },
    /// A range of the WAL that should become an object does not scan.
    #[error("range {from}..{to} of WAL file {file_id} at byte {position}: {reason}")]
    Source {
        /// The WAL file.
        file_id: u64,
        /// Start of the range.
        from: u64,
        /// End of the range.
        to: u64,
        /// Where the scan stopped.
        position: u64,
        /// What does not fit.
        reason: String,
    },
}

/// Why bytes are no footer of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// They end too early.
    #[error("truncated")]
    Truncated,
    /// The magic is another.
    #[error("not an object of StreamHouse")]
    NotAnObject,
    /// The version is not known to this build.
    #[error("format version {0} is newer than this build")]
    UnsupportedVersion(u16),
    /// Incompatible features are set that this build does not know.
    #[error("incompatible features {0:#x} are not known to this build")]
    UnsupportedFeatures(u32),
    /// A footer larger than any that is written.
    #[error("footer of {bytes} bytes is too large")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
    },
    /// The checksum does not fit.
    #[error("checksum {computed:#010x} instead of {stored:#010x}")]
    BadChecksum {
        /// As stored.
        stored: u32,
        /// Of the bytes read.
        computed: u32,
    },
    /// The contents contradict themselves.
    #[error("{0}")]
    Invalid(&'static str),
}

fn of(partition: Option<&PartitionKey>) -> String {
    partition.map(|key| format!(" (partition {key})")).unwrap_or_default()
}

//! What can go wrong between the log and a table.

use deltalake::DeltaTableError;
use table::{decode::DecodeError, reader::ReadChunkError, table::TableError};

/// Why a table did not get further. The committer starts over from what the table holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The object store or the Delta log refused or failed.
    #[error("delta: {0}")]
    Delta(#[from] DeltaTableError),
    /// The object store refused or failed.
    #[error("object store: {0}")]
    Store(#[from] object_store::Error),
    /// The log could not be read.
    #[error("log: {0}")]
    Read(#[from] ReadChunkError),
    /// Records are damaged.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// Schema or state could not be read or written.
    #[error("{0}")]
    Table(#[from] TableError),
    /// Arrow refused rows.
    #[error("rows: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The expression that mends dead letters failed on one of them.
    #[error("fix: {0}")]
    Fix(String),
    /// A file lacks a column that all of its table have.
    #[error("a file has no column {0}")]
    NoColumn(String),
    /// A file is no longer the table's.
    #[error("the table no longer has its file {0}: others changed it")]
    NoFile(String),
    /// Others commit all the time.
    #[error("the table moved on {0} times while these rows were to be committed")]
    Contended(usize),
    /// Another writer got further with a partition than the rows at hand build on.
    #[error(
        "partition {partition} of the table is at offset {found}, not at {expected} as these rows \
         need"
    )]
    Overtaken {
        /// The partition.
        partition: i32,
        /// The progress that the rows build on.
        expected: i64,
        /// The progress that the table has.
        found: i64,
    },
}

//! SQLite's failures in the store's terms: what is certain, what may be tried again, and what is
//! unknown.

use sqlx::{error::DatabaseError, migrate::MigrateError};

use crate::error::Error;

// https://sqlite.org/rescode.html: the low byte of an extended code is the primary code.
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;

/// A failure before the commit: nothing was changed.
pub(crate) fn before_commit(error: sqlx::Error) -> Error {
    match primary_code(&error) {
        Some(SQLITE_BUSY | SQLITE_LOCKED) => Error::Busy(error.to_string()),
        Some(SQLITE_FULL) => Error::StorageFull(error.to_string()),
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => Error::Corrupt(error.to_string()),
        _ => match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Error::Corrupt(error.to_string())
            }
            other => Error::Io(other.to_string()),
        },
    }
}

/// A failure of the commit itself: only a full disk and a busy lock are known to have kept it
/// from happening.
pub(crate) fn at_commit(error: sqlx::Error) -> Error {
    match before_commit(error) {
        definite @ (Error::Busy(_) | Error::StorageFull(_)) => definite,
        other => Error::UnknownOutcome(other.to_string()),
    }
}

/// A failure to bring the schema up to date.
pub(crate) fn of_migration(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            before_commit(error)
        }
        MigrateError::VersionMissing(version) => Error::NewerFormat {
            found: format!("schema migration {version}"),
            supported: super::FORMAT_VERSION.to_string(),
        },
        other => Error::Corrupt(format!("schema: {other}")),
    }
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error().and_then(DatabaseError::code)?;
    let extended: u32 = code.parse().ok()?;
    Some(extended & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_unknown_cause_is_definite_before_the_commit_and_unknown_at_it() {
        let error = || sqlx::Error::Io(std::io::Error::other("fsync failed"));
        assert!(matches!(before_commit(error()), Error::Io(_)));
        assert!(matches!(at_commit(error()), Error::UnknownOutcome(_)));
        assert!(matches!(at_commit(sqlx::Error::WorkerCrashed), Error::UnknownOutcome(_)));
    }
}

//! The file seam of the WAL (design D12): what it asks of a directory and of a file. The operating
//! system's answer is in `os_fs`, the simulator's in `sim_fs`; one suite runs both.
//!
//! Invariant: when [`WalFs::create`] returns, the file's blocks exist on disk, zeroed, its head is
//! synced and so is its name; a name that ends in `.log` is never seen without a whole head.

use std::{fmt, io, os::fd::BorrowedFd, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

/// The directory of the WAL.
#[async_trait]
pub trait WalFs: Send + Sync + fmt::Debug {
    /// The names in the directory, sorted.
    async fn list(&self) -> io::Result<Vec<String>>;

    /// A new file of `len` bytes: `head`, then zeroes, written as fast as `pace` allows. Allocated,
    /// written and synced under a temporary name, then renamed, and the directory synced. On an
    /// error, that of `pace` included, nothing is left.
    async fn create(
        &self,
        name: &str,
        len: u64,
        head: Bytes,
        pace: &dyn Pace,
    ) -> io::Result<Box<dyn WalFile>>;

    /// Opens a file for reading and writing.
    async fn open(&self, name: &str) -> io::Result<Box<dyn WalFile>>;

    /// Unlinks a file; `NotFound` where it is gone already.
    async fn remove(&self, name: &str) -> io::Result<()>;

    /// Moves a file out of the directory to `destination` (same file system), creating parent
    /// directories, and syncs both directories. Fails where `destination` exists.
    async fn rename_out(&self, name: &str, destination: &Path) -> io::Result<()>;

    /// Syncs the directory: names that were added or removed before are durable.
    async fn sync_dir(&self) -> io::Result<()>;

    /// Bytes that an unprivileged process may still allocate.
    async fn free_bytes(&self) -> io::Result<u64>;
}

/// How fast a new file is filled with zeroes: at full speed they would stand in the way of the
/// log's own syncs.
#[async_trait]
pub trait Pace: Send + Sync {
    /// Waits until the file may be zeroed up to `to`, and gives how far it may be then.
    ///
    /// # Errors
    /// Where the file is not wanted any more.
    async fn reached(&self, to: u64) -> io::Result<u64>;
}

/// Full speed.
#[derive(Debug)]
pub struct AtOnce;

#[async_trait]
impl Pace for AtOnce {
    async fn reached(&self, _to: u64) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// An open file. One writer at a time.
#[async_trait]
pub trait WalFile: Send + Sync + fmt::Debug {
    /// Writes all of `parts`, one after the other, at `position`. After an error any part of them
    /// may be in the file.
    async fn write_at(&mut self, position: u64, parts: &[Bytes]) -> io::Result<()>;

    /// Makes the data and length durable (`fdatasync`). After an error nothing may be assumed about
    /// what was written since the last success, ever.
    async fn sync_data(&mut self) -> io::Result<()>;

    /// Cuts or extends the file to `len` bytes.
    async fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// A reader that stays valid when this handle goes, and after a rename or unlink.
    fn reader(&self) -> io::Result<Arc<dyn WalRead>>;
}

/// Reads of a file, from any thread.
#[allow(clippy::len_without_is_empty, reason = "the length of a file is asked of the system")]
pub trait WalRead: Send + Sync + fmt::Debug {
    /// Exactly `len` bytes at `position`; `UnexpectedEof` past the end. May block.
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes>;

    /// Fills `buffer` with the bytes at `position`; `UnexpectedEof` past the end. May block.
    fn read_exact_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(&self.read_at(position, buffer.len())?);
        Ok(())
    }

    /// Fills `buffer` from `position`, past the page cache where the file system allows it and
    /// position, length and memory are aligned: for bytes that nobody reads a second time.
    fn read_once(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(position, buffer)
    }

    /// The open file, where it is one of the operating system.
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Bytes of the file now.
    fn len(&self) -> io::Result<u64>;
}

/// The names of files in the WAL directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileName {
    /// A log file with this number.
    Log(u64),
    /// What a preparation left behind.
    Temporary,
    /// None of ours.
    Foreign,
}

impl FileName {
    /// The name of the log file `id`.
    #[must_use]
    pub fn log(id: u64) -> String {
        format!("wal-{id:016x}.log")
    }

    /// The name under which a file is prepared before it gets `name`.
    #[must_use]
    pub fn temporary(name: &str) -> String {
        format!("{name}.tmp")
    }

    /// What `name` says.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        if name.starts_with("wal-") && name.ends_with(".log.tmp") {
            return Self::Temporary;
        }
        let id = name.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".log"));
        let id = id.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        id.filter(|id| Self::log(*id) == name).map_or(Self::Foreign, Self::Log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_name_is_a_log_file() {
        assert_eq!(FileName::parse(&FileName::log(0x2a)), FileName::Log(0x2a));
        assert_eq!(FileName::log(0x2a), "wal-000000000000002a.log");
        for name in ["wal-2a.log", "wal-000000000000002A.log", "wal-+00000000000002a.log", "x"] {
            assert_eq!(FileName::parse(name), FileName::Foreign, "{name}");
        }
        assert_eq!(FileName::parse("wal-000000000000002a.log.tmp"), FileName::Temporary);
    }
}

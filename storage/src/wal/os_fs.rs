//! The WAL's files on the operating system. Every call blocks: the writer and the preparer have
//! threads of their own, readers go through `Spawner::blocking` where it matters.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::{fs::FallocateFlags, io::Errno};

use super::{
    direct::Direct,
    durable,
    fs::{FileName, Pace, WalFile, WalFs, WalRead},
    zero,
};

/// Buffers in one `pwritev`; Linux takes at most 1,024.
const PARTS_MAX: usize = 1024;

/// A directory of the file system.
#[derive(Debug, Clone)]
pub struct OsWalFs {
    dir: PathBuf,
}

impl OsWalFs {
    /// The WAL directory `dir`, created if it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        durable::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    async fn prepare(
        &self,
        name: &str,
        len: u64,
        head: &[u8],
        pace: &dyn Pace,
    ) -> io::Result<File> {
        let temporary = self.dir.join(FileName::temporary(name));
        let path = self.dir.join(name);
        if path.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, name.to_owned()));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        let filled = fill(&file, &temporary, len, head, pace).await;
        let prepared = filled.and_then(|()| durable::rename(&temporary, &path));
        if prepared.is_err() {
            // Either name may be there; the error that matters is the first one, and recovery
            // removes what stays.
            let _ = fs::remove_file(&temporary);
            let _ = fs::remove_file(&path);
        }
        prepared.map(|()| file)
    }
}

/// Allocates, zeroes and syncs.
async fn fill(file: &File, path: &Path, len: u64, head: &[u8], pace: &dyn Pace) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        // Zeroes are written anyway; allocation up front only makes a full disk show at once.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    file.write_all_at(head, 0)?;
    zero::fill(file, path, head.len() as u64..len, pace).await?;
    file.sync_all()
}

#[async_trait]
impl WalFs for OsWalFs {
    async fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    async fn create(
        &self,
        name: &str,
        len: u64,
        head: Bytes,
        pace: &dyn Pace,
    ) -> io::Result<Box<dyn WalFile>> {
        let file = self.prepare(name, len, &head, pace).await?;
        Ok(Box::new(OsWalFile { file, direct: Direct::open(&self.dir.join(name))? }))
    }

    async fn open(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let path = self.dir.join(name);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Box::new(OsWalFile { file, direct: Direct::open(&path)? }))
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    async fn rename_out(&self, name: &str, destination: &Path) -> io::Result<()> {
        durable::move_file(&self.dir.join(name), destination)
    }

    async fn sync_dir(&self) -> io::Result<()> {
        durable::sync_dir(&self.dir)
    }

    async fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct OsWalFile {
    file: File,
    /// The way past the page cache, while the file system takes it.
    direct: Option<Direct>,
}

impl OsWalFile {
    /// Writes through the page cache.
    fn write_cached(&self, position: u64, parts: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let (mut rest, mut at) = (&mut slices[..], position);
        while !rest.is_empty() {
            let count = rest.len().min(PARTS_MAX);
            match rustix::io::pwritev(&self.file, &rest[..count], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl WalFile for OsWalFile {
    async fn write_at(&mut self, position: u64, parts: &[Bytes]) -> io::Result<()> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        if let Some(direct) = self.direct.as_mut().filter(|_| Direct::takes(position, len)) {
            match direct.write(position, parts) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.direct = None,
                result => return result,
            }
        }
        self.write_cached(position, parts)
    }

    async fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    async fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn reader(&self) -> io::Result<Arc<dyn WalRead>> {
        // A second description would need the name, which may be gone: share this one. Reads are
        // positional, so nobody moves anybody's cursor.
        let direct = self.direct.as_ref().map(Direct::reader).transpose()?;
        Ok(Arc::new(OsWalRead { file: self.file.try_clone()?, direct }))
    }
}

#[derive(Debug)]
struct OsWalRead {
    file: File,
    direct: Option<File>,
}

impl WalRead for OsWalRead {
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let available = self.len()?.saturating_sub(position);
        if (len as u64) > available {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(bytes.into())
    }

    fn read_exact_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, position)
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn read_once(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        if let Some(direct) = &self.direct
            && Direct::takes(position, buffer.len() as u64)
        {
            match direct.read_exact_at(buffer, position) {
                // The device wants another alignment.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                result => return result,
            }
        }
        self.file.read_exact_at(buffer, position)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

//! The data directory: its layout, its lock and its format.
//!
//! ```text
//!  DIR/LOCK      held while a broker runs; its holder's pid
//!  DIR/FORMAT    version of this layout
//!  DIR/metadata.db   topics, leases, objects (SQLite)
//!  DIR/wal/      the write-ahead log
//!  DIR/objects/  sealed files and tables, where no object store is configured
//!  DIR/spill/    what queries have no memory for; emptied at start
//! ```
//!
//! Invariant: while a [`DataDir`] exists, no other process has one for the same directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// The only version of the layout so far.
const FORMAT: &str = "streamhouse 1\n";
const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";

/// A locked data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates or opens the directory and takes its lock.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::create_dir_all(path).with_context(|| format!("creating the data directory {shown}"))?;
        let path = fs::canonicalize(path).with_context(|| format!("resolving {shown}"))?;
        refuse_foreign(&path)?;
        let lock = lock(&path)?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata store's file.
    pub(crate) fn metadata_file(&self) -> PathBuf {
        self.path.join("metadata.db")
    }

    /// The WAL's directory.
    pub(crate) fn wal(&self) -> PathBuf {
        self.path.join("wal")
    }

    /// The directory of objects, where they are local.
    pub(crate) fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// The directory that queries spill to, empty.
    pub(crate) fn spill(&self) -> anyhow::Result<PathBuf> {
        let spill = self.path.join("spill");
        match fs::remove_dir_all(&spill) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("emptying {}", spill.display()));
            }
            _ => {}
        }
        fs::create_dir_all(&spill).with_context(|| format!("creating {}", spill.display()))?;
        Ok(spill)
    }
}

/// Refuses a directory with files that are not ours, such as the data of Apache Kafka.
fn refuse_foreign(path: &Path) -> anyhow::Result<()> {
    if path.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    let shown = path.display();
    if path.join("meta.properties").exists() {
        bail!(
            "{shown} holds the data of Apache Kafka, which StreamHouse cannot read: \
             choose another directory with --data"
        );
    }
    let entries = fs::read_dir(path).with_context(|| format!("reading {shown}"))?;
    for entry in entries {
        let name = entry.with_context(|| format!("reading {shown}"))?.file_name();
        // A file system's own directory, and what a first start that was cut short leaves.
        let is_ours = [LOCK_FILE, "FORMAT.new", "lost+found"].iter().any(|known| name == *known);
        if !is_ours {
            bail!(
                "{shown} is not empty and is no data directory of StreamHouse \
                 (it has {}): choose another directory with --data",
                name.display()
            );
        }
    }
    Ok(())
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join(LOCK_FILE);
    let shown = file.display();
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .with_context(|| format!("opening {shown}"))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Without its pid the refusal is less helpful, and just as right.
            let _ = lock.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "unknown" } else { holder };
            bail!(
                "the data directory {} is in use by another process (pid {holder})",
                path.display()
            );
        }
        Err(error) => return Err(error).with_context(|| format!("locking {shown}")),
    }
    write_pid(&mut lock).with_context(|| format!("writing {shown}"))?;
    Ok(lock)
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    lock.flush()
}

fn check_format(path: &Path) -> anyhow::Result<()> {
    let file = path.join(FORMAT_FILE);
    let shown = file.display();
    match fs::read_to_string(&file) {
        Ok(text) if text == FORMAT => Ok(()),
        Ok(text) => bail!(
            "{shown} says {:?}, this version of StreamHouse reads {:?}: \
             it was written by a newer release",
            text.trim(),
            FORMAT.trim()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_format(path, &file).with_context(|| format!("writing {shown}"))
        }
        Err(error) => Err(error).with_context(|| format!("reading {shown}")),
    }
}

/// Durable before anything else is written, so that the directory is known as ours.
fn write_format(path: &Path, file: &Path) -> io::Result<()> {
    let temporary = path.join("FORMAT.new");
    let mut new = File::create(&temporary)?;
    new.write_all(FORMAT.as_bytes())?;
    new.sync_all()?;
    fs::rename(&temporary, file)?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn is_locked_while_it_is_open() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let held = DataDir::open(&path).unwrap();
        let refusal = DataDir::open(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
        drop(held);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn refuses_directories_that_are_not_its_own() {
        let kafka = tempfile::tempdir().unwrap();
        fs::write(kafka.path().join("meta.properties"), "version=1").unwrap();
        assert!(DataDir::open(kafka.path()).unwrap_err().to_string().contains("Apache Kafka"));
        let photos = tempfile::tempdir().unwrap();
        fs::write(photos.path().join("cat.jpg"), "").unwrap();
        assert!(DataDir::open(photos.path()).unwrap_err().to_string().contains("cat.jpg"));
        assert!(!photos.path().join(LOCK_FILE).exists());
    }

    #[test]
    fn refuses_a_newer_format() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FORMAT_FILE), "streamhouse 2\n").unwrap();
        assert!(DataDir::open(dir.path()).unwrap_err().to_string().contains("newer release"));
    }

    #[test]
    fn a_first_start_that_was_cut_short_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK_FILE), "1\n").unwrap();
        fs::write(dir.path().join("FORMAT.new"), "str").unwrap();
        DataDir::open(dir.path()).unwrap();
    }
}

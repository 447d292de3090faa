//! Durable operations on names: each returns only when a power loss can no longer undo it.
//!
//! Invariant: a file's data is synced before its name is, and a name is synced by syncing its
//! directory. All of the crate's renames on a local file system go through here.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};

/// Syncs a directory, so that names added to or removed from it before are durable.
///
/// # Errors
/// The system's.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates `dir` and what is missing above it, and syncs every directory that got a new name.
///
/// # Errors
/// The system's; `AlreadyExists` where something that is no directory has the name.
pub fn create_dir_all(dir: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = dir;
    while !at.as_os_str().is_empty() && !at.is_dir() {
        if at.exists() {
            let message = format!("{} is not a directory", at.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        missing.push(at.to_path_buf());
        at = parent(at);
    }
    for new in missing.iter().rev() {
        match fs::create_dir(new) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => sync_dir(parent(new))?,
        }
    }
    Ok(())
}

/// Gives a synced file a new name in the same directory, replacing what had it, and syncs the
/// directory.
///
/// # Errors
/// The system's.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_dir(parent(to))
}

/// Moves a synced file to another directory of the same file system, creating that one, and syncs
/// both directories. Fails if `to` exists.
///
/// # Errors
/// The system's; `AlreadyExists`.
pub fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    create_dir_all(parent(to))?;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot do it in one step; there is only one mover, so two will do.
        Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => fs::rename(from, to)?,
        Err(Errno::INVAL | Errno::NOSYS) => return Err(io::ErrorKind::AlreadyExists.into()),
        other => other?,
    }
    sync_dir(parent(to))?;
    sync_dir(parent(from))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_creates_directories_and_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("x/y/b"));
        fs::write(&from, b"1").unwrap();
        move_file(&from, &to).unwrap();
        assert!(!from.exists());
        assert_eq!(fs::read(&to).unwrap(), b"1");

        fs::write(&from, b"2").unwrap();
        assert_eq!(move_file(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"1");
        assert!(create_dir_all(&to).is_err());
    }
}

//! File systems of a test's own: small enough to fill, and able to lose power.
//!
//! An ext4 in an image file, mounted through a loop device. Its shutdown ioctl drops everything
//! that was not synced, as a power cut does, which killing a process never shows (the page cache
//! survives that).
//!
//! Invariant: a [`Disk`] unmounts itself, and a machine that permits no mounts gets an
//! [`Unavailable`], never a test that passes for nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Longest wait for a mount to be let go by a process that has just died.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why this machine cannot mount a file system of the test's own.
#[derive(Debug)]
pub struct Unavailable(pub String);

/// A mounted ext4 of a fixed size.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

impl Disk {
    /// Makes and mounts an ext4 of `bytes` under `dir`.
    pub fn create(dir: &Path, bytes: u64) -> Result<std::result::Result<Self, Unavailable>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Err(Unavailable("mounting needs root".to_owned())));
        }
        let (image, mount) = (dir.join("disk.img"), dir.join("disk"));
        std::fs::File::create(&image)?.set_len(bytes)?;
        std::fs::create_dir_all(&mount)?;
        // No lazy initialisation: it would write behind the test's back. No reserved blocks: what
        // is free is ours.
        let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run("mkfs.ext4", &[&options[..], &[text(&image)?]].concat())?;
        let mut disk = Self { image, mount, mounted: false };
        if let Err(error) = disk.mount() {
            return Ok(Err(Unavailable(format!("{error:#}"))));
        }
        Ok(Ok(disk))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes that an ordinary user could still write.
    pub fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(&self.mount)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Cuts the power: nothing unsynced reaches the image any more, and every later call on the
    /// mount fails.
    pub fn cut_power(&self) -> Result<()> {
        crate::clients::python("ext4_shutdown.py", &[text(&self.mount)?])?;
        Ok(())
    }

    /// Power is back: unmounts, and mounts what the image holds. Processes that used it must be
    /// gone.
    pub fn restore_power(&mut self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn mount(&mut self) -> Result<()> {
        run("mount", &["-o", "loop", text(&self.image)?, text(&self.mount)?])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        let deadline = Instant::now() + UNMOUNT_TIMEOUT;
        while let Err(error) = run("umount", &[text(&self.mount)?]) {
            ensure!(Instant::now() < deadline, "{error:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Disk {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{} stays mounted: {error:#}", self.mount.display());
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

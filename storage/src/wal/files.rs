//! The files that are not yet released, and the bound on their bytes.
//!
//! Invariants: every file in the directory is counted until it is released; files are deleted in
//! the order of their ids only, so that a gap in the directory is never our own doing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tracing::{info, warn};

use super::fs::{FileName, WalFs};

#[derive(Debug, Clone, Copy)]
struct Entry {
    bytes: u64,
    released: bool,
}

/// The table of files.
#[derive(Debug)]
pub(super) struct Files {
    fs: Arc<dyn WalFs>,
    entries: Mutex<BTreeMap<u64, Entry>>,
    /// One deletion at a time, in order.
    deleting: tokio::sync::Mutex<()>,
    freed: Notify,
}

impl Files {
    pub(super) fn new(fs: Arc<dyn WalFs>) -> Self {
        Self {
            fs,
            entries: Mutex::default(),
            deleting: tokio::sync::Mutex::default(),
            freed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a file, or changes how many bytes it counts for.
    pub(super) fn count(&self, id: u64, bytes: u64) {
        self.lock().insert(id, Entry { bytes, released: false });
    }

    /// Bytes of all files that are still there.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().values().map(|entry| entry.bytes).sum()
    }

    /// Waits until `more` bytes fit under `bytes_max`, or no file is left that could be released.
    pub(super) async fn room_for(&self, more: u64, bytes_max: u64) {
        let mut told = false;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let (used, count) = (self.bytes(), self.lock().len());
            if count == 0 || used.saturating_add(more) <= bytes_max {
                return;
            }
            if !told {
                warn!(used, bytes_max, files = count, "log is at its limit, waiting for uploads");
                told = true;
            }
            freed.await;
        }
    }

    /// Takes `id` as released, and deletes every file up to the first that is not.
    pub(super) async fn release(&self, id: u64) -> std::io::Result<()> {
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.released = true;
        }
        let _one_at_a_time = self.deleting.lock().await;
        while let Some(first) = self.first_released() {
            let name = FileName::log(first);
            match self.fs.remove(&name).await {
                Ok(()) => info!(file = name, "released log file deleted"),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.lock().remove(&first);
            self.freed.notify_waiters();
        }
        Ok(())
    }

    fn first_released(&self) -> Option<u64> {
        let entries = self.lock();
        entries.first_key_value().filter(|(_, entry)| entry.released).map(|(id, _)| *id)
    }
}

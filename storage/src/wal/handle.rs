//! The handle that partitions, the uploader and the shutdown hold.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{
    AdmitPermit, WalAppend, WalError, WalPosition,
    files::Files,
    plan,
    queue::{Command, Queue},
};

/// What the handle and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) files: Arc<Files>,
    pub(super) synced: Mutex<WalPosition>,
    /// Largest append that a block can hold, bytes.
    pub(super) append_bytes_max: usize,
}

/// A running WAL. Clones are the same WAL.
#[derive(Debug, Clone)]
pub struct WalHandle {
    pub(super) shared: Arc<Shared>,
}

impl WalHandle {
    /// Puts an append at the end of the log and returns its number. Call it under the partition's
    /// lock, so that the order in the log is the order of the offsets.
    ///
    /// # Errors
    /// `RollingBack`, `NoSpace`, `Full`, `TooLarge`, `Malformed`, `Closed`: nothing was enqueued.
    pub fn enqueue(&self, append: WalAppend) -> Result<u64, WalError> {
        let bytes = append.records.len();
        if bytes > self.shared.append_bytes_max {
            return Err(WalError::TooLarge { bytes });
        }
        plan::check(&append)?;
        self.shared.queue.push(append)
    }

    /// Back-pressure: waits until the queue has room for `bytes`. Drop the permit after the
    /// enqueue. Callers bound the wait with their own timeout.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn admit(&self, bytes: usize) -> Result<AdmitPermit, WalError> {
        self.shared.queue.admit(bytes).await
    }

    /// How far the log is synced.
    #[must_use]
    pub fn synced_position(&self) -> WalPosition {
        *self.shared.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes queued and not yet synced.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.shared.queue.queued_bytes()
    }

    /// Bytes of all files that are not released.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.shared.files.bytes()
    }

    /// Seals the current file after what is queued now; does nothing where it holds no block. While
    /// the log is at its limit there is no current file, and what waits for one is not waited for.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn seal(&self) -> Result<(), WalError> {
        let (done, sealed) = oneshot::channel();
        self.shared.queue.command(Command::Seal(Some(done)))?;
        sealed.await.map_err(|_| WalError::Closed)
    }

    /// Refuses further enqueues, writes and syncs what is queued, seals the file and ends the
    /// writer.
    ///
    /// # Errors
    /// `Closed` where the log had ended before.
    pub async fn shutdown(&self) -> Result<(), WalError> {
        let (done, ended) = oneshot::channel();
        self.shared.queue.command(Command::Shutdown(done))?;
        ended.await.map_err(|_| WalError::Closed)
    }

    /// All bytes of the sealed file are in committed objects: it is deleted (in order of ids) or,
    /// if it was renamed away, forgotten, and its share of the limit is free.
    ///
    /// # Errors
    /// The file system's; the release is repeated with the next one.
    pub async fn release(&self, file_id: u64) -> std::io::Result<()> {
        self.shared.files.release(file_id).await
    }
}

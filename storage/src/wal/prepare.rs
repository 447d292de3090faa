//! The preparer: allocates, zeroes and syncs the next file while the current one is written, so
//! that the writer's path never pays for it and a full disk shows here, not in an append.
//!
//! Invariant: a file number is used for one attempt only. A failed preparation is told to the
//! writer, and tried again until it succeeds.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{clock::SharedClock, rng::Rng};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    fs::{FileName, WalFile, WalFs, WalRead},
    head::FileHead,
};

/// A file ready for its first block.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) file: Box<dyn WalFile>,
    pub(super) reader: Arc<dyn WalRead>,
    pub(super) head: FileHead,
}

impl Prepared {
    pub(super) fn new(file: Box<dyn WalFile>, head: FileHead) -> io::Result<Self> {
        let reader = file.reader()?;
        Ok(Self { file, reader, head })
    }
}

#[derive(Debug, Default)]
struct State {
    ready: Option<Prepared>,
    /// Capacity of the file that is wanted, bytes.
    wanted: Option<u64>,
    failure: Option<Arc<io::Error>>,
    closed: bool,
}

/// Where the preparer puts the next file and the writer finds it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    to_writer: Notify,
    to_preparer: Notify,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file there that nobody prepared: one that an earlier process left unused.
    pub(super) fn offer(&self, prepared: Prepared) {
        self.lock().ready = Some(prepared);
    }

    /// Asks for a file of `capacity` bytes, unless one is there.
    pub(super) fn want(&self, capacity: u64) {
        let mut state = self.lock();
        if state.ready.is_none() {
            state.wanted = Some(capacity);
            self.to_preparer.notify_one();
        }
    }

    /// The ready file if it has `capacity` bytes; a smaller one is given back to be dropped.
    pub(super) fn try_take(&self, capacity: u64) -> Result<Option<Prepared>, Prepared> {
        match self.lock().ready.take() {
            Some(ready) if ready.head.capacity < capacity => Err(ready),
            ready => Ok(ready),
        }
    }

    /// Waits until a file is ready or a preparation has failed.
    pub(super) async fn settled(&self) -> Result<(), Arc<io::Error>> {
        loop {
            let changed = self.to_writer.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if state.ready.is_some() {
                    return Ok(());
                }
                if let Some(failure) = &state.failure {
                    return Err(Arc::clone(failure));
                }
            }
            changed.await;
        }
    }

    /// Waits until a file is ready, however often it fails.
    pub(super) async fn ready(&self) {
        loop {
            let changed = self.to_writer.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().ready.is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Ends the preparer.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.to_preparer.notify_one();
    }
}

/// The task that fills a slot.
#[derive(Debug)]
pub(super) struct Preparer {
    pub(super) slot: Arc<Slot>,
    pub(super) fs: Arc<dyn WalFs>,
    pub(super) clock: SharedClock,
    pub(super) rng: Rng,
    pub(super) next_file_id: u64,
    pub(super) retry_interval: Duration,
    /// Free space that a new file must leave, bytes.
    pub(super) reserve_bytes: u64,
}

impl Preparer {
    /// Runs until the slot is closed.
    pub(super) async fn run(mut self) {
        loop {
            let (wanted, closed) = {
                let state = self.slot.lock();
                (state.wanted, state.closed)
            };
            match wanted {
                _ if closed => return,
                Some(capacity) => self.prepare(capacity).await,
                None => self.slot.to_preparer.notified().await,
            }
        }
    }

    /// Metadata, retention and whatever else frees space must be able to run on a disk that is full
    /// for producers (design D13).
    async fn check_space(&self, capacity: u64) -> io::Result<()> {
        let free = self.fs.free_bytes().await?;
        if free >= capacity.saturating_add(self.reserve_bytes) {
            return Ok(());
        }
        let reserve = self.reserve_bytes;
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("{free} bytes free, {capacity} needed besides the reserve of {reserve}"),
        ))
    }

    async fn prepare(&mut self, capacity: u64) {
        let file_id = self.next_file_id;
        self.next_file_id += 1;
        let nonce = self.rng.next_u64();
        let head = FileHead::new(file_id, nonce, self.clock.now_ms(), capacity);
        let name = FileName::log(file_id);
        let created = match self.check_space(capacity).await {
            Ok(()) => self.fs.create(&name, capacity, head.encode()).await,
            Err(full) => Err(full),
        };
        match created.and_then(|file| Prepared::new(file, head)) {
            Ok(prepared) => {
                info!(file = name, capacity, "log file prepared");
                let mut state = self.slot.lock();
                state.ready = Some(prepared);
                state.wanted = None;
                state.failure = None;
                drop(state);
                self.slot.to_writer.notify_waiters();
            }
            Err(error) => {
                warn!(file = name, capacity, %error, "log file not prepared, trying again");
                self.slot.lock().failure = Some(Arc::new(error));
                self.slot.to_writer.notify_waiters();
                tokio::select! {
                    biased;
                    () = self.slot.to_preparer.notified() => {}
                    () = tokio::time::sleep(self.retry_interval) => {}
                }
            }
        }
    }
}

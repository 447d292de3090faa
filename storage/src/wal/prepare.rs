//! The preparer: allocates, zeroes and syncs the next file while the current one is written, so
//! that the writer's path never pays for it and a full disk shows here, not in an append.
//!
//! Zeroes are written at the rate at which the current file fills, a little ahead: the whole disk
//! is busy with them otherwise whenever a file begins, and syncs wait. The next file is ready when
//! [`READY_AT`] of the current one is used. Without a current file nothing is held back.
//!
//! Invariant: a file number is used for one attempt only. A failed preparation is told to the
//! writer, and tried again until it succeeds.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use common::{clock::SharedClock, rng::Rng};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    fs::{FileName, Pace, WalFile, WalFs, WalRead},
    head::FileHead,
};

/// The part of the current file, as a fraction, that is used when the next one is ready.
const READY_AT: (u64, u64) = (3, 4);

/// `whole × part / of`, rounded down.
fn scaled(whole: u64, part: u64, of: u64) -> u64 {
    let scaled = u128::from(whole) * u128::from(part) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

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
    /// Whether the preparer has ended.
    ended: bool,
    /// How far the writer's file is used; `None` while it has none.
    current: Option<Fill>,
    /// What must be used of it for the preparer to go on.
    awaited: Option<u64>,
}

/// How far a file is used, bytes.
#[derive(Debug, Clone, Copy)]
struct Fill {
    used: u64,
    capacity: u64,
}

impl Fill {
    /// Bytes that are used when the next file is ready.
    fn ready_at(self) -> u64 {
        let (numerator, denominator) = READY_AT;
        self.capacity / denominator * numerator
    }

    /// Bytes to be used before the next file, of `capacity`, is zeroed up to `to`.
    fn due(self, to: u64, capacity: u64) -> u64 {
        scaled(self.ready_at(), to, capacity)
    }

    /// How far the next file, of `capacity`, may be zeroed now.
    fn allowed(self, capacity: u64) -> u64 {
        scaled(capacity, self.used, self.ready_at())
    }
}

/// Where the preparer puts the next file and the writer finds it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    to_writer: Notify,
    to_preparer: Notify,
    /// Tells a preparer in the middle of a file that the current one has filled further.
    filled: Notify,
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

    /// Notes how far the writer's file is used.
    pub(super) fn fill(&self, used: u64, capacity: u64) {
        let mut state = self.lock();
        state.current = Some(Fill { used, capacity });
        if state.awaited.is_some_and(|awaited| used >= awaited) {
            state.awaited = None;
            drop(state);
            self.filled.notify_waiters();
        }
    }

    /// Notes that the writer has no file: the next one is urgent.
    pub(super) fn fill_none(&self) {
        self.lock().current = None;
        self.filled.notify_waiters();
    }

    /// Ends the preparer: a file that it is in the middle of is given up.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.to_preparer.notify_one();
        self.filled.notify_waiters();
    }

    /// Waits until the preparer has ended: it touches no file any more.
    pub(super) async fn ended(&self) {
        loop {
            let changed = self.to_writer.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().ended {
                return;
            }
            changed.await;
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.to_writer.notify_waiters();
    }
}

/// The pace of a file of this capacity.
struct BehindTheWriter<'a> {
    slot: &'a Slot,
    capacity: u64,
}

#[async_trait]
impl Pace for BehindTheWriter<'_> {
    async fn reached(&self, to: u64) -> io::Result<u64> {
        loop {
            let filled = self.slot.filled.notified();
            tokio::pin!(filled);
            filled.as_mut().enable();
            {
                let mut state = self.slot.lock();
                if state.closed {
                    return Err(io::Error::other("the log is closed"));
                }
                let Some(current) = state.current else { return Ok(u64::MAX) };
                let due = current.due(to, self.capacity);
                if current.used >= due {
                    return Ok(current.allowed(self.capacity).max(to));
                }
                state.awaited = Some(due);
            }
            filled.await;
        }
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
                _ if closed => return self.slot.end(),
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
            Ok(()) => {
                let pace = BehindTheWriter { slot: &self.slot, capacity };
                self.fs.create(&name, capacity, head.encode(), &pace).await
            }
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
            Err(_) if self.slot.lock().closed => {}
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn may_go_to(pace: &BehindTheWriter<'_>, to: u64) -> bool {
        pace.reached(to).now_or_never().is_some_and(|reached| reached.unwrap() >= to)
    }

    #[test]
    fn zeroes_keep_ahead_of_the_current_file_by_a_quarter() {
        let slot = Slot::default();
        let pace = BehindTheWriter { slot: &slot, capacity: 8_000 };
        assert!(may_go_to(&pace, 8_000), "nothing to stand in the way of");
        slot.fill(0, 1_000);
        assert!(!may_go_to(&pace, 1_000));
        slot.fill(375, 1_000);
        assert!(may_go_to(&pace, 4_000) && !may_go_to(&pace, 4_100));
        assert_eq!(pace.reached(1_000).now_or_never().unwrap().unwrap(), 4_000);
        slot.fill(750, 1_000);
        assert!(may_go_to(&pace, 8_000));
        slot.fill(0, 1_000);
        slot.fill_none();
        assert!(may_go_to(&pace, 8_000), "the writer waits for the file");
    }

    #[tokio::test]
    async fn a_preparer_is_woken_when_enough_was_written_or_nothing_more_will_be() {
        let slot = Slot::default();
        slot.fill(0, 1_000);
        let pace = BehindTheWriter { slot: &slot, capacity: 1_000 };
        let mut waiting = pace.reached(400).boxed();
        assert!(futures::poll!(&mut waiting).is_pending());
        slot.fill(299, 1_000);
        assert!(futures::poll!(&mut waiting).is_pending());
        slot.fill(300, 1_000);
        waiting.await.unwrap();
        let mut waiting = pace.reached(1_000).boxed();
        assert!(futures::poll!(&mut waiting).is_pending());
        slot.close();
        waiting.await.unwrap_err();
    }
}

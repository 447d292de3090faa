//! What waits for the writer, and the state that decides whether more may wait.
//!
//! Invariants: the queue's order is the order of the log; between the moment a failed block is
//! taken back and the moment its last target was told, nothing is enqueued. The lock is a leaf: it
//! is taken under a partition's lock and nothing is called while it is held.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use super::{WalAppend, WalError};

/// Whether appends are taken.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// As usual.
    Running,
    /// Targets are being told that a block is gone, or its file is being cut.
    RollingBack,
    /// There is no next file, and the current one is used up.
    NoSpace,
    /// No more appends: shut down, or stopped by a failed sync.
    Closed,
}

/// What the writer is asked to do besides writing.
#[derive(Debug)]
pub(super) enum Command {
    /// Seal the current file once what is queued now is synced.
    Seal(Option<oneshot::Sender<()>>),
    /// Write what is queued, seal, end.
    Shutdown(oneshot::Sender<()>),
}

#[derive(Debug)]
struct State {
    phase: Phase,
    appends: VecDeque<WalAppend>,
    /// Each with the number of the append before which it is done.
    commands: VecDeque<(u64, Command)>,
    /// A shutdown was asked for: what is queued is still written, nothing more is taken.
    closing: bool,
    /// Bytes of appends queued or in the block being written.
    queued_bytes: usize,
    /// Bytes that callers were admitted for and have not given back.
    admitted_bytes: usize,
    next_append: u64,
}

/// The queue in front of the writer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    bytes_max: usize,
    /// Wakes the writer.
    work: Notify,
    /// Held by the caller whose turn it is to be admitted; handed on first come, first served.
    turn: tokio::sync::Mutex<()>,
    /// Wakes the caller whose turn it is.
    room: Notify,
    /// Tells a writer that waits for something else that a shutdown was asked for.
    closing: Notify,
}

/// What the writer took from the queue.
#[derive(Debug, Default)]
pub(super) struct Drained {
    pub(super) appends: Vec<WalAppend>,
    pub(super) command: Option<Command>,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        let state = State {
            phase: Phase::Running,
            appends: VecDeque::new(),
            commands: VecDeque::new(),
            closing: false,
            queued_bytes: 0,
            admitted_bytes: 0,
            next_append: 0,
        };
        Self {
            state: Mutex::new(state),
            bytes_max,
            work: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            closing: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an append and returns its number. Internal callers may skip `admit`; twice the bound
    /// is where everybody is refused.
    pub(super) fn push(&self, append: WalAppend) -> Result<u64, WalError> {
        let mut state = self.lock();
        match state.phase {
            _ if state.closing => return Err(WalError::Closed),
            Phase::Running => {}
            Phase::RollingBack => return Err(WalError::RollingBack),
            Phase::NoSpace => return Err(WalError::NoSpace),
            Phase::Closed => return Err(WalError::Closed),
        }
        let bytes = append.records.len();
        if state.queued_bytes > 0 && state.queued_bytes + bytes > 2 * self.bytes_max {
            return Err(WalError::Full);
        }
        state.queued_bytes += bytes;
        state.appends.push_back(append);
        let number = state.next_append;
        state.next_append += 1;
        drop(state);
        self.work.notify_one();
        Ok(number)
    }

    /// Waits until `bytes` more fit under the bound, and until all who asked before were admitted:
    /// small requests must not keep a large one out. What is larger than the bound gets in alone.
    pub(super) async fn admit(self: &Arc<Self>, bytes: usize) -> Result<AdmitPermit, WalError> {
        let _turn = self.turn.lock().await;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Some(permit) = self.try_admit(bytes)? {
                return Ok(permit);
            }
            room.await;
        }
    }

    fn try_admit(self: &Arc<Self>, bytes: usize) -> Result<Option<AdmitPermit>, WalError> {
        let mut state = self.lock();
        if state.closing {
            return Err(WalError::Closed);
        }
        let used = state.queued_bytes + state.admitted_bytes;
        if used > 0 && used + bytes > self.bytes_max {
            return Ok(None);
        }
        state.admitted_bytes += bytes;
        Ok(Some(AdmitPermit { queue: Arc::clone(self), bytes }))
    }

    /// Asks the writer for something; it is done after all that is queued now.
    pub(super) fn command(&self, command: Command) -> Result<(), WalError> {
        let mut state = self.lock();
        if state.closing {
            return Err(WalError::Closed);
        }
        let shutdown = matches!(command, Command::Shutdown(_));
        let after = state.next_append;
        state.closing = shutdown;
        state.commands.push_back((after, command));
        drop(state);
        self.work.notify_one();
        if shutdown {
            self.closing.notify_waiters();
            self.room.notify_waiters();
        }
        Ok(())
    }

    /// The next command whose turn it is, or else the appends of the next block: up to
    /// `block_bytes`, or one larger one.
    pub(super) fn drain(&self, block_bytes: usize) -> Drained {
        let mut state = self.lock();
        let first_append = state.next_append - state.appends.len() as u64;
        if state.commands.front().is_some_and(|(after, _)| *after <= first_append) {
            let command = state.commands.pop_front().map(|(_, command)| command);
            return Drained { appends: Vec::new(), command };
        }
        let mut drained = Drained::default();
        let mut bytes = 0;
        while let Some(next) = state.appends.front() {
            if bytes > 0 && bytes + next.records.len() > block_bytes {
                break;
            }
            bytes += next.records.len();
            drained.appends.extend(state.appends.pop_front());
        }
        drained
    }

    /// Bytes of appends that are no longer in the writer's hands.
    pub(super) fn finished(&self, bytes: usize) {
        self.lock().queued_bytes -= bytes;
        self.room.notify_waiters();
    }

    /// Refuses appends from now on with `phase`'s error, and takes out all that wait. Their bytes
    /// still count until [`Queue::finished`].
    pub(super) fn refuse(&self, phase: Phase) -> Vec<WalAppend> {
        let mut state = self.lock();
        state.phase = phase;
        state.appends.drain(..).collect()
    }

    /// Takes appends again.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Closed) {
            state.phase = Phase::Running;
        }
    }

    /// Ends everything: nothing is taken any more, waiters are woken to an error, commands are
    /// dropped, and what was still queued is given back.
    pub(super) fn close(&self) -> Vec<WalAppend> {
        let mut state = self.lock();
        state.phase = Phase::Closed;
        state.closing = true;
        state.commands.clear();
        let left = state.appends.drain(..).collect();
        drop(state);
        self.room.notify_waiters();
        self.closing.notify_waiters();
        left
    }

    /// Answers the seals that were asked for, while there is no file to seal.
    pub(super) fn answer_seals(&self) {
        self.lock().commands.retain_mut(|(_, command)| match command {
            Command::Seal(done) => {
                if let Some(done) = done.take() {
                    // Whoever asked may have given up.
                    let _ = done.send(());
                }
                false
            }
            Command::Shutdown(_) => true,
        });
    }

    /// Completes when a shutdown was asked for.
    pub(super) async fn closing(&self) {
        loop {
            let closing = self.closing.notified();
            tokio::pin!(closing);
            closing.as_mut().enable();
            if self.lock().closing {
                return;
            }
            closing.await;
        }
    }

    /// Completes when there may be work.
    pub(super) async fn wait_for_work(&self) {
        self.work.notified().await;
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.lock().queued_bytes
    }
}

/// Leave to enqueue so many bytes, given back on drop: drop it after the enqueue.
#[derive(Debug)]
pub struct AdmitPermit {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Drop for AdmitPermit {
    fn drop(&mut self) {
        self.queue.lock().admitted_bytes -= self.bytes;
        self.queue.room.notify_waiters();
    }
}

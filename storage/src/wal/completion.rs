//! One append's outcome, in two steps: written (what acks=1 waits for), then synced.
//!
//! Invariant: the outcome only moves forward, pending → written → synced or failed, and a dropped
//! [`Completion`] fails its waiters instead of leaving them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::WalError;

#[derive(Debug, Clone)]
enum State {
    Pending,
    Written,
    Synced,
    Failed(WalError),
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

impl Shared {
    fn advance(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*state, &to) {
            (State::Pending, _) | (State::Written, State::Synced | State::Failed(_)) => *state = to,
            (State::Written | State::Synced | State::Failed(_), _) => return,
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The end that the writer resolves.
#[derive(Debug)]
pub struct Completion(Arc<Shared>);

/// The end that a request waits on. Clones wait for the same append.
#[derive(Debug, Clone)]
pub struct CompletionWaiter(Arc<Shared>);

impl Completion {
    /// Both ends.
    #[must_use]
    pub fn pair() -> (Self, CompletionWaiter) {
        let shared = Arc::new(Shared { state: Mutex::new(State::Pending), changed: Notify::new() });
        (Self(Arc::clone(&shared)), CompletionWaiter(shared))
    }

    /// The bytes were written, not yet synced.
    pub fn written(&self) {
        self.0.advance(State::Written);
    }

    /// The bytes are synced.
    pub fn synced(self) {
        self.0.advance(State::Synced);
    }

    /// The append was taken back.
    pub fn fail(self, error: WalError) {
        self.0.advance(State::Failed(error));
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.0.advance(State::Failed(WalError::Closed));
    }
}

impl CompletionWaiter {
    /// Waits until the bytes are written. They may still be lost.
    ///
    /// # Errors
    /// Where the append was taken back, or the log stopped.
    pub async fn written(&self) -> Result<(), WalError> {
        self.wait(|state| matches!(state, State::Written | State::Synced)).await
    }

    /// Waits until the bytes are synced.
    ///
    /// # Errors
    /// Where the append was taken back, or the log stopped.
    pub async fn synced(&self) -> Result<(), WalError> {
        self.wait(|state| matches!(state, State::Synced)).await
    }

    /// The outcome so far: `None` while it is pending or only written.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), WalError>> {
        match self.0.state() {
            State::Pending | State::Written => None,
            State::Synced => Some(Ok(())),
            State::Failed(error) => Some(Err(error)),
        }
    }

    async fn wait(&self, reached: impl Fn(&State) -> bool) -> Result<(), WalError> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.0.state() {
                State::Failed(error) => return Err(error),
                state if reached(&state) => return Ok(()),
                State::Pending | State::Written | State::Synced => {}
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn written_precedes_synced() {
        let (completion, waiter) = Completion::pair();
        assert!(waiter.outcome().is_none());
        completion.written();
        assert!(waiter.written().await.is_ok());
        assert!(waiter.outcome().is_none());
        completion.synced();
        assert!(waiter.synced().await.is_ok());
        assert!(waiter.written().await.is_ok());
    }

    #[tokio::test]
    async fn a_dropped_completion_fails_its_waiters() {
        let (completion, waiter) = Completion::pair();
        let waiting = tokio::spawn(async move { waiter.synced().await });
        tokio::task::yield_now().await;
        drop(completion);
        assert!(matches!(waiting.await.unwrap(), Err(WalError::Closed)));
    }

    #[tokio::test]
    async fn a_failure_after_written_is_a_failure() {
        let (completion, waiter) = Completion::pair();
        completion.written();
        completion.fail(WalError::NoSpace);
        assert!(matches!(waiter.synced().await, Err(WalError::NoSpace)));
    }
}

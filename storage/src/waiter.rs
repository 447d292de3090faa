//! Waking delayed fetches: one waiter is registered with every partition that its fetch reads and
//! woken once by the first of them whose high watermark passes.

use tokio::sync::Notify;

/// A delayed read. Registered through [`crate::Partition::watch`].
#[derive(Debug, Default)]
pub struct ReadWaiter {
    notify: Notify,
}

impl ReadWaiter {
    /// A waiter that nothing has woken.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the waiter, now or at its next wait.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Completes once woken. A wake-up before the call counts.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

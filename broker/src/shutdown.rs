//! Shutting down in order: stop accepting, answer what is in flight, close, then the caller syncs
//! and seals the log.

use std::{future::Future, time::Duration};

use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// The broker's shutdown: begun once, watched by every listener and connection.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    connections: TaskTracker,
}

impl Shutdown {
    /// A shutdown that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Completes when the shutdown begins.
    pub fn draining(&self) -> WaitForCancellationFutureOwned {
        self.draining.clone().cancelled_owned()
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Counts a connection until the token is dropped.
    pub(crate) fn track(&self) -> TaskTrackerToken {
        self.connections.token()
    }

    /// Begins the shutdown and waits until every connection has answered what it had taken on, at
    /// most `timeout`. Returns whether all of them have.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.draining.cancel();
        self.connections.close();
        bounded(self.connections.wait(), timeout).await
    }
}

async fn bounded(work: impl Future<Output = ()>, timeout: Duration) -> bool {
    tokio::time::timeout(timeout, work).await.is_ok()
}

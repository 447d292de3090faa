//! Cancelling what another connection runs: it is found by its number and a secret.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::rng::Rng;
use tokio::sync::{Notify, futures::Notified};

/// Connections that are open.
#[derive(Debug)]
pub(super) struct Cancels {
    rng: Rng,
    open: Mutex<BTreeMap<i32, (i32, Arc<Notify>)>>,
}

/// A connection's entry, for as long as it is open.
#[derive(Debug)]
pub(super) struct Cancel {
    pub(super) process: i32,
    pub(super) secret: i32,
    asked: Arc<Notify>,
    cancels: Arc<Cancels>,
}

impl Cancels {
    pub(super) fn new(rng: Rng) -> Arc<Self> {
        Arc::new(Self { rng, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<i32, (i32, Arc<Notify>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection.
    pub(super) fn enter(self: &Arc<Self>) -> Cancel {
        let mut open = self.open();
        let random = |bound: u64| i32::try_from(self.rng.below(bound)).unwrap_or(0);
        let process = loop {
            let process = random(1 << 30) + 1;
            if !open.contains_key(&process) {
                break process;
            }
        };
        let (secret, asked) = (random(1 << 31), Arc::new(Notify::new()));
        open.insert(process, (secret, Arc::clone(&asked)));
        Cancel { process, secret, asked, cancels: Arc::clone(self) }
    }

    /// Cancels what a connection runs now, if it is the one that is meant.
    pub(super) fn cancel(&self, process: i32, secret: i32) {
        if let Some((expected, asked)) = self.open().get(&process)
            && *expected == secret
        {
            asked.notify_waiters();
        }
    }
}

impl Cancel {
    /// Completes when somebody wants what runs from now on cancelled, polled or not.
    pub(super) fn asked(&self) -> Notified<'_> {
        self.asked.notified()
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.cancels.open().remove(&self.process);
    }
}

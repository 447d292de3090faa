//! One partition of a runtime: its shard, where its log ends, and what is not durable yet.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use protocol::ErrorCode;

use crate::{
    log::LogError,
    shard::{Shard, Timers},
};

/// Completes when a batch is durable or was taken back. Clones wait for the same.
pub(super) type Durable = Shared<BoxFuture<'static, Result<(), LogError>>>;

pub(super) struct Slot<S: Shard> {
    pub(super) partition: i32,
    state: Mutex<State<S>>,
}

pub(super) struct State<S: Shard> {
    pub(super) phase: Phase<S>,
    /// Grows whenever the shard is given up, so that what concerns an earlier one is told apart.
    pub(super) incarnation: u64,
    /// When timers may run at the earliest: a while after the log failed, so that one that is overdue
    /// as soon as the shard is loaded does not ask the log all the time.
    pub(super) timers_from: Duration,
    pub(super) loads: u64,
    pub(super) load_time: Duration,
}

pub(super) enum Phase<S: Shard> {
    Loading,
    Active(Box<Active<S>>),
    /// The log cannot be read: a human has to look. It is tried again all the same.
    Failed,
    Unloaded,
}

pub(super) struct Active<S: Shard> {
    pub(super) shard: S,
    pub(super) timers: Timers<S::Timer>,
    timers_from: Duration,
    /// Where the next record goes.
    pub(super) next_offset: i64,
    /// The deadline that the runtime's alarm is set to.
    pub(super) alarm: Option<Duration>,
    /// The last batch, unless it is known to be durable.
    last: Option<Durable>,
}

impl<S: Shard> Slot<S> {
    pub(super) fn new(partition: i32) -> Self {
        let state = State {
            phase: Phase::Loading,
            incarnation: 0,
            timers_from: Duration::ZERO,
            loads: 0,
            load_time: Duration::ZERO,
        };
        Self { partition, state: Mutex::new(state) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<S>> {
        #[allow(clippy::expect_used, reason = "a half-changed shard must not be used")]
        self.state.lock().expect("a panic left the shard half changed")
    }
}

impl<S: Shard> State<S> {
    /// The shard, or what a client is told that asks meanwhile.
    pub(super) fn active(&mut self) -> Result<&mut Active<S>, ErrorCode> {
        match &mut self.phase {
            Phase::Active(active) => Ok(active),
            Phase::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            Phase::Failed => Err(ErrorCode::CoordinatorNotAvailable),
            Phase::Unloaded => Err(ErrorCode::NotCoordinator),
        }
    }
}

impl<S: Shard> Active<S> {
    pub(super) fn new(
        shard: S,
        timers: Timers<S::Timer>,
        timers_from: Duration,
        next_offset: i64,
    ) -> Self {
        Self { shard, timers, timers_from, next_offset, alarm: None, last: None }
    }

    /// When the next timer is to run.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.timers.next_deadline().map(|deadline| deadline.max(self.timers_from))
    }

    /// Takes a timer that is to run now.
    pub(super) fn pop_expired(&mut self, now: Duration) -> Option<S::Timer> {
        if now < self.timers_from { None } else { self.timers.pop_expired(now) }
    }

    /// Notes a batch: the log ends at `next_offset` now.
    pub(super) fn appended(
        &mut self,
        next_offset: i64,
        durable: BoxFuture<'static, Result<(), LogError>>,
    ) {
        self.next_offset = next_offset;
        self.last = Some(durable.shared());
    }

    /// What an answer of this moment has to wait for: the last batch, behind which all others are.
    pub(super) fn tail(&mut self) -> Option<Durable> {
        if matches!(self.last.as_ref().and_then(Shared::peek), Some(Ok(()))) {
            self.last = None;
        }
        self.last.clone()
    }
}

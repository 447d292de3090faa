//! The earliest deadline of all shards of a runtime: one task sleeps until it comes.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use common::clock::SharedClock;
use tokio::{sync::Notify, time::sleep};

/// The longest sleep: a deadline that is further away is looked at again.
const SLEEP_MAX: Duration = Duration::from_hours(1);

/// Deadlines by time.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    deadlines: Mutex<BTreeSet<(Duration, i32)>>,
    earlier: Notify,
}

impl Alarm {
    /// Moves a partition's deadline; `current` is where the partition keeps it.
    pub(super) fn set(
        &self,
        partition: i32,
        current: &mut Option<Duration>,
        next: Option<Duration>,
    ) {
        if *current == next {
            return;
        }
        let mut deadlines = self.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        let first = deadlines.first().copied();
        if let Some(deadline) = current.take() {
            deadlines.remove(&(deadline, partition));
        }
        if let Some(deadline) = next {
            deadlines.insert((deadline, partition));
        }
        *current = next;
        if next.is_some_and(|next| first.is_none_or(|first| (next, partition) < first)) {
            self.earlier.notify_one();
        }
    }

    /// Waits until deadlines have come; returns the partitions, the most urgent one first. They stay
    /// set: whoever runs their timers moves them.
    pub(super) async fn next(&self, clock: &SharedClock) -> Vec<i32> {
        loop {
            let now = clock.monotonic();
            let until = {
                let deadlines = self.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
                let due = deadlines.range(..=(now, i32::MAX));
                let due: Vec<_> = due.map(|(_, partition)| *partition).collect();
                if !due.is_empty() {
                    return due;
                }
                deadlines.first().map_or(SLEEP_MAX, |(deadline, _)| deadline.saturating_sub(now))
            };
            tokio::select! {
                () = sleep(until.min(SLEEP_MAX)) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}

//! Holding records back: what a reader outside of the log, such as the writer of a table, still
//! needs is neither retained away nor compacted, up to a bound.
//!
//! A hold lives in memory only. Whoever holds says so again after a start, before the first pass
//! of retention.

use crate::partition::{Partition, State};

/// What a reader still needs of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The first offset that it has not read.
    pub from: i64,
    /// How much longer than `retention.ms`, by their timestamps, records are kept for it; and for
    /// how long compaction leaves them alone, milliseconds.
    pub bound_ms: i64,
}

/// How much more than `retention.bytes` is kept for a hold: as much again.
const HELD_SIZE_FACTOR: u64 = 2;

impl Partition {
    /// Holds records back for a holder from now on, or no more. Explicit deletion is not held
    /// back.
    pub fn hold(&self, holder: u32, hold: Option<Hold>) {
        let holds = &mut self.lock().holds;
        match hold {
            Some(hold) => holds.insert(holder, hold),
            None => holds.remove(&holder),
        };
    }
}

impl State {
    /// Where retention may move the log start to, of what it wants.
    pub(crate) fn held_back(&self, wanted: i64, now_ms: i64) -> i64 {
        let allowed = |hold: &Hold| {
            let bound = self
                .expired_end(now_ms.saturating_sub(hold.bound_ms))
                .max(self.oversized_end(HELD_SIZE_FACTOR));
            hold.from.max(bound)
        };
        let needed = self.holds.values().filter(|hold| hold.from < wanted);
        needed.map(allowed).min().map_or(wanted, |allowed| allowed.min(wanted))
    }

    /// The offset from which compaction leaves records alone.
    pub(crate) fn held_offset(&self, now_ms: i64) -> i64 {
        let held =
            |hold: &Hold| hold.from.max(self.older_end(now_ms.saturating_sub(hold.bound_ms)));
        self.holds.values().map(held).min().unwrap_or(i64::MAX)
    }
}

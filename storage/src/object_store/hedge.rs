//! Hedged reads (design D6): a ranged GET that is slower than nearly all before it is asked a second
//! time, the first good answer counts, and the other request is dropped.
//!
//! Invariants: a second request is paid for by earlier first ones, at most one in
//! [`REQUESTS_PER_HEDGE`] plus a small reserve, so a store that is slow because it is overloaded
//! gets hardly more to do; it has a reader's permit of its own, without waiting for one. Time comes
//! from the clock's and the runtime's seams alone, so a seed replays.

use std::{
    collections::VecDeque,
    ops::Range,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::future::{Either, select};
use object_store::path::Path;

use super::{ObjectStorage, get_exactly, is_not_found};
use crate::object::Result;

/// Never sooner than this: what is this fast needs no help.
const AFTER_MIN: Duration = Duration::from_millis(20);
/// Never later than this, also while too little is known of the store.
const AFTER_MAX: Duration = Duration::from_secs(2);
/// Latencies remembered per class of sizes.
const LATENCIES_KEPT: usize = 128;
/// Latencies known before they count.
const LATENCIES_MIN: usize = 16;
/// Which part of the requests is slower than the bound, one in so many: the 95th percentile.
const SLOW_ONE_IN: usize = 20;
/// Requests that pay for one hedge.
const REQUESTS_PER_HEDGE: u32 = 20;
/// Hedges allowed in a row.
const HEDGES_IN_A_ROW: u32 = 8;
/// Ranges up to this size have their own latencies: a footer is not compared with 8 MiB.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// What is known of the store's speed, and what may be spent on it.
#[derive(Debug)]
pub(super) struct Hedging {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    small: Latencies,
    large: Latencies,
    /// In parts of a hedge, [`REQUESTS_PER_HEDGE`] to one.
    credit: u32,
}

/// The latest latencies, oldest first.
#[derive(Debug, Default)]
struct Latencies {
    recent: VecDeque<Duration>,
}

impl Latencies {
    fn note(&mut self, latency: Duration) {
        if self.recent.len() == LATENCIES_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(latency);
    }

    /// How long to wait before a second request.
    fn bound(&self) -> Duration {
        if self.recent.len() < LATENCIES_MIN {
            return AFTER_MAX;
        }
        let mut sorted: Vec<_> = self.recent.iter().copied().collect();
        let at = sorted.len() - 1 - sorted.len() / SLOW_ONE_IN;
        let (_, bound, _) = sorted.select_nth_unstable(at);
        (*bound).clamp(AFTER_MIN, AFTER_MAX)
    }
}

impl Hedging {
    pub(super) fn new() -> Self {
        let state = State {
            small: Latencies::default(),
            large: Latencies::default(),
            credit: HEDGES_IN_A_ROW * REQUESTS_PER_HEDGE,
        };
        Self { state: Mutex::new(state) }
    }

    /// A request of `bytes` begins; returns when it is slow.
    fn begin(&self, bytes: u64) -> Duration {
        let mut state = self.lock();
        state.credit = (state.credit + 1).min(HEDGES_IN_A_ROW * REQUESTS_PER_HEDGE);
        state.latencies(bytes).bound()
    }

    /// Takes one hedge; `false` where none is left.
    fn take(&self) -> bool {
        let mut state = self.lock();
        let left = state.credit.checked_sub(REQUESTS_PER_HEDGE);
        state.credit = left.unwrap_or(state.credit);
        left.is_some()
    }

    /// A first request was answered, or given up for its hedge, after this time.
    fn note(&self, bytes: u64, latency: Duration) {
        self.lock().latencies(bytes).note(latency);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn latencies(&mut self, bytes: u64) -> &mut Latencies {
        if bytes <= SMALL_BYTES_MAX { &mut self.small } else { &mut self.large }
    }
}

impl ObjectStorage {
    /// One attempt to read `range`, hedged if it is slow. The caller holds a reader's permit.
    pub(super) async fn get_hedged(
        &self,
        key: &str,
        location: &Path,
        range: &Range<u64>,
    ) -> Result<Bytes> {
        let ask = || {
            let attempt = get_exactly(&self.store, location, range.clone());
            self.once("get", key, self.options.read_timeout, attempt)
        };
        let bytes = range.end - range.start;
        let slow = self.hedging.begin(bytes);
        let started = self.clock.monotonic();
        let elapsed = || self.clock.monotonic().saturating_sub(started);
        let mut first = pin!(ask());
        if let Ok(answer) = tokio::time::timeout(slow, &mut first).await {
            if answer.is_ok() {
                self.hedging.note(bytes, elapsed());
            }
            return answer;
        }
        // Only a request that is at work may be doubled: others wait for its permit otherwise.
        let permit = self.reads.try_acquire().ok();
        if permit.is_none() || !self.hedging.take() {
            count("denied");
            let answer = first.await;
            if answer.is_ok() {
                self.hedging.note(bytes, elapsed());
            }
            return answer;
        }
        let (answer, second_won) = first_good(first, pin!(ask())).await;
        if answer.is_ok() {
            self.hedging.note(bytes, elapsed());
        }
        count(match (&answer, second_won) {
            (Ok(_), true) => "won",
            (Ok(_), false) => "lost",
            (Err(_), _) => "failed",
        });
        answer
    }
}

/// The answer that comes first, unless it is a failure that the other request may not share; and
/// whether it is the second's.
async fn first_good<F: Future<Output = Result<Bytes>> + Unpin, S>(
    first: F,
    second: S,
) -> (Result<Bytes>, bool)
where
    S: Future<Output = Result<Bytes>> + Unpin,
{
    let definite = |answer: &Result<Bytes>| match answer {
        Ok(_) => true,
        Err(error) => is_not_found(error),
    };
    match select(first, second).await {
        Either::Left((answer, _)) if definite(&answer) => (answer, false),
        Either::Left((_, second)) => (second.await, true),
        Either::Right((answer, _)) if definite(&answer) => (answer, true),
        Either::Right((_, first)) => (first.await, false),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("streamhouse_object_store_hedges_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests;

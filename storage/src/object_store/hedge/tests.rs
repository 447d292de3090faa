//! Slow requests and their hedges, under paused time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use common::{
    clock::{SharedClock, TokioClock},
    rng::Rng,
};
use object_store::memory::InMemory;

use super::*;
use crate::object_store::{
    StorageOptions,
    faulty::{Fault, FaultyObjectStore, Operation},
};

const SLOW: Duration = Duration::from_secs(10);

struct Subject {
    store: FaultyObjectStore,
    storage: Arc<ObjectStorage>,
    clock: SharedClock,
}

impl Subject {
    /// A store with an object `k` of three bytes that has answered `requests` GETs in `latency`.
    async fn warm(requests: usize, latency: Duration) -> Self {
        let clock: SharedClock = Arc::new(TokioClock::starting_at(1_700_000_000_000));
        let rng = Rng::seeded(1);
        let inner = Arc::new(InMemory::new());
        let store = FaultyObjectStore::new(inner, Arc::clone(&clock), rng.clone());
        let options = StorageOptions::default();
        let storage = ObjectStorage::new(Arc::new(store.clone()), options, Arc::clone(&clock), rng);
        storage.put("k", &[Bytes::from_static(b"abc")]).await.unwrap();
        let subject = Self { store, storage: Arc::new(storage), clock };
        subject.store.delay(Operation::Get, vec![latency; requests]);
        for _ in 0..requests {
            subject.read().await.unwrap();
        }
        subject
    }

    async fn read(&self) -> Result<Bytes> {
        self.storage.get_range("k", 0..3).await
    }

    /// Reads once; how long it took and how many requests it was.
    async fn timed(&self) -> (Result<Bytes>, Duration, u64) {
        let (at, before) = (self.clock.monotonic(), self.store.requests(Operation::Get));
        let answer = self.read().await;
        (answer, self.clock.monotonic() - at, self.store.requests(Operation::Get) - before)
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_asked_again_and_the_first_good_answer_wins() {
    let subject = Subject::warm(100, Duration::from_millis(30)).await;
    subject.store.delay(Operation::Get, [SLOW, Duration::from_millis(5)]);
    let (answer, elapsed, requests) = subject.timed().await;
    assert_eq!(answer.unwrap(), "abc");
    assert_eq!((elapsed.as_millis(), requests), (35, 2));

    // The second is slower still: the first one's answer counts, and nobody waits for the other.
    subject.store.delay(Operation::Get, [Duration::from_millis(70), SLOW]);
    let (answer, elapsed, requests) = subject.timed().await;
    assert_eq!(answer.unwrap(), "abc");
    assert_eq!((elapsed.as_millis(), requests), (70, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_one_waits_for_the_other_and_two_failures_are_retried() {
    let subject = Subject::warm(100, Duration::from_millis(30)).await;
    subject.store.delay(Operation::Get, [Duration::from_millis(100), Duration::from_millis(20)]);
    subject.store.script(Operation::Get, [None, Some(Fault::Unavailable)]);
    let (answer, elapsed, requests) = subject.timed().await;
    assert_eq!(answer.unwrap(), "abc");
    assert_eq!((elapsed.as_millis(), requests), (100, 2));

    subject.store.delay(Operation::Get, [Duration::from_millis(100), Duration::from_millis(20)]);
    subject.store.script(Operation::Get, [Some(Fault::ResetBefore), Some(Fault::Unavailable)]);
    let (answer, _, requests) = subject.timed().await;
    assert_eq!(answer.unwrap(), "abc");
    assert_eq!(requests, 3);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_gone_at_the_first_word() {
    let subject = Subject::warm(100, Duration::from_millis(30)).await;
    subject.store.delay(Operation::Get, [SLOW, Duration::ZERO]);
    let at = subject.clock.monotonic();
    let gone = subject.storage.get_range("none", 0..3).await.unwrap_err();
    assert!(is_not_found(&gone), "{gone}");
    assert!(subject.clock.monotonic() - at < Duration::from_millis(40));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_slow_as_a_whole_gets_few_more_requests() {
    let subject = Subject::warm(100, Duration::from_millis(30)).await;
    let before = subject.store.requests(Operation::Get);
    // Each wave is slower than what the waves before it have taught.
    let mut asked = 0;
    for wave in 1..=40_u64 {
        subject.store.delay(Operation::Get, vec![Duration::from_millis(30 + 40 * wave); 64]);
        for _ in 0..20 {
            subject.read().await.unwrap();
            asked += 1;
        }
        subject.store.forget_delays(Operation::Get);
    }
    let hedges = subject.store.requests(Operation::Get) - before - asked;
    let allowed = asked / u64::from(REQUESTS_PER_HEDGE) + u64::from(HEDGES_IN_A_ROW);
    assert!(hedges <= allowed, "{hedges} hedges for {asked} requests");
    assert!(hedges > 0);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_waits_for_no_permit() {
    let subject = Subject::warm(100, Duration::from_millis(30)).await;
    let permits = StorageOptions::default().reads_in_flight_max;
    subject.store.delay(Operation::Get, vec![Duration::from_secs(1); 2 * permits]);
    let before = subject.store.requests(Operation::Get);
    let reads = (0..permits).map(|_| subject.read());
    for answer in futures::future::join_all(reads).await {
        assert_eq!(answer.unwrap(), "abc");
    }
    assert_eq!(subject.store.requests(Operation::Get) - before, permits as u64);
}

#[test]
fn the_bound_is_the_95th_percentile_between_floor_and_ceiling() {
    let of = |millis: &mut dyn Iterator<Item = u64>| {
        let mut latencies = Latencies::default();
        millis.for_each(|ms| latencies.note(Duration::from_millis(ms)));
        latencies.bound().as_millis()
    };
    assert_eq!(of(&mut (1..=100)), 95);
    assert_eq!(of(&mut std::iter::repeat_n(1, 100)), AFTER_MIN.as_millis());
    assert_eq!(of(&mut std::iter::repeat_n(60_000, 100)), AFTER_MAX.as_millis());
    assert_eq!(of(&mut (1..10)), AFTER_MAX.as_millis());
    // What is long past is forgotten.
    let changed = std::iter::repeat_n(900, 500).chain(std::iter::repeat_n(40, LATENCIES_KEPT));
    assert_eq!(of(&mut changed.into_iter()), 40);
}

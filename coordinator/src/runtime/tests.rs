//! The runtime over a log in memory that fails, forgets and waits when told to.

#![allow(clippy::unwrap_used)]

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    ProducerId,
    clock::TokioClock,
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use futures::FutureExt as _;
use protocol::{ErrorCode, records::CompressionType};
use tokio::{sync::oneshot, time::sleep};

use super::{fake_log::FakeLog, *};
use crate::shard::{EncodedRecord, LogRecord, RecordError};

/// A sum at which a timer is overdue as soon as the shard is loaded.
const OVERDUE: u64 = 99;

/// A shard that counts: hard state is a sum and what transactions add to it.
#[derive(Debug, Default)]
struct Counter {
    sum: u64,
    pending: BTreeMap<ProducerId, u64>,
    /// Soft state.
    waiters: Vec<oneshot::Sender<u64>>,
    rang: u32,
    unloaded: Option<ErrorCode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Add(u8);

impl LogRecord for Add {
    fn encode(&self) -> Result<EncodedRecord, RecordError> {
        let value = Some(Bytes::copy_from_slice(&[self.0]));
        Ok(EncodedRecord { key: Bytes::from_static(b"\0\x01"), value })
    }

    fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Self>, RecordError> {
        if key.as_ref() != b"\0\x01" {
            return Ok(None);
        }
        let broken = || RecordError { record_type: 1, reason: "no value".into() };
        let value = value.and_then(|value| value.first().copied()).ok_or_else(broken)?;
        Ok(Some(Self(value)))
    }
}

impl Shard for Counter {
    type Record = Add;
    type Timer = u32;

    fn replay(&mut self, at: Replayed, Add(n): Add) {
        match at.transaction {
            Some((producer_id, _)) => *self.pending.entry(producer_id).or_default() += u64::from(n),
            None => self.sum += u64::from(n),
        }
    }

    fn replay_marker(&mut self, producer_id: ProducerId, _epoch: i16, committed: bool) {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        self.sum += if committed { pending } else { 0 };
    }

    fn loaded(&mut self, context: &mut Context<'_, u32>) {
        context.set_timer(0, Duration::from_secs(3_600));
        if self.sum == OVERDUE {
            context.set_timer(1, Duration::ZERO);
        }
    }

    fn expired(&mut self, timer: u32, _context: &mut Context<'_, u32>) -> Outcome<(), Add> {
        self.rang += 1;
        Outcome::write(vec![Add(u8::try_from(timer).unwrap())], ())
    }

    fn unloaded(&mut self, error: ErrorCode) {
        self.unloaded = Some(error);
        self.waiters.clear();
    }
}

fn add(n: u8) -> impl FnOnce(&mut Counter, &mut Context<'_, u32>) -> Outcome<u64, Add> {
    move |shard, _| Outcome::write(vec![Add(n)], shard.sum + u64::from(n))
}

fn runtime(log: &Arc<FakeLog>) -> Runtime<Counter> {
    let deps = RuntimeDeps {
        name: "test",
        log: Arc::<FakeLog>::clone(log),
        clock: Arc::new(TokioClock::starting_at(crate::testing::EPOCH_MS)),
        rng: Rng::seeded(1),
        spawner: Spawner::tasks(Fatal::new(|reason| panic!("{reason}"))),
        compression: Compression::Gzip(-1),
    };
    Runtime::new(deps, |_| Counter::default())
}

/// Runs a test on a paused clock: sleeps end when nothing else can happen.
fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// Lets every task go on as far as it can.
async fn settle() {
    sleep(Duration::from_millis(20)).await;
}

async fn started(log: &Arc<FakeLog>) -> Runtime<Counter> {
    let runtime = runtime(log);
    runtime.start(0);
    settle().await;
    runtime
}

async fn sum(runtime: &Runtime<Counter>) -> Result<u64, ErrorCode> {
    runtime.read(0, |shard| shard.sum).await
}

#[test]
fn an_answer_waits_until_its_batch_is_durable() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        log.hold();
        let writer = runtime.clone();
        let (mut write, mut read) = (
            tokio::spawn(async move { writer.write(0, add(5)).await }),
            tokio::spawn({
                let runtime = runtime.clone();
                async move { sum(&runtime).await }
            }),
        );
        settle().await;
        assert!((&mut write).now_or_never().is_none());
        assert!((&mut read).now_or_never().is_none(), "a read reveals what is not durable");
        log.sync();
        assert_eq!(write.await.unwrap(), Ok(5));
        assert_eq!(read.await.unwrap(), Ok(5));
    });
}

#[test]
fn batches_are_compressed_as_configured_and_read_again() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        runtime.write(0, add(1)).await.unwrap();
        runtime.write(0, add(2)).await.unwrap();
        assert_eq!(log.codecs(), [CompressionType::Gzip; 2]);
        assert_eq!(sum(&started(&log).await).await, Ok(3));
    });
}

#[test]
fn a_batch_taken_back_takes_the_shard_with_it() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        runtime.write(0, add(1)).await.unwrap();
        log.hold();
        let writes: Vec<_> = [2, 3]
            .map(|n| {
                let runtime = runtime.clone();
                tokio::spawn(async move { runtime.write(0, add(n)).await })
            })
            .into();
        settle().await;
        log.take_back();
        for write in writes {
            assert_eq!(write.await.unwrap(), Err(ErrorCode::NotCoordinator));
        }
        settle().await;
        assert_eq!(sum(&runtime).await, Ok(1));
        assert_eq!(runtime.write(0, add(4)).await, Ok(5));
        assert_eq!(log.len(), 2);
    });
}

#[test]
fn nobody_appends_behind_a_lost_batch_that_nobody_waits_for() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        log.hold();
        let write = tokio::spawn({
            let runtime = runtime.clone();
            async move { runtime.write(0, add(9)).await }
        });
        settle().await;
        write.abort();
        log.take_back();
        assert_eq!(runtime.write(0, add(1)).await, Err(ErrorCode::NotCoordinator));
        settle().await;
        assert_eq!(runtime.write(0, add(1)).await, Ok(1));
        assert_eq!(sum(&runtime).await, Ok(1));
    });
}

#[test]
fn waiters_are_answered_though_the_request_that_answers_them_goes_away() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        let (sender, waiter) = oneshot::channel();
        runtime
            .write(0, |shard, _| {
                shard.waiters.push(sender);
                Outcome::read(())
            })
            .await
            .unwrap();
        log.hold();
        let release = tokio::spawn({
            let runtime = runtime.clone();
            async move {
                let release = runtime.write(0, |shard, context| {
                    for waiter in shard.waiters.drain(..) {
                        context.answer(waiter, 7);
                    }
                    Outcome::write(vec![Add(7)], ())
                });
                release.await
            }
        });
        settle().await;
        release.abort();
        log.sync();
        assert_eq!(waiter.await, Ok(7));
    });
}

#[test]
fn waiters_see_their_channel_close_when_the_answer_is_lost() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        log.hold();
        let (sender, waiter) = oneshot::channel::<u64>();
        let write = tokio::spawn({
            let runtime = runtime.clone();
            async move {
                let answered = runtime.write(0, |_, context| {
                    context.answer(sender, 1);
                    Outcome::write(vec![Add(1)], ())
                });
                answered.await
            }
        });
        settle().await;
        log.take_back();
        assert_eq!(write.await.unwrap(), Err(ErrorCode::NotCoordinator));
        assert!(waiter.await.is_err());
    });
}

#[test]
fn requests_are_refused_while_the_log_is_loaded_and_served_after() {
    run(async {
        let log = FakeLog::new();
        log.put(&[3, 4], None);
        log.slow_reads(Duration::from_secs(1));
        let runtime = runtime(&log);
        assert_eq!(sum(&runtime).await, Err(ErrorCode::NotCoordinator));
        runtime.start(0);
        settle().await;
        assert_eq!(sum(&runtime).await, Err(ErrorCode::CoordinatorLoadInProgress));
        assert_eq!(runtime.stats().loading, 1);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(sum(&runtime).await, Ok(7));
        assert_eq!((runtime.stats().active, runtime.stats().loads), (1, 1));
    });
}

#[test]
fn loading_waits_for_what_is_appended_and_not_yet_durable() {
    run(async {
        let log = FakeLog::new();
        log.put(&[1], None);
        log.hold();
        log.put(&[2], None);
        let runtime = started(&log).await;
        assert_eq!(sum(&runtime).await, Err(ErrorCode::CoordinatorLoadInProgress));
        log.sync();
        settle().await;
        assert_eq!(sum(&runtime).await, Ok(3));
    });
}

#[test]
fn a_failing_storage_and_a_damaged_log_are_asked_again() {
    run(async {
        let log = FakeLog::new();
        log.put(&[1], None);
        log.fail_reads(2);
        let runtime = started(&log).await;
        assert_eq!(sum(&runtime).await, Err(ErrorCode::CoordinatorLoadInProgress));
        sleep(Duration::from_secs(3)).await;
        assert_eq!(sum(&runtime).await, Ok(1));
    });
    run(async {
        let log = FakeLog::new();
        log.put(&[7], None);
        log.put_raw(b"\0\x01", None);
        let runtime = started(&log).await;
        assert_eq!(sum(&runtime).await, Err(ErrorCode::CoordinatorNotAvailable));
        sleep(Duration::from_secs(10)).await;
        // It was tried again, and says so all the time.
        assert_eq!(sum(&runtime).await, Err(ErrorCode::CoordinatorNotAvailable));
        assert_eq!(runtime.stats().failed, 1);
        log.mend();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(sum(&runtime).await, Ok(7));
        assert_eq!(runtime.stats().failed, 0);
    });
}

#[test]
fn records_of_unknown_types_are_skipped() {
    run(async {
        let log = FakeLog::new();
        log.put_raw(b"\0\x0b", Some(b"share"));
        log.put(&[6], None);
        let runtime = started(&log).await;
        assert_eq!(sum(&runtime).await, Ok(6));
    });
}

#[test]
fn transactions_count_when_their_marker_is_there_live_and_loaded() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        let transaction =
            |id| TransactionalWrite { producer_id: ProducerId(id), producer_epoch: 0, guard: None };
        let end = |id, committed| TransactionEnd {
            producer_id: ProducerId(id),
            producer_epoch: 0,
            coordinator_epoch: 0,
            committed,
            transaction_version: 2,
        };
        for id in [1, 2, 3] {
            runtime.commit_transactional(0, transaction(id), add(10)).await.unwrap();
        }
        assert_eq!(sum(&runtime).await, Ok(0));
        runtime.complete_transaction(0, end(1, true)).await.unwrap();
        runtime.complete_transaction(0, end(2, false)).await.unwrap();
        assert_eq!(sum(&runtime).await, Ok(10));
        let reloaded = started(&log).await;
        assert_eq!(reloaded.read(0, |shard| (shard.sum, shard.pending.len())).await, Ok((10, 1)));
        log.refuse(1, &LogError::Refused(ErrorCode::InvalidProducerEpoch));
        let refused = reloaded.commit_transactional(0, transaction(3), add(1)).await;
        assert_eq!(refused, Err(ErrorCode::InvalidProducerEpoch));
        assert_eq!(reloaded.stats().loads, 1, "one client's refusal is nobody else's business");
    });
}

#[test]
fn what_is_too_large_is_refused_or_split() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        let many = || vec![Add(1); 400];
        let refused = runtime.commit(0, |_, _| Outcome::write(many(), ())).await;
        assert_eq!(refused, Err(ErrorCode::UnknownServerError));
        assert_eq!((sum(&runtime).await, runtime.stats().loads), (Ok(0), 1));
        runtime.commit(0, |_, _| Outcome::write_in_parts(many(), ())).await.unwrap();
        assert_eq!(sum(&runtime).await, Ok(400));
        assert!(log.batches() > 1);
        assert_eq!(sum(&started(&log).await).await, Ok(400));
    });
}

#[test]
fn timers_run_at_their_time_and_move() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        let set = |timer, seconds| {
            runtime.write(0, move |_, context| {
                context.set_timer(timer, Duration::from_secs(seconds));
                Outcome::read(())
            })
        };
        set(10, 60).await.unwrap();
        set(20, 30).await.unwrap();
        set(20, 5).await.unwrap();
        sleep(Duration::from_secs(6)).await;
        assert_eq!(sum(&runtime).await, Ok(20));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(runtime.read(0, |shard| (shard.sum, shard.rang)).await, Ok((30, 2)));
    });
}

#[test]
fn an_overdue_timer_that_the_log_refuses_comes_again_after_a_rest_each_time() {
    run(async {
        let log = FakeLog::new();
        log.put(&[u8::try_from(OVERDUE).unwrap()], None);
        log.refuse(3, &LogError::Storage("the disk is full".into()));
        let runtime = started(&log).await;
        for loads in [2, 3, 4] {
            assert_eq!((runtime.stats().loads, sum(&runtime).await), (loads, Ok(OVERDUE)));
            sleep(TIMERS_REST).await;
        }
        assert_eq!((runtime.stats().loads, sum(&runtime).await), (4, Ok(OVERDUE + 1)));
    });
}

#[test]
fn a_stopped_partition_answers_nobody_and_its_waiters_know() {
    run(async {
        let log = FakeLog::new();
        let runtime = started(&log).await;
        let (sender, waiter) = oneshot::channel();
        runtime
            .write(0, |shard, _| {
                shard.waiters.push(sender);
                Outcome::read(())
            })
            .await
            .unwrap();
        runtime.shutdown();
        assert!(waiter.await.is_err());
        assert_eq!(sum(&runtime).await, Err(ErrorCode::NotCoordinator));
        runtime.start(0);
        assert!(runtime.partitions().is_empty());
    });
}

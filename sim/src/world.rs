//! A run: lives of a broker under faults, then one that heals, then one that is checked.
//!
//! Each life has a runtime of its own, paused and single-threaded; a crash drops it with all the
//! broker's tasks, while disk, bucket, metadata and clients live on. Invariant: everything that
//! happens follows from the seed.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use common::{clock::Clock, rng::Rng};
use futures::FutureExt;
use metadata::MemoryStore;
use object_store::memory::InMemory;
use storage::{object_store::faulty::FaultyObjectStore, wal::sim_fs::SimWalFs};

use crate::{
    clients::{
        admin::{Admin, Duties},
        fetcher::Fetcher,
        group_watcher::GroupWatcher,
        member::Member,
        producer::Producer,
        transactor::Transactor,
    },
    clock::SimClock,
    finale,
    history::History,
    incarnation::{self, Ground, Incarnation, Stopped},
    invariants::Violation,
    observer::observe,
    ops::{
        groups::SESSION_TIMEOUT_MS,
        topics::{self, SimTopic},
    },
    options::Options,
    report::Report,
    schedule::{LifePlan, PlannedEnd},
    start_error,
    trace::Trace,
};

/// The topic of the transactional producers.
const TRANSACTIONS: &str = "transactions";

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    PowerLoss,
    CleanStop,
    /// The broker asked to be stopped.
    Fatal,
    /// It did not come up.
    NotStarted,
    Violated,
}

/// Everyone who talks to the broker.
struct Clients {
    producers: Vec<Arc<Producer>>,
    fetchers: Vec<Arc<Fetcher>>,
    transactors: Vec<Arc<Transactor>>,
    members: Vec<Arc<Member>>,
    watchers: Vec<Arc<GroupWatcher>>,
    admin: Arc<Admin>,
}

struct World {
    options: Options,
    ground: Ground,
    bucket: Arc<InMemory>,
    history: Arc<History>,
    rng: Rng,
    clients: Option<Clients>,
}

/// Runs one seed. `print` writes the trace to stderr, `keep` returns all of it.
#[must_use]
pub fn run(seed: u64, print: bool, keep: bool) -> Report {
    run_with(Options::from_seed(seed), print, keep)
}

/// Runs with these options.
#[must_use]
pub fn run_with(options: Options, print: bool, keep: bool) -> Report {
    let clock = Arc::new(SimClock::default());
    let trace = Trace::new(Arc::clone(&clock), print, keep);
    let rng = Rng::seeded(options.seed ^ 0x5EED_0F5E_ED00);
    let bucket = Arc::new(InMemory::new());
    let shared_clock = Arc::<SimClock>::clone(&clock);
    let store = FaultyObjectStore::new(Arc::<InMemory>::clone(&bucket), shared_clock, fork(&rng));
    let ground = Ground {
        wal_fs: SimWalFs::new(fork(&rng)),
        store,
        metadata: Arc::new(MemoryStore::new()),
        clock: Arc::clone(&clock),
    };
    let history = History::new(clock, trace.clone());
    trace.line(&options.to_string());
    let world = World { options, ground, bucket, history, rng, clients: None };
    observe(&trace, || world.run())
}

/// A generator of its own for one part of the world.
fn fork(rng: &Rng) -> Rng {
    Rng::seeded(rng.next_u64())
}

impl World {
    fn run(mut self) -> Report {
        for number in 0..self.options.lives {
            if self.history.violation().is_some() {
                break;
            }
            let plan = LifePlan::draw(&self.rng, &self.options.faults);
            let end = self.life(&format!("life {number}"), &plan, Phase::Faults);
            self.crash(end);
        }
        for phase in [Phase::Heal, Phase::Check] {
            if self.history.violation().is_none() {
                let plan = LifePlan::calm(finale::LIVENESS);
                let end = self.life(&format!("{phase:?}"), &plan, phase);
                self.crash(end);
            }
        }
        Report::new(self.options, &self.history)
    }

    /// What the disk is for the next life.
    fn crash(&mut self, end: End) {
        let machine = match end {
            End::PowerLoss => true,
            End::Fatal => self.rng.below(2) == 0,
            End::Kill | End::CleanStop | End::NotStarted | End::Violated => false,
        };
        self.history.trace.mark(&format!("sim: end {end:?}"));
        self.history.groups().life_ended();
        self.ground.wal_fs = if machine {
            self.ground.wal_fs.restart_machine()
        } else {
            self.ground.wal_fs.restart_process()
        };
    }

    fn life(&mut self, name: &str, plan: &LifePlan, phase: Phase) -> End {
        let history = Arc::clone(&self.history);
        history.event(&format!("=== {name}: {plan:?}"));
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                history.violate(Violation::crash(format!("no runtime: {error}")));
                return End::Violated;
            }
        };
        let stopped = Stopped::default();
        let end = runtime.block_on(async {
            history.clock.attach();
            let life = AssertUnwindSafe(self.live(plan, phase, &stopped)).catch_unwind().await;
            history.clock.detach();
            life.unwrap_or_else(|_| {
                history.violate(Violation::crash("the broker's start panicked".to_owned()));
                End::Violated
            })
        });
        drop(runtime);
        history.event(&format!("=== {name} ended: {end:?}"));
        if end == End::Fatal {
            self.judge_stop(plan, &stopped);
        }
        end
    }

    /// A broker may only stop itself after a failed sync.
    fn judge_stop(&self, plan: &LifePlan, stopped: &Stopped) {
        let reason = stopped.reason().unwrap_or_default();
        self.history.event(&format!("the broker stopped itself: {reason}"));
        let allowed = plan.disk.fail_sync_after.is_some() && !reason.contains("panicked");
        if !allowed {
            self.history.violate(Violation::crash(format!("the broker stopped itself: {reason}")));
        }
    }

    async fn live(&mut self, plan: &LifePlan, phase: Phase, stopped: &Stopped) -> End {
        let history = Arc::clone(&self.history);
        let wal_fs = self.ground.wal_fs.clone();
        let end = tokio::select! {
            biased;
            () = history.violated.cancelled() => End::Violated,
            () = stopped.token.cancelled() => End::Fatal,
            () = wal_fs.powered_off() => End::PowerLoss,
            end = self.work(plan, phase, stopped) => end,
        };
        if end == End::Fatal { End::Fatal } else { self.settle(end) }
    }

    /// A violation that was found on the way out counts.
    fn settle(&self, end: End) -> End {
        if self.history.violation().is_some() { End::Violated } else { end }
    }

    async fn work(&mut self, plan: &LifePlan, phase: Phase, stopped: &Stopped) -> End {
        let spawner = incarnation::spawner(stopped);
        let first = self.clients.is_none();
        let calm = LifePlan::calm(Duration::ZERO);
        let at_start = if first { &calm } else { plan };
        at_start.begin(&self.ground.wal_fs, &self.ground.store, &self.history);
        let seed = self.rng.next_u64();
        let started = Incarnation::start(&self.ground, &self.options, seed, spawner.clone()).await;
        let incarnation = match started {
            Ok(incarnation) => incarnation,
            Err(error) => {
                self.history.event(&format!("start failed: {error}"));
                self.history.trace.mark("sim: start failed");
                let tolerated = phase == Phase::Faults;
                self.history.check(start_error::judge(&error, tolerated));
                return End::NotStarted;
            }
        };
        if first {
            if let Err(violation) = self.create_world(&incarnation).await {
                self.history.violate(violation);
                return End::Violated;
            }
            plan.begin(&self.ground.wal_fs, &self.ground.store, &self.history);
        }
        let end = self.serve(plan, phase, &incarnation).await;
        if spawner.panics() > 0 {
            let message = format!("{} tasks of the broker panicked", spawner.panics());
            self.history.violate(Violation::crash(message));
        }
        end
    }

    /// The topics, and the clients that use them.
    async fn create_world(&mut self, incarnation: &Incarnation) -> Result<(), Violation> {
        let (options, history) = (&self.options, &self.history);
        let mut client = incarnation.connect("setup");
        let mut made: Vec<SimTopic> = Vec::new();
        for (name, partitions) in
            [("local", options.local_partitions), ("object", options.object_partitions)]
        {
            if partitions > 0 {
                let topic = topics::create(&mut client, history, name, partitions, name).await;
                let topic = topic.ok().flatten();
                made.push(topic.ok_or_else(|| {
                    Violation::liveness(format!("topic {name} cannot be created"))
                })?);
            }
        }
        let transactional = match options.transactors {
            0 => None,
            _ => {
                let made = topics::create_plain(&mut client, history, TRANSACTIONS, 3).await;
                let made = made.ok().flatten();
                Some(made.ok_or_else(|| {
                    Violation::liveness(format!("topic {TRANSACTIONS} cannot be created"))
                })?)
            }
        };
        let producers = options.producers.iter().enumerate().map(|(index, producer)| {
            Arc::new(Producer::new(
                format!("producer {index}"),
                *producer,
                options.value_bytes_max,
                options.faults.network_cuts,
                fork(&self.rng),
                Arc::clone(history),
                &made,
            ))
        });
        let producers = producers.collect();
        let fetcher = |index| {
            let name = format!("fetcher {index}");
            Arc::new(Fetcher::new(name, fork(&self.rng), Arc::clone(history), &made))
        };
        let duties = Duties {
            delete_records: options.delete_records,
            topic_churn: options.topic_churn,
            class_changes: options.class_changes,
        };
        let (members, watchers) = made.first().map(|topic| self.groups(topic)).unwrap_or_default();
        self.clients = Some(Clients {
            members,
            watchers,
            producers,
            fetchers: (0..options.fetchers).map(fetcher).collect(),
            admin: Arc::new(Admin::new(duties, fork(&self.rng), Arc::clone(history), &made)),
            transactors: transactional
                .iter()
                .flat_map(|topic| (0..options.transactors).map(move |index| (topic, index)))
                .map(|(topic, index)| {
                    let id = format!("transactor-{index}");
                    let history = Arc::clone(history);
                    Arc::new(Transactor::new(id, topic.clone(), fork(&self.rng), history))
                })
                .collect(),
        });
        Ok(())
    }

    /// The members of all groups, and who watches them.
    fn groups(&self, topic: &SimTopic) -> (Vec<Arc<Member>>, Vec<Arc<GroupWatcher>>) {
        let history = &self.history;
        // Apart from the world's generator, so that the rest of a seed stays what it was.
        let rng = Rng::seeded(self.options.seed ^ 0x6B00_F55E_ED00);
        let (mut members, mut watchers) = (Vec::new(), Vec::new());
        for group in &self.options.groups {
            let group_id = format!("group {:?}", group.protocol);
            history.groups().add(&group_id, group.protocol, SESSION_TIMEOUT_MS.into());
            for at in 0..group.members {
                members.push(Arc::new(Member::new(
                    format!("member {at} of {group_id}"),
                    (group_id.clone(), group.protocol),
                    topic.clone(),
                    self.options.faults.network_cuts,
                    fork(&rng),
                    Arc::clone(history),
                )));
            }
            let watcher =
                GroupWatcher::new(group_id, topic.clone(), fork(&rng), Arc::clone(history));
            watchers.push(Arc::new(watcher));
        }
        (members, watchers)
    }

    async fn serve(&self, plan: &LifePlan, phase: Phase, incarnation: &Incarnation) -> End {
        let Some(clients) = &self.clients else { return End::NotStarted };
        match phase {
            Phase::Faults => {
                self.grant(clients);
                clients.spawn(incarnation, true);
                tokio::time::sleep(plan.duration).await;
                match plan.end {
                    PlannedEnd::Kill => End::Kill,
                    PlannedEnd::PowerLoss => End::PowerLoss,
                    PlannedEnd::CleanStop => {
                        incarnation.stop().await;
                        End::CleanStop
                    }
                }
            }
            Phase::Heal => {
                self.grant(clients);
                clients.spawn(incarnation, false);
                let healed = finale::finish_producing(&self.history, &clients.producers).await;
                self.history.check(healed);
                let healed = finale::finish_transactions(&self.history, &clients.transactors).await;
                self.history.check(healed);
                let healed = finale::settle_groups(&self.history, &clients.members).await;
                self.history.check(healed);
                End::Kill
            }
            Phase::Check => {
                let ground = &self.ground;
                let limit = self.options.wal_max_bytes;
                let checked =
                    finale::check(&self.history, ground, &self.bucket, incarnation, limit).await;
                self.history.check(checked);
                for transactor in &clients.transactors {
                    self.history.check(transactor.check(incarnation).await);
                }
                let buried =
                    finale::bury_groups(&self.history, incarnation, &clients.watchers).await;
                self.history.check(buried);
                End::Kill
            }
        }
    }

    /// A part of each producer's batches for this life.
    fn grant(&self, clients: &Clients) {
        for (producer, options) in clients.producers.iter().zip(&self.options.producers) {
            producer.grant((options.batches / (self.options.lives + 1)).max(3));
        }
        for transactor in &clients.transactors {
            transactor.grant(8);
        }
    }
}

impl Clients {
    fn spawn(&self, incarnation: &Incarnation, with_admin: bool) {
        for producer in &self.producers {
            let (producer, incarnation) = (Arc::clone(producer), incarnation.clone());
            tokio::spawn(async move { producer.run(incarnation).await });
        }
        for transactor in &self.transactors {
            let (transactor, incarnation) = (Arc::clone(transactor), incarnation.clone());
            tokio::spawn(async move { transactor.run(incarnation).await });
        }
        for fetcher in &self.fetchers {
            let (fetcher, incarnation) = (Arc::clone(fetcher), incarnation.clone());
            tokio::spawn(async move { fetcher.run(incarnation).await });
        }
        for member in &self.members {
            let (member, incarnation) = (Arc::clone(member), incarnation.clone());
            tokio::spawn(async move { member.run(incarnation).await });
        }
        for watcher in &self.watchers {
            let (watcher, incarnation) = (Arc::clone(watcher), incarnation.clone());
            tokio::spawn(async move { watcher.run(incarnation).await });
        }
        if with_admin {
            let (admin, incarnation) = (Arc::clone(&self.admin), incarnation.clone());
            tokio::spawn(async move { admin.run(incarnation).await });
        }
    }
}

/// Which part of a run a life belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Faults,
    Heal,
    Check,
}

/// A paused single-threaded runtime. Where several tasks could go next its order is fixed; only a
/// `select!` without `biased` would draw from the operating system, so the broker has none.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

/// Simulated time of a run so far.
#[must_use]
pub fn elapsed(history: &History) -> Duration {
    history.clock.monotonic()
}

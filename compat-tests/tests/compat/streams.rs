//! A Kafka Streams application with `exactly_once_v2` over the flights of 2013: what comes out of it
//! while it and the broker are killed with SIGKILL equals, record for record, what comes out of the
//! same program on an Apache Kafka that nobody disturbs, in the same run.
//!
//! The program is `java/streams/FlightStreams.java`; what is compared, `python/streams.py` says.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::{program_start, python, python_start};
use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::{Broker, Options, Target};

const PROGRAM: &str = "streams.FlightStreams";
/// Longest wait for an instance to run, and for one that was asked to close to end.
const INSTANCE_TIMEOUT: Duration = Duration::from_secs(120);
/// Settings of the application for short runs: who is killed is missed soon, each instance has
/// standbys of the other's stores, and repartitioned records are deleted soon.
const SETTINGS: [&str; 4] = [
    "consumer.session.timeout.ms=6000",
    "consumer.heartbeat.interval.ms=500",
    "num.standby.replicas=1",
    "repartition.purge.interval.ms=1000",
];

/// One run: how much goes in, how fast, and who is killed how often meanwhile.
#[derive(Clone, Copy)]
struct Plan {
    rows: u64,
    rows_per_second: u64,
    application_kills: u64,
    broker_kills: u64,
    /// Longest wait for all of the output.
    seconds: u64,
}

/// An instance of the application. It keeps its state directory, and so its identity, over its
/// lives.
struct Instance {
    bootstrap: String,
    directory: PathBuf,
    process: Child,
    /// Bytes that former lives have logged.
    logged_before: usize,
}

impl Instance {
    fn start(bootstrap: &str, directory: PathBuf) -> Self {
        std::fs::create_dir_all(&directory).unwrap();
        let process = Self::launch(bootstrap, &directory);
        Self { bootstrap: bootstrap.to_owned(), directory, process, logged_before: 0 }
    }

    fn launch(bootstrap: &str, directory: &Path) -> Child {
        let state = directory.join("state");
        let mut arguments = vec![bootstrap, state.to_str().unwrap()];
        arguments.extend(SETTINGS);
        program_start(PROGRAM, &arguments, &log_of(directory), &directory.join("temp")).unwrap()
    }

    /// Kills it with SIGKILL and starts it again.
    fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // Native libraries that this life unpacked.
        std::fs::remove_dir_all(self.directory.join("temp")).unwrap();
        self.logged_before = self.log().len();
        self.process = Self::launch(&self.bootstrap, &self.directory);
    }

    fn assert_running(&mut self) {
        let status = self.process.try_wait().unwrap();
        assert!(status.is_none(), "{}: ended by itself: {status:?}", self.directory.display());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(log_of(&self.directory)).unwrap()
    }

    /// Once it runs, asks it to close, with SIGTERM, and waits until it has.
    fn close(mut self) {
        let deadline = Instant::now() + INSTANCE_TIMEOUT;
        while !self.log()[self.logged_before..].contains("running\n") {
            self.assert_running();
            assert!(Instant::now() < deadline, "{}: does not run", self.directory.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = wait(&mut self.process, INSTANCE_TIMEOUT);
        let log = self.log();
        let closed = log[self.logged_before..].contains("\nclosed\n");
        assert!(closed, "{}: {status}, but it did not close", self.directory.display());
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(log_of(&self.directory)).unwrap_or_default();
            let mut lines: Vec<&str> = log.lines().rev().take(80).collect();
            lines.reverse();
            println!("--- end of {} ---\n{}", self.directory.display(), lines.join("\n"));
        }
    }
}

fn log_of(directory: &Path) -> PathBuf {
    directory.join("log")
}

fn wait(process: &mut Child, timeout: Duration) -> ExitStatus {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "did not end within {timeout:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Instance(usize),
    Broker,
}

/// Everyone's turns, in random order; the application's instances take theirs one after the other.
fn victims(plan: Plan, instances: usize, random: &mut Random) -> Vec<Victim> {
    let mut open: Vec<bool> = vec![true; usize::try_from(plan.application_kills).unwrap()];
    open.resize(open.len() + usize::try_from(plan.broker_kills).unwrap(), false);
    let (mut victims, mut turn) = (Vec::new(), 0);
    while !open.is_empty() {
        let at = usize::try_from(random.within(0..open.len() as u64)).unwrap();
        if open.swap_remove(at) {
            victims.push(Victim::Instance(turn % instances));
            turn += 1;
        } else {
            victims.push(Victim::Broker);
        }
    }
    victims
}

/// The undisturbed run: one instance on Apache Kafka.
fn reference(directory: &Path, plan: Plan) -> Broker {
    let options = Options::new(&directory.join("kafka"));
    let broker = Broker::start_as(Target::Kafka, options).unwrap();
    let bootstrap = broker.bootstrap();
    let (rows, seconds) = (plan.rows.to_string(), plan.seconds.to_string());
    python("streams.py", &["prepare", &bootstrap]).unwrap();
    let application = Instance::start(&bootstrap, directory.join("kafka-application"));
    python("streams.py", &["feed", &bootstrap, &rows, "0"]).unwrap();
    python("streams.py", &["watch", &bootstrap, &rows, &seconds]).unwrap();
    application.close();
    broker
}

/// The run with the kills: two instances, killed one at a time, and the broker.
fn disturbed(directory: &Path, plan: Plan, random: &mut Random) -> Broker {
    let options =
        Options::new(&directory.join("data")).setting("group.initial.rebalance.delay.ms=0");
    let mut broker = Broker::start_with(options).unwrap();
    let bootstrap = broker.bootstrap();
    python("streams.py", &["prepare", &bootstrap]).unwrap();
    let mut instances: Vec<Instance> = ["application-1", "application-2"]
        .map(|name| Instance::start(&bootstrap, directory.join(name)))
        .into();
    let (rows, seconds) = (plan.rows.to_string(), plan.seconds.to_string());
    let rate = plan.rows_per_second.to_string();
    let mut feed = python_start("streams.py", &["feed", &bootstrap, &rows, &rate]).unwrap();
    let mut watch = python_start("streams.py", &["watch", &bootstrap, &rows, &seconds]).unwrap();

    let victims = victims(plan, instances.len(), random);
    // About three records come out of each row. Kills are spread over the first four fifths of them.
    let span = plan.rows * 3 * 4 / 5 / victims.len() as u64;
    let due = |at: usize, random: &mut Random| at as u64 * span + random.within(span / 4..span);
    let (mut kills, mut story) = (0, String::new());
    let mut next = due(0, random);
    let began = Instant::now();
    for line in BufReader::new(watch.stdout.take().unwrap()).lines() {
        let seen: u64 = line.unwrap().parse().unwrap();
        if kills == victims.len() || seen < next {
            continue;
        }
        let at = began.elapsed().as_secs_f32();
        writeln!(story, "{at:.1} s, {seen} came out: {:?} is killed", victims[kills]).unwrap();
        match victims[kills] {
            Victim::Instance(which) => {
                instances[which].assert_running();
                instances[which].kill_and_restart();
            }
            Victim::Broker => {
                broker.kill().unwrap();
                broker.restart().unwrap();
            }
        }
        kills += 1;
        next = due(kills, random);
    }
    println!("{story}{:.1} s: all came out", began.elapsed().as_secs_f32());
    assert!(watch.wait().unwrap().success(), "not all came out");
    assert!(feed.wait().unwrap().success(), "the feed failed");
    assert_eq!(kills, victims.len(), "kills that never came");
    instances.into_iter().for_each(Instance::close);
    broker
}

fn run(plan: Plan) {
    let mut random = Random::announced("streams");
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| reference(dir.path(), plan));
        let ours = disturbed(dir.path(), plan, &mut random);
        (ours, theirs.join().unwrap())
    });
    let rows = plan.rows.to_string();
    let compare = ["compare", &ours.bootstrap(), &theirs.bootstrap(), &rows];
    print!("{}", python("streams.py", &compare).unwrap());
}

#[test]
fn an_application_that_is_killed_writes_what_it_writes_on_apache_kafka() {
    run(Plan {
        rows: 27_004,
        rows_per_second: 1500,
        application_kills: 3,
        broker_kills: 2,
        seconds: 240,
    });
}

/// The protocol of KIP-1071, which StreamHouse does not have: an application must not hang.
#[test]
fn the_groups_of_streams_own_protocol_are_refused_clearly() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here("refusing group.protocol=streams", "Apache Kafka has it");
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let bootstrap = broker.bootstrap();
    python("streams.py", &["prepare", &bootstrap]).unwrap();
    let (state, log) = (dir.path().join("state"), dir.path().join("log"));
    let arguments = [bootstrap.as_str(), state.to_str().unwrap(), "group.protocol=streams"];
    let mut program = program_start(PROGRAM, &arguments, &log, &dir.path().join("temp")).unwrap();
    let status = wait(&mut program, INSTANCE_TIMEOUT);
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("does not support the STREAMS group protocol"), "{log}");
}

mod slow {
    use super::{Plan, run};

    #[test]
    fn an_application_over_all_flights_writes_what_it_writes_on_apache_kafka() {
        run(Plan {
            rows: 336_776,
            rows_per_second: 3000,
            application_kills: 10,
            broker_kills: 6,
            seconds: 900,
        });
    }
}

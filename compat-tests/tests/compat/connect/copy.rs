//! Two workers copy while they and the broker are killed: the topic holds each line once, the sink's
//! file each line at least once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::wait::until;

use super::lines::{Feed, append, flights};
use super::{INTERNAL, Setup, TIMEOUT, sink, source};

/// More than any run needs.
const LINES: usize = 100_000;
/// Longer than the session of a worker.
const LONG_PAUSE: Duration = Duration::from_secs(9);

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The worker with the source's task is killed, and later started again.
    KillSourceWorker,
    /// The worker with the sink's task is killed, and later started again.
    KillSinkWorker,
    /// The worker with the source's task stands still for longer than its session, and then goes on
    /// with what it was doing: a zombie.
    PauseSourceWorker,
    KillBroker,
    /// Everything at once, then everything starts again.
    KillAll,
}

#[test]
fn lines_are_copied_exactly_once_while_a_worker_and_the_broker_are_killed() {
    copy(&[Fault::KillSourceWorker, Fault::KillBroker]);
}

mod slow {
    use super::Fault::{KillAll, KillBroker, KillSinkWorker, KillSourceWorker, PauseSourceWorker};

    #[test]
    fn lines_are_copied_exactly_once_through_many_faults() {
        let round =
            [PauseSourceWorker, KillSourceWorker, KillBroker, KillSinkWorker, KillBroker, KillAll];
        super::copy(&[round, round].concat());
    }
}

fn copy(faults: &[Fault]) {
    let mut random = Random::announced("connect");
    let mut run = Run::start();
    let bootstrap = run.setup.broker.bootstrap();
    let internal = [&["internal", &bootstrap][..], &INTERNAL].concat();
    print!("{}", python("connect.py", &internal).unwrap());
    for &fault in faults {
        // Not always between the same two polls.
        std::thread::sleep(Duration::from_millis(random.within(0..700)));
        println!("{fault:?} after line {}", run.feed.last_line());
        run.inject(fault);
        run.await_flow();
    }
    run.finish();
}

struct Run {
    setup: Setup,
    feed: Feed,
    lines: Vec<String>,
    out: PathBuf,
}

impl Run {
    fn start() -> Self {
        let setup = Setup::new(2);
        let (input, out) = (setup.path("flights.csv"), setup.path("out"));
        let lines = flights(setup.dir.path(), LINES);
        let feed = Feed::start(&input, lines.clone());
        setup.create("source", &source(&input));
        setup.create("sink", &sink(&out));
        let run = Self { setup, feed, lines, out };
        run.await_spread();
        run.await_flow();
        run
    }

    /// Waits until the two connectors and their tasks are spread over both workers.
    fn await_spread(&self) {
        until("work for both workers", TIMEOUT, || {
            let workers = ["source", "sink"].map(|name| self.setup.await_state(name, "RUNNING"));
            Ok(if workers[0] == workers[1] { Err(format!("{workers:?}")) } else { Ok(()) })
        })
        .unwrap();
    }

    /// Waits until a line that is written after now has come through.
    fn await_flow(&self) {
        self.setup.await_line(&self.out, self.feed.last_line() + 1);
    }

    /// The number of the worker with the connector's task.
    fn worker_of(&self, connector: &str) -> usize {
        let id = self.setup.await_state(connector, "RUNNING");
        self.setup.workers.iter().position(|worker| worker.id() == id).unwrap()
    }

    fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::KillSourceWorker => self.kill_worker_of("source"),
            Fault::KillSinkWorker => self.kill_worker_of("sink"),
            Fault::PauseSourceWorker => self.pause_worker_of("source"),
            Fault::KillBroker => {
                self.setup.broker.kill().unwrap();
                self.setup.broker.restart().unwrap();
            }
            Fault::KillAll => {
                self.setup.broker.kill().unwrap();
                for worker in &mut self.setup.workers {
                    worker.kill().unwrap();
                }
                close_last_line(&self.out);
                self.setup.broker.restart().unwrap();
                for worker in &mut self.setup.workers {
                    worker.relaunch().unwrap();
                }
                for worker in &mut self.setup.workers {
                    worker.await_serving().unwrap();
                }
                self.await_spread();
            }
        }
    }

    fn kill_worker_of(&mut self, connector: &str) {
        let number = self.worker_of(connector);
        self.setup.workers[number].kill().unwrap();
        close_last_line(&self.out);
        // Connectors and tasks are the other's now.
        self.setup.await_state("source", "RUNNING");
        self.setup.await_state("sink", "RUNNING");
        self.await_flow();
        self.setup.workers[number].relaunch().unwrap();
        self.setup.workers[number].await_serving().unwrap();
        self.await_spread();
    }

    fn pause_worker_of(&mut self, connector: &str) {
        let number = self.worker_of(connector);
        let worker = &self.setup.workers[number];
        worker.service().unwrap().pause().unwrap();
        std::thread::sleep(LONG_PAUSE);
        worker.service().unwrap().unpause().unwrap();
        self.await_spread();
    }

    fn finish(mut self) {
        let last = self.feed.finish();
        let written = &self.lines[..=last];
        let expected = self.setup.path("expected");
        append(&expected, written);
        assert!(std::fs::read(&self.feed.file).unwrap() == std::fs::read(&expected).unwrap());
        self.grow_until_line(last);
        self.setup.verify(&expected);
        at_least_once(&self.out, written);
    }

    /// Waits for the last line. What the source has read beyond a full batch it hands on only when
    /// the file grows: a line without an end makes it grow.
    fn grow_until_line(&self, last: usize) {
        let prefix = format!("{last},");
        let mut input = File::options().append(true).open(&self.feed.file).unwrap();
        until("the last line", TIMEOUT, || {
            let text = std::fs::read_to_string(&self.out).unwrap();
            if text.ends_with('\n') && text.lines().any(|line| line.starts_with(&prefix)) {
                return Ok(Ok(()));
            }
            input.write_all(b".")?;
            let source = self.setup.status("source");
            self.setup.restart_after_early_commit(&source);
            Ok(Err(format!("{:?}; {source}", text.lines().last())))
        })
        .unwrap();
    }
}

/// A sink that is killed between a line and its end leaves the line open. Whoever writes next would
/// go on in the middle of it, so it is closed while nobody writes.
fn close_last_line(out: &Path) {
    let text = std::fs::read_to_string(out).unwrap();
    if !text.is_empty() && !text.ends_with('\n') {
        append(out, &[String::new()]);
    }
}

/// Every line is in the file, in order but for repetitions, and nothing else is.
fn at_least_once(out: &Path, lines: &[String]) {
    let text = std::fs::read_to_string(out).unwrap();
    let mut seen = BTreeSet::new();
    let first: Vec<_> = text.lines().filter(|&line| seen.insert(line)).collect();
    for (found, line) in first.iter().zip(lines) {
        assert_eq!(found, line);
    }
    assert_eq!(first.len(), lines.len());
    println!("{} lines, {} of them again", lines.len(), text.lines().count() - lines.len());
}

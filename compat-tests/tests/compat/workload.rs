//! The load of the fault tests: idempotent producers and a following reader that live through
//! whatever happens to the broker, then a reader of everything, and the checker's judgement on all
//! that they saw.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;

use streamhouse_compat_tests::clients::{python, python_start};
use streamhouse_compat_tests::history::{Checker, Event, Report};
use streamhouse_compat_tests::target::Broker;

const TOPIC: &str = "load";
const PARTITIONS: &str = "6";
/// Process number of the reader that follows the log; producers count from 1.
const TAIL: usize = 100;
/// Process number of the reader at the end.
const FINAL: usize = 101;
/// Librdkafka settings of the first, second … producer: they differ, so that batches do.
const PRODUCERS: [&[&str]; 3] = [
    &["compression.type=lz4", "linger.ms=1"],
    &["batch.num.messages=20", "linger.ms=0"],
    &["compression.type=none", "linger.ms=20"],
];

/// Clients that run until [`Workload::finish`].
pub(crate) struct Workload {
    dir: PathBuf,
    clients: Vec<Child>,
}

impl Workload {
    /// Makes the topic and starts `producers` producers and one follower; their histories go to
    /// `dir`.
    pub(crate) fn start(broker: &Broker, dir: &Path, producers: usize) -> Self {
        Self::start_with(broker, dir, producers, &[])
    }

    /// As [`Self::start`], the topic with `configs`.
    pub(crate) fn start_with(
        broker: &Broker,
        dir: &Path,
        producers: usize,
        configs: &[&str],
    ) -> Self {
        let mut workload = Self { dir: dir.to_path_buf(), clients: Vec::new() };
        let bootstrap = broker.bootstrap();
        let topic = [&bootstrap, TOPIC, PARTITIONS];
        python("topic.py", &[&topic[..], configs].concat()).unwrap();
        for (at, settings) in PRODUCERS.iter().take(producers).enumerate() {
            workload.spawn("produce", &bootstrap, at + 1, settings);
        }
        workload.spawn("tail", &bootstrap, TAIL, &[]);
        workload
    }

    /// Lets the clients finish, reads everything back and judges.
    pub(crate) fn finish(mut self, broker: &Broker) -> Report {
        for client in &mut self.clients {
            drop(client.stdin.take());
        }
        for mut client in std::mem::take(&mut self.clients) {
            let status = client.wait().unwrap();
            assert!(status.success(), "a client of the workload ended with {status}");
        }
        let history = self.history(FINAL);
        let number = FINAL.to_string();
        let arguments =
            ["read", &broker.bootstrap(), TOPIC, PARTITIONS, history.to_str().unwrap(), &number];
        print!("{}", python("workload.py", &arguments).unwrap());
        self.judge()
    }

    fn judge(&self) -> Report {
        let mut checker = Checker::new(true);
        // In this order each process's own order is kept, which is all the checker needs.
        for process in (1..=PRODUCERS.len()).chain([TAIL, FINAL]) {
            let Ok(file) = std::fs::File::open(self.history(process)) else { continue };
            for line in BufReader::new(file).lines() {
                let event: Event = serde_json::from_str(&line.unwrap()).unwrap();
                checker.observe(&event);
            }
        }
        let report = checker.finish();
        println!("{report}");
        report
    }

    fn spawn(&mut self, mode: &str, bootstrap: &str, process: usize, settings: &[&str]) {
        let history = self.history(process);
        let number = process.to_string();
        let arguments = [mode, bootstrap, TOPIC, PARTITIONS, history.to_str().unwrap(), &number];
        let client = python_start("workload.py", &[&arguments[..], settings].concat()).unwrap();
        self.clients.push(client);
    }

    fn history(&self, process: usize) -> PathBuf {
        self.dir.join(format!("history-{process}.jsonl"))
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        for client in &mut self.clients {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

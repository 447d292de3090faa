//! One JVM that runs classes of the suite (`streamhouse.suite.Worker`).
//!
//! Invariant: a [`Worker`] that goes out of scope leaves neither the JVM behind nor the brokers
//! that it started.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Outcome, Paths, Status};

/// Longest silence of a JVM: no test of Kafka's takes as long.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// Longest wait for a JVM to end by itself once it has nothing to do.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a process is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running JVM.
#[derive(Debug)]
pub(super) struct Worker {
    jvm: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Worker {
    /// Starts one; what it and its tests log goes to `log`.
    pub(super) fn start(paths: &Paths, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut jvm = command(paths)?;
        jvm.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut jvm = jvm.spawn().context("start java")?;
        let requests = jvm.stdin.take();
        let output = jvm.stdout.take().context("no standard output")?;
        let (lines, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { jvm, requests, answers })
    }

    /// The classes of the suite.
    pub(super) fn classes(paths: &Paths) -> Result<Vec<String>> {
        let mut command = command(paths)?;
        command.arg("list");
        for jar in
            ["clients-integration-tests", "streams-integration-tests", "_2.13", "server", "tools"]
        {
            let separator = if jar.starts_with('_') { "" } else { "-" };
            let jar = format!("suite-libs/kafka{separator}{jar}-4.3.1-test.jar");
            command.arg(paths.base.join(jar));
        }
        let output = command.stderr(Stdio::inherit()).output().context("start java")?;
        anyhow::ensure!(output.status.success(), "the list of classes: {}", output.status);
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    /// Runs the tests of `class`, or only those that `only` names, never those of `never`. A JVM
    /// that dies or falls silent fails the test that it was at, and cannot be used again.
    pub(super) fn run(&mut self, class: &str, only: &[&str], never: &[&str]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut current = class.to_owned();
        let result = self.converse(class, only, never, &mut outcomes, &mut current);
        if let Err(error) = result {
            let detail = format!("{error:#}");
            outcomes.push(Outcome { id: current, status: Status::Fail, millis: 0, detail });
        }
        outcomes
    }

    fn converse(
        &mut self,
        class: &str,
        only: &[&str],
        never: &[&str],
        outcomes: &mut Vec<Outcome>,
        current: &mut String,
    ) -> Result<()> {
        let mut request = class.to_owned();
        for (mark, ids) in [("\t+", only), ("\t-", never)] {
            for id in ids {
                request.push_str(mark);
                request.push_str(id);
            }
        }
        request.push('\n');
        let requests = self.requests.as_mut().context("the JVM is gone")?;
        requests.write_all(request.as_bytes()).context("the JVM is gone")?;
        requests.flush()?;
        loop {
            let line = self.answers.recv_timeout(SILENCE_MAX);
            let line =
                line.inspect_err(|_| self.requests = None).context("no word from the JVM")?;
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                ["begin", id] => id.clone_into(current),
                ["end", id, status, millis, detail] => {
                    let status = Status::from_word(status).with_context(|| line.clone())?;
                    let (id, detail) = (id.to_owned(), detail.to_owned());
                    outcomes.push(Outcome { id, status, millis: millis.parse()?, detail });
                }
                ["done", _] => return Ok(()),
                _ => bail!("not understood: {line}"),
            }
        }
    }

    /// Whether another class can be run.
    pub(super) fn is_usable(&self) -> bool {
        self.requests.is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests = None;
        let deadline = Instant::now() + END_TIMEOUT;
        while Instant::now() < deadline {
            if matches!(self.jvm.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        // It could not end its brokers itself, so they are still its children.
        let children = children(self.jvm.id());
        let _ = self.jvm.kill();
        let _ = self.jvm.wait();
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

fn command(paths: &Paths) -> Result<Command> {
    let base = &paths.base;
    let libs = |name: &str| base.join(name).join("*").display().to_string();
    let classes = base.join("suite-classes").display().to_string();
    let class_path = [classes, libs("suite-libs"), libs("libs")].join(":");
    let log4j = ["kafka", "kafka-suite"]
        .map(|dir| format!("file:{}", crate::source_dir().join(dir).join("log4j2.yaml").display()))
        .join(",");
    let binary = crate::target::streamhouse_binary()?;
    let mockito = base.join("suite-libs/mockito-core-5.20.0.jar");
    let mut command = Command::new("java");
    command
        .args(["-Xmx768M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg(format!("-Dlog4j2.configurationFile={log4j}"))
        .arg(format!("-Dsuite.binary={}", binary.display()))
        .arg(format!("-javaagent:{}", mockito.display()))
        .args(["-cp", &class_path, "streamhouse.suite.Worker"]);
    Ok(command)
}

/// The processes that `parent` started.
fn children(parent: u32) -> Vec<Pid> {
    let mut found = Vec::new();
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return found };
    for task in tasks.flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(Pid::from_raw));
    }
    found
}

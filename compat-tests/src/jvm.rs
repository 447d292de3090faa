//! Long-running Java programs, each in a JVM of its own: Apache Kafka's tools that run until they
//! are told to stop, and ours in `java/`.
//!
//! Invariant: what a program printed is kept in order and never lost, however it ended; a
//! [`JavaProgram`] that goes out of scope leaves no process behind.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for a program to end that was told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an ended process is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running (or ended) program.
#[derive(Debug)]
pub struct JavaProgram {
    name: String,
    process: Child,
    stdout: Receiver<String>,
    lines: Vec<String>,
}

impl JavaProgram {
    /// Starts `line`: a tool or a main class, and its arguments, separated by blanks. Its standard
    /// error is the test's own.
    pub fn start(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let name = words.next().context("no program named")?;
        let class = crate::tools::main_class(name).unwrap_or(name);
        let mut process = java()?
            .arg(class)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {class}"))?;
        let output = BufReader::new(process.stdout.take().context("no standard output")?);
        let (say, stdout) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.to_owned(), process, stdout, lines: Vec::new() })
    }

    /// All that it has printed so far.
    pub fn lines(&mut self) -> &[String] {
        self.lines.extend(self.stdout.try_iter());
        &self.lines
    }

    /// Waits until one of its lines, of earlier ones too, is `wanted`, and returns it.
    pub fn wait_for_line(
        &mut self,
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let mut at = 0;
        loop {
            self.lines.extend(self.stdout.try_iter());
            if let Some(line) = self.lines[at..].iter().find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            at = self.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stdout.recv_timeout(left) {
                Ok(line) => self.lines.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not print it within {timeout:?}: {:?}", self.name, self.tail())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended without printing it: {:?}", self.name, self.tail())
                }
            }
        }
    }

    /// Ends it with SIGTERM and waits for its orderly end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        self.wait()
    }

    /// Ends it with SIGKILL: no shutdown hook runs.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.wait().map(drop)
    }

    /// Waits until it ends by itself; what it printed last is in [`Self::lines`] then.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "{} did not end within {STOP_TIMEOUT:?}: {:?}",
                self.name,
                self.tail()
            );
            std::thread::sleep(POLL_INTERVAL);
        };
        // Until the pipe is closed, which the end of the process did.
        self.lines.extend(self.stdout.iter());
        Ok(status)
    }

    fn tail(&self) -> &[String] {
        &self.lines[self.lines.len().saturating_sub(20)..]
    }
}

impl Drop for JavaProgram {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `java` with Apache Kafka's jars and our classes on its path, small and quick to start.
pub(crate) fn java() -> Result<Command> {
    let base = crate::cache_dir().join("kafka-4.3.1");
    let (libs, classes) = (base.join("libs"), base.join("classes"));
    ensure!(
        classes.join(".complete").exists(),
        "Apache Kafka's tools are missing: run scripts/install kafka"
    );
    let log4j = crate::source_dir().join("kafka/log4j2.yaml");
    let mut command = Command::new("java");
    command
        .args(["-Xmx256M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg(format!("-Dlog4j2.configurationFile=file:{}", log4j.display()))
        .arg("-cp")
        .arg(format!("{}:{}/*", classes.display(), libs.display()));
    Ok(command)
}

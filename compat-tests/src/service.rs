//! Programs of Apache Kafka's that run beside a test, each a JVM of its own with a log file.
//!
//! Invariant: a [`Service`] that goes out of scope leaves no process behind, and prints the end of its
//! log when the test that owned it is failing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::jvm::java;

/// Bytes of a failing program's log that are shown.
const LOG_TAIL_BYTES: usize = 8000;

/// A running program.
#[derive(Debug)]
pub struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts the main class `class` of Apache Kafka's jars. What it prints and logs at INFO is
    /// written to `log`, which it begins anew.
    pub fn start(class: &str, arguments: &[&Path], log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let child = java()?
            .arg(class)
            .args(arguments)
            .env("KAFKA_LOG_LEVEL", "INFO")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {class}"))?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    /// Everything it has printed and logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// An error with the end of its log if it has ended.
    pub fn check(&mut self) -> Result<()> {
        let status = self.child.try_wait()?;
        ensure!(status.is_none(), "{} ended with {status:?}", self.log.display());
        Ok(())
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.check()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops all its threads.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Self::pause`].
    pub fn unpause(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no process")?;
        kill_process(pid, signal).with_context(|| format!("signal {signal:?}"))
    }
}

impl Drop for Service {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let mut from = log.len().saturating_sub(LOG_TAIL_BYTES);
            while !log.is_char_boundary(from) {
                from += 1;
            }
            eprintln!("--- end of {} ---\n{}", self.log.display(), &log[from..]);
        }
    }
}

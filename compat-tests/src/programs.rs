//! Client libraries of other languages as programs: one small command line, the same for all, so that
//! one test drives every one of them.
//!
//! | command | what it does |
//! |---|---|
//! | `member BOOTSTRAP GROUP TOPIC NAME ASSIGNOR INSTANCE` | reads in a group until its standard input ends, then leaves; `ASSIGNOR` is a strategy or `consumer`, the protocol of KIP-848; `INSTANCE` is `-` or a `group.instance.id`, with which it ends without leaving |
//! | `copy BOOTSTRAP SOURCE TARGET PARTITIONS GROUP TRANSACTIONAL_ID NAME ASSIGNOR` | copies records in transactions of which one in ten is aborted, until it is killed or fails |
//! | `produce BOOTSTRAP TOPIC PREFIX COUNT` | writes `COUNT` known records with every codec to partition 0 |
//! | `read BOOTSTRAP TOPIC PARTITIONS MARKER ISOLATION` | prints all records until every partition gave one whose value is `MARKER`; `ISOLATION` is `committed` or `uncommitted` |
//! | `admin BOOTSTRAP TOPIC GROUP` | creates, alters, describes and deletes them, and prints what it found |
//! | `lag BOOTSTRAP GROUP TOPIC` | prints `[partition, committed offset, log end offset]` of each partition |
//!
//! Every program prints events as lines of JSON, each in one write. Programs that share a file as their
//! standard output ([`crate::group_history`]) therefore leave their events there in the order in which
//! they happened, as far as one could have caused the other. A member says that it gives a partition up
//! before the broker can know, after it committed what it read there; it says that it was given one
//! when it knows. Sources: `go/`, `node/`, `python/client_*.py`; `scripts/install` prepares them.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How often a running program is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// librdkafka, as confluent-kafka for Python brings it.
    LibRdKafka,
    /// franz-go.
    FranzGo,
    /// Sarama.
    Sarama,
    /// KafkaJS.
    KafkaJs,
    /// aiokafka.
    AioKafka,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::LibRdKafka, Self::FranzGo, Self::Sarama, Self::KafkaJs, Self::AioKafka];

    /// A word that names it, fit for topics and groups.
    pub fn name(self) -> &'static str {
        match self {
            Self::LibRdKafka => "librdkafka",
            Self::FranzGo => "franz-go",
            Self::Sarama => "sarama",
            Self::KafkaJs => "kafkajs",
            Self::AioKafka => "aiokafka",
        }
    }

    /// Starts a command; its events go to `output`.
    pub fn start(self, words: &[&str], output: File) -> Result<Program> {
        let mut command = self.command()?;
        let mut child = command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(output)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let input = child.stdin.take();
        Ok(Program { child, input })
    }

    /// Runs a command to its end and returns its events; an error if it fails or takes longer than
    /// `timeout`.
    pub fn run(self, words: &[&str], timeout: Duration) -> Result<Vec<Value>> {
        let what = || format!("{} {words:?}", self.name());
        let mut output = tempfile::tempfile()?;
        let mut program = self.start(words, output.try_clone()?)?;
        let status = program.wait(timeout).with_context(what)?;
        let mut text = String::new();
        output.rewind()?;
        output.read_to_string(&mut text)?;
        ensure!(status.success(), "{}: {status}\n{text}", what());
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn command(self) -> Result<Command> {
        let (cache, source) = (crate::cache_dir(), crate::source_dir());
        let (program, script, installed_by) = match self {
            Self::FranzGo | Self::Sarama => {
                (cache.join("go-clients/bin").join(self.name()), None, "go-clients")
            }
            Self::KafkaJs => ("node".into(), Some(source.join("node/kafkajs.js")), "node-clients"),
            Self::LibRdKafka | Self::AioKafka => {
                let script = source.join(format!("python/client_{}.py", self.name()));
                (cache.join("venv/bin/python"), Some(script), "python")
            }
        };
        let modules = cache.join("node-clients/node_modules");
        let needed = if self == Self::KafkaJs { &modules } else { &program };
        if !needed.exists() {
            bail!("{} is missing: run scripts/install {installed_by}", needed.display());
        }
        let mut command = Command::new(program);
        command.args(script).env("NODE_PATH", modules);
        // No byte code into the source tree.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }
}

/// A running program. It is killed when it goes out of scope.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
}

impl Program {
    /// Ends its standard input, which tells a member to leave.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "not ended within {timeout:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends it with SIGKILL and waits until it is gone; it may have ended by itself.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

//! The broker process under test: started on free ports over a directory of its own, killed,
//! stopped and restarted.
//!
//! Invariant: a [`Broker`] that goes out of scope leaves no process behind, and prints the end of
//! its log when the test that owned it is failing. Nobody ends a process here that this module did
//! not start.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for a StreamHouse broker to serve; recovery after a crash included.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for Apache Kafka to serve, which formats its directory first.
const KAFKA_START_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest wait for a graceful shutdown.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a condition outside this process is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of a failing broker's log that are shown.
const LOG_TAIL_BYTES: usize = 6000;

/// Which broker the tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The `streamhouse` binary of this workspace.
    StreamHouse,
    /// Apache Kafka 4.3.1, which proves that a test asks for nothing that Kafka does not do.
    Kafka,
}

impl Target {
    /// From `STREAMHOUSE_COMPAT_TARGET`: `streamhouse` (default) or `kafka`.
    pub fn current() -> Result<Self> {
        match std::env::var("STREAMHOUSE_COMPAT_TARGET").as_deref() {
            Err(_) | Ok("" | "streamhouse") => Ok(Self::StreamHouse),
            Ok("kafka") => Ok(Self::Kafka),
            Ok(other) => bail!("STREAMHOUSE_COMPAT_TARGET={other}: expected streamhouse or kafka"),
        }
    }
}

/// What a broker is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of its data; made when missing.
    pub data: PathBuf,
    /// `key=value` settings, Kafka's names where Kafka has one.
    pub settings: Vec<String>,
    /// Command put before the broker's own, such as `strace …`. StreamHouse only.
    pub wrapper: Vec<String>,
}

impl Options {
    /// Defaults over `data`.
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_path_buf(), settings: Vec::new(), wrapper: Vec::new() }
    }

    /// With files so small and housekeeping so eager that sealing, uploading, compaction and
    /// garbage collection happen all the time.
    #[must_use]
    pub fn busy(mut self) -> Self {
        for setting in [
            "streamhouse.wal.file.bytes=1048576",
            "streamhouse.object.compaction.interval.ms=200",
            "streamhouse.object.gc.interval.ms=100",
            "streamhouse.object.gc.orphan.interval.ms=500",
            "streamhouse.object.gc.grace.ms=3000",
        ] {
            self.settings.push(setting.to_owned());
        }
        self
    }

    /// Run by `wrapper`.
    #[must_use]
    pub fn wrapped(mut self, wrapper: Vec<String>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// With one more `key=value`.
    #[must_use]
    pub fn setting(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }
}

/// A running (or killed) broker. It keeps its address over restarts.
#[derive(Debug)]
pub struct Broker {
    target: Target,
    options: Options,
    kafka: SocketAddr,
    http: Option<String>,
    postgres: Option<String>,
    /// `None` once it ended and its status was taken.
    child: Option<Child>,
    /// The broker's own process, which under a wrapper is not `child`.
    pid: u32,
    /// How long the last start took until the broker served.
    pub started_in: Duration,
}

impl Broker {
    /// Starts the broker that `STREAMHOUSE_COMPAT_TARGET` names, with defaults.
    pub fn start(data: &Path) -> Result<Self> {
        Self::start_with(Options::new(data))
    }

    /// Starts the broker that `STREAMHOUSE_COMPAT_TARGET` names and waits until it serves.
    pub fn start_with(options: Options) -> Result<Self> {
        Self::start_as(Target::current()?, options)
    }

    /// Starts a broker of this kind, whatever the tests run against, and waits until it serves.
    pub fn start_as(target: Target, options: Options) -> Result<Self> {
        let kafka = match target {
            Target::StreamHouse => SocketAddr::from(([127, 0, 0, 1], 0)),
            Target::Kafka => free_port_pair()?,
        };
        let mut broker = Self {
            target,
            options,
            kafka,
            http: None,
            postgres: None,
            child: None,
            pid: 0,
            started_in: Duration::ZERO,
        };
        broker.launch()?;
        Ok(broker)
    }

    /// Starts it again over the same directory and port, after it was killed, stopped or died.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the broker still runs");
        self.launch()
    }

    /// As [`Self::restart`], with other options but the same port.
    pub fn restart_with(&mut self, options: Options) -> Result<()> {
        self.options = options;
        self.restart()
    }

    /// What clients are given as `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.kafka.to_string()
    }

    /// `host:port` of the HTTP endpoints; `None` for Apache Kafka.
    pub fn http(&self) -> Option<&str> {
        self.http.as_deref()
    }

    /// `host:port` for clients of PostgreSQL; `None` for Apache Kafka.
    pub fn postgres(&self) -> Option<&str> {
        self.postgres.as_deref()
    }

    /// The broker's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it with SIGKILL, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(STOP_TIMEOUT)?;
        Ok(())
    }

    /// As [`Self::kill`], for a broker that may have ended by itself.
    pub fn kill_if_running(&mut self) -> Result<()> {
        if self.is_running()? { self.kill() } else { self.wait(STOP_TIMEOUT).map(drop) }
    }

    /// Starts it and kills it `after` that, whether it serves by then or not.
    pub fn start_and_kill_after(&mut self, after: Duration) -> Result<()> {
        ensure!(self.child.is_none(), "the broker still runs");
        let command = self.command()?;
        self.spawn(command)?;
        std::thread::sleep(after);
        self.kill_if_running()
    }

    /// Ends it with SIGTERM and waits for the graceful shutdown.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(STOP_TIMEOUT)
    }

    /// Stops all its threads with SIGSTOP for `time`, as a long pause of the machine would.
    pub fn pause(&self, time: Duration) -> Result<()> {
        self.signal(Signal::STOP)?;
        std::thread::sleep(time);
        self.signal(Signal::CONT)
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)).context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        let child = self.child.as_mut().context("the broker is not running")?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "the broker did not end within {timeout:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(match self.child.as_mut() {
            Some(child) => child.try_wait()?.is_none(),
            None => false,
        })
    }

    /// Everything the broker has logged over all its starts.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.log_path())?).into_owned())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        ensure!(self.child.is_some(), "the broker is not running");
        let pid = Pid::from_raw(i32::try_from(self.pid)?).context("no process")?;
        kill_process(pid, signal).with_context(|| format!("signal {signal:?} to {}", self.pid))
    }

    fn log_path(&self) -> PathBuf {
        self.options.data.with_extension("log")
    }

    /// The file with the addresses of the process that runs now; its ports may be other ones after
    /// each restart. StreamHouse only.
    pub fn ready_path(&self) -> PathBuf {
        self.options.data.with_extension("ready")
    }

    fn launch(&mut self) -> Result<()> {
        if let Some(parent) = self.options.data.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let began = Instant::now();
        let command = self.command()?;
        self.spawn(command)?;
        match self.target {
            Target::StreamHouse => self.await_ready_file()?,
            Target::Kafka => {
                let kafka = self.kafka;
                self.wait_until_ready(KAFKA_START_TIMEOUT, || answers(kafka).ok())?;
            }
        }
        self.started_in = began.elapsed();
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        match self.target {
            Target::StreamHouse => self.streamhouse_command(),
            Target::Kafka => Ok(self.kafka_command()),
        }
    }

    fn streamhouse_command(&self) -> Result<Command> {
        let ready_file = self.ready_path();
        let _ = std::fs::remove_file(&ready_file);
        let mut words = self.options.wrapper.clone();
        words.push(streamhouse_binary()?.to_string_lossy().into_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("start");
        command.arg("--data").arg(&self.options.data);
        command.arg("--kafka").arg(self.kafka.to_string());
        command.args(["--http", "127.0.0.1:0", "--postgres", "127.0.0.1:0"]);
        command.arg("--ready-file").arg(&ready_file);
        for setting in &self.options.settings {
            command.args(["-o", setting]);
        }
        Ok(command)
    }

    fn kafka_command(&self) -> Command {
        let mut command = Command::new(crate::source_dir().join("kafka/broker"));
        command.arg(self.kafka.port().to_string()).arg(&self.options.data);
        // Settings of StreamHouse mean nothing to Apache Kafka.
        let known = self.options.settings.iter().filter(|s| !s.starts_with("streamhouse."));
        command.args(known).env("KAFKA_BROKER_HEAP_OPTS", "-Xmx512M");
        command
    }

    fn await_ready_file(&mut self) -> Result<()> {
        let ready_file = self.ready_path();
        let ready = self.wait_until_ready(START_TIMEOUT, || {
            let text = std::fs::read_to_string(&ready_file).ok()?;
            serde_json::from_str::<serde_json::Value>(&text).ok()
        })?;
        let text = |key: &str| ready[key].as_str().map(str::to_owned);
        self.kafka = text("kafka").context("ready file has no kafka address")?.parse()?;
        self.http = text("http");
        self.postgres = text("postgres");
        self.pid = u32::try_from(ready["pid"].as_u64().context("ready file has no pid")?)?;
        Ok(())
    }

    fn spawn(&mut self, mut command: Command) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        self.pid = child.id();
        self.child = Some(child);
        Ok(())
    }

    fn wait_until_ready<T>(
        &mut self,
        timeout: Duration,
        ready: impl Fn() -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            if !self.is_running()? {
                let status = self.wait(Duration::ZERO)?;
                bail!("the broker ended with {status} before it served:\n{}", self.log_tail());
            }
            ensure!(
                Instant::now() < deadline,
                "the broker did not serve within {timeout:?}:\n{}",
                self.log_tail()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let mut from = log.len().saturating_sub(LOG_TAIL_BYTES);
        while !log.is_char_boundary(from) {
            from += 1;
        }
        log[from..].to_owned()
    }
}

impl Drop for Broker {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- end of the broker's log ---\n{}", self.log_tail());
        }
        if self.child.is_some() {
            let _ = self.signal(Signal::KILL);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The `streamhouse` binary: `STREAMHOUSE_BIN`, or the one that the same build put beside this
/// test's own executable.
pub fn streamhouse_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("STREAMHOUSE_BIN") {
        return Ok(PathBuf::from(path));
    }
    // target/<profile>/deps/compat-<hash> or target/<profile>/kafka-suite → target/<profile>/streamhouse
    let own = std::env::current_exe()?;
    let beside = own.parent().context("no target directory")?;
    let profile = if beside.ends_with("deps") { beside.parent() } else { Some(beside) };
    let binary = profile.context("no target directory")?.join("streamhouse");
    ensure!(
        binary.exists(),
        "{} is not built: run `cargo build --workspace --bins --tests` first, or set STREAMHOUSE_BIN",
        binary.display()
    );
    Ok(binary)
}

/// Asks Apache Kafka for its API versions: it listens long before it answers.
fn answers(kafka: SocketAddr) -> Result<()> {
    let mut connection = TcpStream::connect(kafka)?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    // Its length, then ApiVersions (18) in version 0, a correlation id and no client id.
    connection.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])?;
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    Ok(())
}

/// A port that is free, and so is the next one, which Apache Kafka's controller takes. They lie below
/// those that the system gives to connections, as Kafka binds them only seconds later.
fn free_port_pair() -> Result<SocketAddr> {
    for _ in 0..100 {
        let random = RandomState::new().build_hasher().finish();
        let first = SocketAddr::from(([127, 0, 0, 1], 12_000 + (random % 10_000) as u16 * 2));
        let second = SocketAddr::new(first.ip(), first.port() + 1);
        if TcpListener::bind(first).is_ok() && TcpListener::bind(second).is_ok() {
            return Ok(first);
        }
    }
    bail!("no two neighbouring free ports")
}

//! The real binary: ready file, lock, signals, configuration errors. Port 0 everywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use broker::testing::batch;
use protocol::{
    Request,
    frame::encode_request,
    messages::{
        create_topics::{CreatableTopic, CreateTopicsRequest},
        produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    },
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A started broker; killed if a test fails before it has stopped it.
struct Broker {
    child: Child,
    ready: Value,
}

impl Broker {
    fn start(data: &Path, more: &[&str]) -> Self {
        let ready_file = ready_file(data);
        let mut child = command(data)
            .args(["--ready-file", ready_file.to_str().unwrap()])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The banner's last line comes after the ready file.
        let mut banner = Vec::new();
        let mut byte = [0];
        let stdout = child.stdout.as_mut().unwrap();
        while !banner.ends_with(b" s\n") {
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "ended: {}", stderr(&mut child));
            banner.push(byte[0]);
        }
        let banner = String::from_utf8(banner).unwrap();
        assert!(banner.contains("only this machine can connect"), "{banner}");
        let ready = serde_json::from_str(&std::fs::read_to_string(ready_file).unwrap()).unwrap();
        Self { child, ready }
    }

    fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.ready["http"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(mut self) -> (Option<i32>, String) {
        let errors = stderr(&mut self.child);
        (self.child.wait().unwrap().code(), errors)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamhouse"));
    command
        .args([
            "start",
            "--kafka",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--postgres",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(data)
        .args(["-o", "streamhouse.wal.file.bytes=1048576"])
        .env_remove("RUST_LOG");
    command
}

fn ready_file(data: &Path) -> PathBuf {
    data.with_extension("ready")
}

fn refused(data: &Path, more: &[&str]) -> String {
    let Output { status, stderr, .. } = command(data).args(more).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

fn scratch() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    (parent, data)
}

#[test]
fn serves_until_sigterm_and_starts_again_on_the_same_data() {
    let (_parent, data) = scratch();
    let mut cluster_ids = Vec::new();
    for _ in 0..2 {
        let broker = Broker::start(&data, &[]);
        assert_eq!(broker.ready["pid"], broker.child.id());
        TcpStream::connect(broker.ready["kafka"].as_str().unwrap()).unwrap();
        assert!(broker.http("/ready").starts_with("HTTP/1.1 200"));
        assert!(broker.http("/metrics").contains("streamhouse_up 1"));
        let health = broker.http("/health");
        let body = health.split_once("\r\n\r\n").unwrap().1;
        let health: Value = serde_json::from_str(body).unwrap();
        cluster_ids.push(health["cluster_id"].clone());
        broker.signal(Signal::TERM);
        let (code, errors) = broker.wait();
        assert_eq!(code, Some(0), "{errors}");
        assert!(errors.contains("stopped"), "{errors}");
        assert!(!ready_file(&data).exists());
    }
    assert_eq!(cluster_ids[0], cluster_ids[1]);
}

#[test]
fn a_second_process_is_refused_and_told_the_holders_pid() {
    let (_parent, data) = scratch();
    let broker = Broker::start(&data, &[]);
    let errors = refused(&data, &[]);
    assert!(errors.contains(&format!("pid {}", broker.child.id())), "{errors}");
    broker.signal(Signal::INT);
    assert_eq!(broker.wait().0, Some(0));
}

/// Sends a request on a new connection and waits for any answer.
fn call<R: Request>(broker: &Broker, request: &R, version: i16) {
    let mut stream = TcpStream::connect(broker.ready["kafka"].as_str().unwrap()).unwrap();
    let frame = encode_request(request, version, 1, Some("test")).unwrap();
    stream.write_all(&frame.to_bytes()).unwrap();
    stream.read_exact(&mut [0; 8]).unwrap();
}

#[test]
fn a_second_signal_stops_at_once() {
    // An object store that never answers: a shutdown has something to wait for.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = format!(
        "streamhouse.object.store.options=aws_endpoint=http://{},aws_allow_http=true,\
         aws_access_key_id=a,aws_secret_access_key=b,aws_region=c",
        silent.local_addr().unwrap()
    );
    let (_parent, data) = scratch();
    let url = "streamhouse.object.store.url=s3://bucket/prefix";
    let broker = Broker::start(&data, &["-o", url, "-o", &options]);
    let topic = CreatableTopic {
        name: "a".to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    call(&broker, &create, 7);
    let partition = PartitionProduceData {
        index: 0,
        records: Some(batch(1_767_225_600_000, None, &[b"x"]).unwrap()),
    };
    let topic = TopicProduceData {
        name: "a".to_owned(),
        partition_data: vec![partition],
        ..Default::default()
    };
    let produce = ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    call(&broker, &produce, 9);
    broker.signal(Signal::TERM);
    // The ready file goes first: the process is past the first signal then.
    while ready_file(&data).exists() {
        std::thread::yield_now();
    }
    broker.signal(Signal::TERM);
    let (code, errors) = broker.wait();
    assert_eq!(code, Some(130), "{errors}");
}

#[test]
fn a_killed_broker_leaves_no_lock_behind() {
    let (_parent, data) = scratch();
    let broker = Broker::start(&data, &[]);
    broker.signal(Signal::KILL);
    assert_eq!(broker.wait().0, None);
    let broker = Broker::start(&data, &[]);
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().0, Some(0));
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let (_parent, data) = scratch();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let errors = refused(&data, &["-o", &format!("listeners=PLAINTEXT://{address}")]);
    assert!(errors.contains(&address) && errors.contains("--kafka"), "{errors}");
}

#[test]
fn configuration_errors_come_together_and_before_anything_is_written() {
    let (_parent, data) = scratch();
    let errors =
        refused(&data, &["-o", "num.partition=1", "-o", "node.id=x", "-o", "ssl.key.password=y"]);
    assert!(errors.contains("did you mean num.partitions?"), "{errors}");
    assert!(errors.contains("Invalid value x for configuration node.id"), "{errors}");
    assert!(errors.contains("ssl.key.password is not supported"), "{errors}");
    assert!(!data.exists());
    let errors = refused(&data, &["-o", "listeners=PLAINTEXT://0.0.0.0:0"]);
    assert!(errors.contains("advertised.listeners"), "{errors}");
}

#[test]
fn the_node_id_is_kept_with_the_data() {
    let (_parent, data) = scratch();
    let broker = Broker::start(&data, &["-o", "node.id=7"]);
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().0, Some(0));
    let broker = Broker::start(&data, &[]);
    assert!(broker.http("/health").contains("\"node_id\":7"));
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().0, Some(0));
    let errors = refused(&data, &["-o", "node.id=8"]);
    assert!(errors.contains("node 7"), "{errors}");
}

#[test]
fn settings_come_from_a_file_and_the_environment_too() {
    let (parent, data) = scratch();
    let file = parent.path().join("server.properties");
    std::fs::write(&file, "# ours\nnum.partitions : 3\nlog.retention.hour=1\n").unwrap();
    let output = command(&data).arg("--config").arg(&file).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("line 3: unknown key log.retention.hour"), "{errors}");
    let output = command(&data).env("STREAMHOUSE_NUM_PARTITIONS", "none").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("environment variable STREAMHOUSE_NUM_PARTITIONS"), "{errors}");
}

#[test]
fn logs_are_json_where_asked() {
    let (_parent, data) = scratch();
    let ready = ready_file(&data);
    let mut child = command(&data)
        .args(["--log-format", "json", "--ready-file", ready.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap());
    let ready_line = loop {
        let mut line = String::new();
        assert_ne!(std::io::BufRead::read_line(&mut lines, &mut line).unwrap(), 0);
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["message"] == "ready" {
            break line;
        }
    };
    assert_eq!(ready_line["level"], "INFO");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let mut banner = String::new();
    child.stdout.take().unwrap().read_to_string(&mut banner).unwrap();
    assert!(banner.is_empty());
}

#[test]
fn prints_its_version_and_its_keys() {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_streamhouse")).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["--version"]).starts_with("streamhouse 0."));
    assert!(run(&["config", "list"]).contains("STREAMHOUSE_LOG_RETENTION_MS"));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
    assert_eq!(run(&["config", "docs"]), std::fs::read_to_string(page).unwrap());
}

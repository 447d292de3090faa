//! What an operator sees: start, refusals with a reason, HTTP endpoints.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use streamhouse_compat_tests::clients::kcat;
use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::target::{Broker, Target, streamhouse_binary};

/// Skips what only StreamHouse has.
fn is_kafka() -> bool {
    let kafka = Target::current().unwrap() == Target::Kafka;
    if kafka {
        not_possible_here("operations", "these are StreamHouse's own flags and endpoints");
    }
    kafka
}

/// `streamhouse start` that must refuse; its output.
fn refused(data: &Path, more: &[&str]) -> String {
    let mut command = Command::new(streamhouse_binary().unwrap());
    command
        .args(["start", "--http", "127.0.0.1:0", "--postgres", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(more);
    if !more.contains(&"--kafka") {
        command.args(["--kafka", "127.0.0.1:0"]);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(!status.success(), "it started");
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

#[test]
fn the_banner_names_addresses_and_lines_to_copy() {
    if is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let log = broker.log().unwrap();
    for part in [
        "ready in",
        "loopback",
        &broker.bootstrap(),
        broker.http().unwrap(),
        "kafka-console-producer",
        "kafka-console-consumer",
        "kcat",
    ] {
        assert!(log.contains(part), "`{part}` is not in:\n{log}");
    }
}

#[test]
fn a_second_process_on_a_data_directory_is_refused_and_told_the_holders_pid() {
    if is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut broker = Broker::start(&data).unwrap();
    let output = refused(&data, &[]);
    assert!(output.contains(&broker.pid().to_string()), "{output}");
    assert!(broker.is_running().unwrap());
    // The directory of a process that was killed is free at once.
    broker.kill().unwrap();
    broker.restart().unwrap();
}

#[test]
fn wrong_settings_are_refused_with_a_reason() {
    if is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (setting, reason) in [
        ("log.retention.mss=1", "log.retention.ms"),
        ("num.partitions=many", "num.partitions"),
        ("num.partitions=0", "num.partitions"),
    ] {
        let output = refused(&data, &["-o", setting]);
        assert!(output.contains(reason), "{setting}: {output}");
    }
    let output = refused(&data, &["--kafka", "0.0.0.0:0"]);
    assert!(output.contains("advertised.listeners"), "{output}");
}

#[test]
fn http_endpoints_answer() {
    if is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    kcat(&broker.bootstrap(), &["-P", "-t", "t", "-p", "0"], b"one\n").unwrap();
    for path in ["/health", "/ready", "/live"] {
        let (status, _) = get(broker.http().unwrap(), path);
        assert_eq!(status, 200, "{path}");
    }
    let (status, metrics) = get(broker.http().unwrap(), "/metrics");
    assert_eq!(status, 200);
    let mut samples = 0;
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, value) = line.rsplit_once(' ').expect("NAME VALUE");
        assert!(name.starts_with(|first: char| first.is_ascii_alphabetic()), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        samples += 1;
    }
    assert!(samples > 5, "{metrics}");
    assert_eq!(get(broker.http().unwrap(), "/no-such-page").0, 404);
}

/// Status and body.
fn get(http: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(http).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
    let status = head.split_whitespace().nth(1).expect("a status").parse().unwrap();
    (status, body.to_owned())
}

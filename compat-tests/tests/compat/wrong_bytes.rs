//! What is not Kafka on the Kafka port: the connection is closed soon, nothing is allocated for
//! what a length merely claims, and everybody else is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::kcat;
use streamhouse_compat_tests::target::{Broker, Target};

const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 200;
/// Far below what 200 claimed lengths of 100 MiB would take.
const GROWTH_BYTES_MAX: u64 = 32 << 20;

/// (what it is, bytes).
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |length: i32, body: &[u8]| [&length.to_be_bytes()[..], body].concat();
    // API key 18 (ApiVersions), version 3, correlation 1, client id null, no tagged fields.
    let api_versions = [0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0];
    vec![
        (
            "a TLS hello",
            [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03].to_vec(),
        ),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a negative length", frame(-1, &[])),
        ("the largest length", frame(i32::MAX, &api_versions)),
        ("an unknown API", frame(10, &[0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff])),
        ("an API of brokers among themselves", frame(10, &[0, 4, 0, 0, 0, 0, 0, 1, 0xff, 0xff])),
        ("a header that is cut short", frame(3, &[0, 18, 0])),
        // Produce v9: null transactional id, acks all, timeout, and an array of 2^32-2 topics.
        (
            "an array that claims billions of topics",
            frame(
                23,
                &[
                    0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff,
                    0xff, 0xff, 0x0f,
                ],
            ),
        ),
    ]
}

#[test]
fn what_is_not_kafka_is_closed_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let bootstrap = broker.bootstrap();
    kcat(&bootstrap, &["-P", "-t", "t", "-p", "0"], b"before\n").unwrap();
    let before = broker.resident_bytes().unwrap();
    for (what, bytes) in garbage() {
        for _ in 0..CONNECTIONS / garbage().len() {
            let mut socket = TcpStream::connect(&bootstrap).unwrap();
            socket.set_read_timeout(Some(CLOSE_TIMEOUT)).unwrap();
            socket.write_all(&bytes).unwrap();
            let began = Instant::now();
            let mut answer = Vec::new();
            // Reset or orderly end: both close it. A timeout does not.
            if let Err(error) = socket.read_to_end(&mut answer) {
                let kind = error.kind();
                assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "{what}: {error}");
            }
            assert!(began.elapsed() < CLOSE_TIMEOUT, "{what}: still open");
            assert!(answer.is_empty(), "{what}: answered with {answer:?}");
        }
    }
    let growth = broker.resident_bytes().unwrap().saturating_sub(before);
    println!("{growth} bytes more resident");
    if Target::current().unwrap() == Target::StreamHouse {
        assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more");
    }
    let read = ["-C", "-t", "t", "-p", "0", "-o", "beginning", "-e", "-q"];
    assert_eq!(kcat(&bootstrap, &read, b"").unwrap(), b"before\n");
}

#[test]
fn an_api_versions_request_from_the_future_is_answered_with_version_0() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let mut socket = TcpStream::connect(broker.bootstrap()).unwrap();
    socket.set_read_timeout(Some(CLOSE_TIMEOUT)).unwrap();
    // Version 99, a body nobody knows.
    let request = [0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 1, 2, 3];
    socket.write_all(&[&14_i32.to_be_bytes()[..], &request].concat()).unwrap();
    let mut head = [0; 14];
    socket.read_exact(&mut head).unwrap();
    assert_eq!(head[4..8], [0, 0, 0, 7], "correlation id");
    // UNSUPPORTED_VERSION (35), and an array of API keys with at least ApiVersions' own range in it
    // (KIP-511).
    assert_eq!(head[8..10], [0, 35], "error code");
    assert!(i32::from_be_bytes(head[10..14].try_into().unwrap()) >= 1, "API keys");
}

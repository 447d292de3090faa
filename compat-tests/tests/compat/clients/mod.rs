//! Client libraries of several languages ([`streamhouse_compat_tests::programs`]), all driven by the
//! same tests. What takes the time is waiting for sessions to end, so the clients of one test run side
//! by side, each with topics and groups of its own.

mod basics;
mod churn;
mod copies;
mod group;
mod static_members;

use std::time::Duration;

use streamhouse_compat_tests::target::{Broker, Options};

/// Longest wait for anything that a client is to do. Generous: it is no measure of the broker.
const TIMEOUT: Duration = Duration::from_secs(90);
/// The programs' sessions in a group; long enough that none ends because the machine is busy.
const SESSION: Duration = Duration::from_secs(10);
/// Their sessions while they copy, where a session that ends costs time and nothing else.
const COPY_SESSION: Duration = Duration::from_secs(3);
/// Heartbeats that make a test short.
const SETTINGS: [&str; 5] = [
    "group.initial.rebalance.delay.ms=100",
    "group.min.session.timeout.ms=1000",
    "group.consumer.min.heartbeat.interval.ms=300",
    "group.consumer.heartbeat.interval.ms=300",
    "group.consumer.assignment.interval.ms=100",
];

/// A broker with so many partitions of `__consumer_offsets`, and sessions of KIP-848 of this length.
fn start(dir: &tempfile::TempDir, offsets_partitions: u32, session: Duration) -> Broker {
    let options = Options::new(&dir.path().join("data"))
        .setting(&format!("offsets.topic.num.partitions={offsets_partitions}"))
        .setting(&format!("group.consumer.min.session.timeout.ms={}", session.as_millis()))
        .setting(&format!("group.consumer.session.timeout.ms={}", session.as_millis()));
    Broker::start_with(SETTINGS.iter().fold(options, |all, setting| all.setting(setting))).unwrap()
}

/// Runs all of `rows` side by side; a failure of any is the test's.
fn side_by_side<T: Sync>(rows: &[T], body: impl Fn(&T) + Sync) {
    let body = &body;
    // Every scope waits for its threads and panics if one of them did.
    std::thread::scope(|scope| {
        for row in rows {
            scope.spawn(move || body(row));
        }
    });
}

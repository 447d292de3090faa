//! Compacted topics, as clients see them: of each key the last record stays, whatever happens.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::kcat;
use streamhouse_compat_tests::jvm::JavaProgram;
use streamhouse_compat_tests::target::{Broker, Options};
use streamhouse_compat_tests::tools::Tools;

/// How long compaction may take until a reader sees the last record per key only.
const PATIENCE: Duration = Duration::from_secs(60);

fn eager(data: &std::path::Path) -> Options {
    Options::new(data)
        .busy()
        .setting("log.segment.bytes=1048576")
        .setting("log.cleaner.min.cleanable.ratio=0.01")
}

fn create(tools: &mut Tools, topic: &str) {
    let configs = "--config cleanup.policy=compact --config segment.ms=100";
    tools.ok(&format!("kafka-topics --create --topic {topic} {configs}")).unwrap();
}

/// `KEY:VALUE` lines of `count` records over `keys` keys, values from `first` on.
fn lines(first: u32, count: u32, keys: u32) -> String {
    let mut lines = String::new();
    for n in first..first + count {
        writeln!(lines, "key-{}:value-{n}", n % keys).unwrap();
    }
    lines
}

/// The key of records that only move the log on.
const TICK: &str = "tick";

/// The whole topic as key, value and offset, without the ticks. One more is written first: Apache
/// Kafka leaves the segment alone that is written to, and begins another one at an append only.
fn read(bootstrap: &str, topic: &str) -> Vec<(String, String, i64)> {
    kcat(bootstrap, &["-P", "-t", topic, "-K", ":"], format!("{TICK}:\n").as_bytes()).unwrap();
    let arguments = ["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s:%o\\n"];
    let out = String::from_utf8(kcat(bootstrap, &arguments, b"").unwrap()).unwrap();
    let parse = |line: &str| {
        let mut parts = line.split(':');
        let mut part = || parts.next().unwrap().to_owned();
        (part(), part(), part().parse().unwrap())
    };
    out.lines().map(parse).filter(|(key, ..)| key != TICK).collect()
}

fn last_per_key(records: &[(String, String, i64)]) -> BTreeMap<String, String> {
    records.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect()
}

#[test]
fn a_reader_from_the_start_gets_the_last_record_per_key_and_restarts_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The cleaner waits for an hour, until it is told otherwise, which restarts do not forget.
    let options = eager(&dir.path().join("data")).setting("log.cleaner.backoff.ms=3600000");
    let mut broker = Broker::start_with(options).unwrap();
    let bootstrap = broker.bootstrap();
    let mut tools = Tools::start(&bootstrap).unwrap();
    create(&mut tools, "changes");
    tools
        .ok("kafka-configs --entity-type brokers --entity-default --alter --add-config \
             log.cleaner.backoff.ms=100,log.cleaner.dedupe.buffer.size=2000000")
        .unwrap();
    for round in 0..3 {
        let input = lines(round * 20_000, 20_000, 500);
        kcat(&bootstrap, &["-P", "-t", "changes", "-K", ":"], input.as_bytes()).unwrap();
        // A crash in the middle of uploads and passes.
        broker.kill().unwrap();
        broker.restart().unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    let expected: BTreeMap<String, String> =
        (59_500..60_000).map(|n| (format!("key-{}", n % 500), format!("value-{n}"))).collect();
    loop {
        let found = read(&bootstrap, "changes");
        assert!(found.is_sorted_by_key(|(_, _, offset)| *offset));
        assert_eq!(last_per_key(&found), expected);
        if found.len() == expected.len() {
            break;
        }
        assert!(Instant::now() < deadline, "{} records are left after a minute", found.len());
    }
    // Tombstones take their keys along.
    let tombstones: String = (0..500).map(|key| format!("key-{key}:\n")).collect();
    kcat(&bootstrap, &["-P", "-t", "changes", "-K", ":", "-Z"], tombstones.as_bytes()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while read(&bootstrap, "changes").iter().any(|(_, value, _)| !value.is_empty()) {
        assert!(Instant::now() < deadline, "deleted keys still have values after a minute");
    }
}

/// Rows that the tester produced and consumed, from its own words.
fn rows(tester: &mut JavaProgram) -> (u64, u64) {
    let line = tester.lines().iter().find(|line| line.contains("rows of data produced"));
    let numbers = line.unwrap().split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let numbers: Vec<_> = numbers.collect();
    (numbers[0], numbers[1])
}

/// Apache Kafka's own program: it remembers what it sent and compares the last record per key with
/// what it reads later. It ends twenty seconds after its last record, so it waits most of its time.
#[test]
fn kafkas_log_compaction_tester_passes() {
    let dir = tempfile::tempdir().unwrap();
    let options = eager(&dir.path().join("data"));
    let options = options.setting("log.roll.ms=100").setting("log.cleaner.backoff.ms=100");
    let broker = Broker::start_with(options).unwrap();
    let start = |more: &str| {
        let line = format!(
            "kafka-log-compaction-tester --bootstrap-server {} --messages 15000 {more}",
            broker.bootstrap()
        );
        JavaProgram::start(&line).unwrap()
    };
    let mut testers = [
        start("--topics 2 --percent-deletes 20 --sleep 2"),
        start("--duplicates 50 --sleep 2 --compression-type lz4"),
    ];
    for tester in &mut testers {
        let status = tester.wait().unwrap();
        let lines = tester.lines().join("\n");
        assert!(status.success(), "{status}:\n{lines}");
        assert!(lines.contains("Data verification is completed"), "{lines}");
        assert!(lines.contains(" 0 mismatches."), "{lines}");
        let (produced, consumed) = rows(tester);
        assert!(consumed < produced, "nothing was compacted:\n{lines}");
        println!("{produced} rows produced, {consumed} consumed");
    }
}

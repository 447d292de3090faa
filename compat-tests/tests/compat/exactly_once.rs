//! Programs that copy a topic in transactions while they and the broker are killed with SIGKILL:
//! what a read_committed reader sees is each record once, in order (invariants TXN-1, 2 and 5).

use std::process::Child;
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::{java_start, python, python_start};
use streamhouse_compat_tests::jvm::JavaProgram;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::Broker;
use streamhouse_compat_tests::tools::Tools;

const RECORDS: &str = "3000";

/// A program that is started again whenever it has ended.
struct Copier {
    process: Child,
    start: Box<dyn Fn() -> Child>,
    lives: u32,
}

impl Copier {
    fn start(start: impl Fn() -> Child + 'static) -> Self {
        Self { process: start(), start: Box::new(start), lives: 1 }
    }

    fn again_if_ended(&mut self) {
        if self.process.try_wait().unwrap().is_some() {
            self.process = (self.start)();
            self.lives += 1;
        }
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Fills `source` and makes `target`.
fn prepare(broker: &Broker, partitions: &str) {
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    for topic in ["source", "target"] {
        let create = format!("kafka-topics --create --topic {topic} --partitions {partitions}");
        tools.ok(&create).unwrap();
    }
    let feed = ["feed", &broker.bootstrap(), "source", partitions, RECORDS];
    python("transactions.py", &feed).unwrap();
}

/// Kills the program and the broker in turn, with pauses of these milliseconds, then lets the
/// program finish.
fn run(
    broker: &mut Broker,
    mut copier: Copier,
    partitions: &'static str,
    kills: u32,
    pauses: std::ops::Range<u64>,
) {
    let mut random = Random::announced("exactly_once");
    for kill in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.within(pauses.clone()));
        while Instant::now() < until {
            copier.again_if_ended();
            std::thread::sleep(Duration::from_millis(20));
        }
        if kill % 2 == 0 {
            copier.kill();
        } else {
            broker.kill().unwrap();
            broker.restart().unwrap();
        }
    }
    let bootstrap = broker.bootstrap();
    let check = std::thread::spawn(move || {
        let check = ["check", &bootstrap, "source", "target", partitions, RECORDS, "60"];
        python("transactions.py", &check)
    });
    while !check.is_finished() {
        copier.again_if_ended();
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{} lives, {kills} kills", copier.lives);
    println!("{}", check.join().unwrap().unwrap());
}

#[test]
fn a_copy_by_librdkafka_is_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("data")).unwrap();
    prepare(&broker, "3");
    let bootstrap = broker.bootstrap();
    let copier = Copier::start(move || {
        let arguments = ["copy", &bootstrap, "source", "target", "3", "copier"];
        python_start("transactions.py", &arguments).unwrap()
    });
    run(&mut broker, copier, "3", 8, 300..1200);
}

/// Apache Kafka's own program for its system tests, with the protocol of KIP-890.
#[test]
fn a_copy_by_java_is_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("data")).unwrap();
    prepare(&broker, "1");
    let bootstrap = broker.bootstrap();
    let copier = Copier::start(move || {
        let arguments = format!(
            "--broker-list {bootstrap} --input-topic source --input-partition 0 \
             --output-topic target --consumer-group copier --transactional-id copier \
             --transaction-size 20 --transaction-timeout 10000 --enable-random-aborts"
        );
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        java_start("org.apache.kafka.tools.TransactionalMessageCopier", &arguments).unwrap()
    });
    run(&mut broker, copier, "1", 4, 1500..3500);
}

/// A race in Java's producer 4.3.1 (`docs/clients.md`), not in a broker: its commit may leave before
/// the records. A transaction that has begun is committed without them, they go with the next; one
/// that has not begun cannot end. This and Apache Kafka answer alike.
#[test]
fn a_commit_of_java_that_overtakes_its_records_is_answered_as_kafka_does() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let bootstrap = broker.bootstrap();
    let mut tools = Tools::start(&bootstrap).unwrap();
    tools.ok("kafka-topics --create --topic early --partitions 1").unwrap();
    let mut program = JavaProgram::start(&format!("EarlyCommit {bootstrap} early")).unwrap();
    assert!(program.wait().unwrap().success());
    assert_eq!(
        program.lines(),
        [
            "two: committed, its record waits",
            "two: with the next transaction, at offset 2",
            "four: InvalidTxnStateException, its record waits",
        ]
    );
    let read = "kafka-console-consumer --topic early --partition 0 --offset earliest --max-messages 3 \
                --timeout-ms 20000 --isolation-level read_committed";
    assert_eq!(tools.ok(read).unwrap(), "one\ntwo\nthree\n");
}

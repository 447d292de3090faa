//! MirrorMaker 2 of Apache Kafka 4.3 between an Apache Kafka and StreamHouse, both ways at once: records
//! arrive exactly once though the program and the broker are killed, and groups go on at the other
//! side where they stood.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Child;

use streamhouse_compat_tests::clients::{python, python_start};
use streamhouse_compat_tests::service::Service;
use streamhouse_compat_tests::target::{Broker, Options, Target};

/// Rows that are produced at once, on either side.
const PORTION: usize = 1500;
const PARTITIONS: &str = "3";
/// Time between two transactions of rows that are copied while something is killed.
const PAUSE_MS: &str = "100";
const CLASS: &str = "org.apache.kafka.connect.mirror.MirrorMaker";

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillMirrorMaker,
    KillStreamHouse,
}

#[test]
fn topics_and_groups_move_from_kafka_and_to_kafka() {
    mirror(&[Fault::KillMirrorMaker]);
}

mod slow {
    use super::Fault::{KillMirrorMaker, KillStreamHouse};

    #[test]
    fn topics_and_groups_move_while_mirror_maker_and_the_broker_are_killed() {
        super::mirror(&[
            KillStreamHouse,
            KillMirrorMaker,
            KillStreamHouse,
            KillMirrorMaker,
            KillMirrorMaker,
            KillStreamHouse,
        ]);
    }
}

/// A topic that is copied from one broker to the other.
struct Flow {
    alias: &'static str,
    source: String,
    target: String,
    topic: &'static str,
    configs: &'static [&'static str],
    /// Whether records may be without a key.
    keyless: bool,
    /// Rows that were produced so far.
    rows: usize,
}

fn mirror(faults: &[Fault]) {
    let dir = tempfile::tempdir().unwrap();
    let start = |target, name: &str| {
        let options =
            Options::new(&dir.path().join(name)).setting("group.initial.rebalance.delay.ms=0");
        Broker::start_as(target, options).unwrap()
    };
    let kafka = start(Target::Kafka, "kafka");
    let mut house = start(Target::current().unwrap(), "house");
    let mut flows = [
        Flow {
            alias: "kafka",
            source: kafka.bootstrap(),
            target: house.bootstrap(),
            topic: "flights",
            // The flights are of 2013.
            configs: &["retention.ms=-1", "max.message.bytes=2000000", "compression.type=lz4"],
            keyless: true,
            rows: 0,
        },
        Flow {
            alias: "house",
            source: house.bootstrap(),
            target: kafka.bootstrap(),
            topic: "departures",
            // Nothing is compacted that is younger than 31 years.
            configs: &["cleanup.policy=compact", "min.compaction.lag.ms=1000000000000"],
            keyless: false,
            rows: 0,
        },
    ];
    for flow in &mut flows {
        flow.create_topic();
        assert!(flow.feed("0").wait().unwrap().success(), "a feed failed");
        // One group has consumed all there is, the other one a part.
        assert_eq!(flow.consume_at_source("ahead", PORTION).len(), PORTION);
        flow.consume_at_source("behind", PORTION / 3);
    }
    let mut program = Program::start(dir.path(), &kafka, &house);
    for flow in &flows {
        flow.verify();
        flow.python("configs", &flow.target, &flow.remote(), flow.configs);
        print!("{}", flow.python("translated", &flow.target, &flow.remote(), &["ahead"]));
    }
    for fault in faults {
        let mut feeds: Vec<_> = flows.iter_mut().map(Flow::feed_while_copied).collect();
        println!("{fault:?} after {} rows", flows[0].rows);
        match fault {
            Fault::KillMirrorMaker => program.kill_and_restart(),
            Fault::KillStreamHouse => {
                house.kill().unwrap();
                house.restart().unwrap();
            }
        }
        for feed in &mut feeds {
            assert!(feed.wait().unwrap().success(), "a feed failed");
        }
        for flow in &flows {
            flow.verify();
        }
    }
    for flow in &mut flows {
        flow.groups_go_on();
        flow.settings_follow();
        flow.internal_topics_are_there();
    }
    program.finds_no_authorizer();
}

impl Flow {
    /// What MirrorMaker names the topic at the other side.
    fn remote(&self) -> String {
        format!("{}.{}", self.alias, self.topic)
    }

    #[track_caller]
    fn python(&self, task: &str, bootstrap: &str, topic: &str, more: &[&str]) -> String {
        python("mirror.py", &[&[task, bootstrap, topic], more].concat()).unwrap()
    }

    fn create_topic(&self) {
        let arguments = [&[self.source.as_str(), self.topic, PARTITIONS], self.configs].concat();
        python("topic.py", &arguments).unwrap();
    }

    /// Begins to produce the next rows.
    fn feed(&mut self, pause_ms: &str) -> Child {
        let (first, count) = (self.rows.to_string(), PORTION.to_string());
        self.rows += PORTION;
        let keyless = if self.keyless { "1" } else { "0" };
        let arguments = ["feed", &self.source, self.topic, &first, &count, pause_ms, keyless];
        python_start("mirror.py", &arguments).unwrap()
    }

    /// Begins to produce the next rows, and waits until some of them have arrived.
    fn feed_while_copied(&mut self) -> Child {
        let remote = self.remote();
        let end = self.python("grow", &self.target, &remote, &["-1"]);
        let feed = self.feed(PAUSE_MS);
        self.python("grow", &self.target, &remote, &[end.trim()]);
        feed
    }

    /// Waits until the other side has all that was produced, and checks it record by record.
    #[track_caller]
    fn verify(&self) {
        let arguments = [self.target.as_str(), &self.remote()];
        print!("{}", self.python("same", &self.source, self.topic, &arguments));
    }

    fn consume_at_source(&self, group: &str, count: usize) -> BTreeSet<usize> {
        numbers(&self.python("consume", &self.source, self.topic, &[group, &count.to_string()]))
    }

    /// The groups' consumers move to the other side: they find all that they had not consumed.
    fn groups_go_on(&self) {
        let remote = self.remote();
        let ahead = numbers(&self.python("consume", &self.target, &remote, &["ahead", "0"]));
        let expected: BTreeSet<_> = (PORTION..self.rows).collect();
        assert_eq!(ahead, expected);
        let behind = numbers(&self.python("consume", &self.target, &remote, &["behind", "0"]));
        let missing: Vec<_> = (0..self.rows).filter(|row| !behind.contains(row)).collect();
        println!("behind: {} rows were consumed before the move", missing.len());
        assert!(missing.len() <= PORTION / 3, "rows were skipped: {missing:?}");
    }

    /// What is changed at the source is changed at the other side, and records go on.
    fn settings_follow(&mut self) {
        let (remote, changed) = (self.remote(), "segment.bytes=20000000");
        self.python("alter", &self.source, self.topic, &["4", changed]);
        self.python("partitions", &self.target, &remote, &["4"]);
        self.python("configs", &self.target, &remote, &[changed]);
        assert!(self.feed("0").wait().unwrap().success(), "a feed failed");
        self.verify();
    }

    fn internal_topics_are_there(&self) {
        let Self { alias, source, target, .. } = self;
        let other = if *alias == "kafka" { "house" } else { "kafka" };
        let compacted = |bootstrap: &str, topics: &[&str]| {
            let arguments = [&["internal", bootstrap], topics].concat();
            print!("{}", python("connect.py", &arguments).unwrap());
        };
        compacted(source, &[&format!("mm2-offset-syncs.{other}.internal")]);
        let topics = ["mm2-configs", "mm2-offsets", "mm2-status"];
        let mut topics: Vec<_> = topics.iter().map(|it| format!("{it}.{alias}.internal")).collect();
        topics.extend([format!("{alias}.checkpoints.internal"), format!("{alias}.heartbeats")]);
        topics.push("heartbeats".to_owned());
        compacted(target, &topics.iter().map(String::as_str).collect::<Vec<_>>());
        // Nothing went in circles.
        let all = python("mirror.py", &["topics", target]).unwrap();
        let again = format!("{alias}.{other}.");
        assert!(!all.lines().any(|name| name.starts_with(&again)), "{all}");
    }
}

/// The numbers of rows in lines; none may come twice.
fn numbers(lines: &str) -> BTreeSet<usize> {
    let rows: Vec<usize> = lines.lines().map(|line| line.parse().unwrap()).collect();
    let set: BTreeSet<_> = rows.iter().copied().collect();
    assert_eq!(set.len(), rows.len(), "rows were consumed twice");
    set
}

/// MirrorMaker in its dedicated mode.
struct Program {
    service: Option<Service>,
    dir: PathBuf,
    starts: u32,
}

impl Program {
    fn start(dir: &Path, kafka: &Broker, house: &Broker) -> Self {
        let (kafka, house) = (kafka.bootstrap(), house.bootstrap());
        let settings =
            format!("kafka.bootstrap.servers={kafka}\nhouse.bootstrap.servers={house}\n");
        std::fs::write(dir.join("mirror.properties"), settings + SETTINGS).unwrap();
        let mut program = Self { service: None, dir: dir.to_owned(), starts: 0 };
        program.launch();
        program
    }

    fn launch(&mut self) {
        self.starts += 1;
        let log = self.dir.join(format!("mirror.{}.log", self.starts));
        self.service =
            Some(Service::start(CLASS, &[&self.dir.join("mirror.properties")], &log).unwrap());
    }

    fn kill_and_restart(&mut self) {
        self.service.take().unwrap().kill().unwrap();
        self.launch();
    }

    /// It asks both brokers for ACLs, and understands that they have none.
    fn finds_no_authorizer(&self) {
        let log = self.service.as_ref().unwrap().log();
        let found =
            log.matches("No ACL authorizer is configured on the source Kafka cluster").count();
        assert!(found >= 2, "{found} of two sources");
    }
}

const SETTINGS: &str = "\
clusters=kafka,house
kafka->house.enabled=true
house->kafka.enabled=true
topics=flights,departures
kafka.exactly.once.source.support=enabled
house.exactly.once.source.support=enabled
kafka.consumer.isolation.level=read_committed
house.consumer.isolation.level=read_committed
kafka.plugin.discovery=service_load
house.plugin.discovery=service_load
tasks.max=2
replication.factor=1
offset-syncs.topic.replication.factor=1
heartbeats.topic.replication.factor=1
checkpoints.topic.replication.factor=1
offset.storage.replication.factor=1
config.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=3
status.storage.partitions=2
refresh.topics.interval.seconds=2
refresh.groups.interval.seconds=2
emit.checkpoints.interval.seconds=1
emit.heartbeats.interval.seconds=1
sync.group.offsets.enabled=true
sync.group.offsets.interval.seconds=1
sync.topic.configs.interval.seconds=2
sync.topic.acls.interval.seconds=2
offset.lag.max=0
";

//! KIP-848 with real clients: librdkafka's and Java's consumers with `group.protocol=consumer`, Java's
//! tools, crashes, and groups that change their protocol with members at work.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::{kcat, python, python_start};
use streamhouse_compat_tests::target::{Broker, Options};
use streamhouse_compat_tests::tools::Tools;

/// Longest wait for a rebalance; a session that has to end first included.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Sessions so short that a test can wait for one to end.
const SETTINGS: [&str; 7] = [
    "offsets.topic.num.partitions=3",
    "group.initial.rebalance.delay.ms=100",
    "group.consumer.min.heartbeat.interval.ms=200",
    "group.consumer.heartbeat.interval.ms=200",
    "group.consumer.min.session.timeout.ms=2000",
    "group.consumer.session.timeout.ms=3000",
    "group.consumer.assignment.interval.ms=100",
];

struct Setup {
    broker: Broker,
    _dir: tempfile::TempDir,
}

impl Setup {
    fn new(topics: &[(&str, u32)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SETTINGS
            .iter()
            .fold(Options::new(&dir.path().join("data")), |options, it| options.setting(it));
        let broker = Broker::start_with(options).unwrap();
        let setup = Self { broker, _dir: dir };
        for (topic, partitions) in topics {
            setup.create(topic, *partitions);
        }
        setup
    }

    fn create(&self, topic: &str, partitions: u32) {
        let partitions = partitions.to_string();
        python("topic.py", &[&self.broker.bootstrap(), topic, &partitions]).unwrap();
    }

    fn join(&self, topic: &str, protocol: &str, configs: &[&str]) -> Member {
        let bootstrap = self.broker.bootstrap();
        let arguments = [&[bootstrap.as_str(), "g", topic, protocol], configs].concat();
        Member::start(&arguments)
    }

    /// Produces so many records, spread over the partitions.
    fn produce(&self, topic: &str, count: usize) {
        let mut input = Vec::new();
        for number in 0..count {
            input.extend_from_slice(format!("{number}:value {number}\n").as_bytes());
        }
        kcat(&self.broker.bootstrap(), &["-P", "-t", topic, "-K", ":"], &input).unwrap();
    }
}

/// A running `group_member.py`.
struct Member {
    process: Child,
    said: Receiver<String>,
    owns: BTreeSet<String>,
    consumed: usize,
    left: bool,
}

impl Member {
    fn start(arguments: &[&str]) -> Self {
        let mut process = python_start("group_member.py", arguments).unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (say, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, said, owns: BTreeSet::new(), consumed: 0, left: false }
    }

    /// Takes in what it has said so far.
    fn listen(&mut self) {
        for line in self.said.try_iter() {
            if let Some(owned) = line.strip_prefix("owns") {
                let names = owned.trim().split(',').filter(|name| !name.is_empty());
                self.owns = names.map(str::to_owned).collect();
            } else if let Some(count) = line.strip_prefix("consumed ") {
                self.consumed += count.parse::<usize>().unwrap();
            } else {
                self.left |= line == "left";
            }
        }
    }

    /// Leaves the group and ends.
    fn leave(mut self) -> usize {
        drop(self.process.stdin.take());
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while !self.left {
            assert!(Instant::now() < deadline, "a member did not leave");
            std::thread::sleep(Duration::from_millis(20));
            self.listen();
        }
        self.process.wait().unwrap();
        self.consumed
    }

    /// Is gone without a word.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.owns.clear();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until the members own so many partitions each, in any order, and never one at once.
#[track_caller]
fn settle(members: &mut [&mut Member], shares: &[usize]) {
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    loop {
        for member in members.iter_mut() {
            member.listen();
        }
        let mut found: Vec<_> = members.iter().map(|member| member.owns.len()).collect();
        found.sort_unstable();
        let all: BTreeSet<_> = members.iter().flat_map(|member| member.owns.iter()).collect();
        if found == shares && all.len() == shares.iter().sum::<usize>() {
            return;
        }
        let owned: Vec<_> = members.iter().map(|member| &member.owns).collect();
        assert!(Instant::now() < deadline, "expected shares {shares:?}, found {owned:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the members have consumed this many records together.
#[track_caller]
fn consume(members: &mut [&mut Member], count: usize) {
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    loop {
        for member in members.iter_mut() {
            member.listen();
        }
        let consumed: usize = members.iter().map(|member| member.consumed).sum();
        if consumed >= count {
            return;
        }
        assert!(Instant::now() < deadline, "consumed {consumed} of {count}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

#[test]
fn members_come_go_and_die_and_the_broker_too() {
    let mut setup = Setup::new(&[("t", 6)]);
    setup.produce("t", 300);
    let mut a = setup.join("t", "consumer", &[]);
    settle(&mut [&mut a], &[6]);
    let mut b = setup.join("t", "consumer", &[]);
    settle(&mut [&mut a, &mut b], &[3, 3]);
    let mut c = setup.join("t", "consumer", &[]);
    settle(&mut [&mut a, &mut b, &mut c], &[2, 2, 2]);
    consume(&mut [&mut a, &mut b, &mut c], 300);

    setup.broker.kill().unwrap();
    setup.broker.restart().unwrap();
    setup.produce("t", 300);
    consume(&mut [&mut a, &mut b, &mut c], 600);
    settle(&mut [&mut a, &mut b, &mut c], &[2, 2, 2]);

    b.kill();
    settle(&mut [&mut a, &mut c], &[3, 3]);
    c.leave();
    settle(&mut [&mut a], &[6]);
    a.leave();
}

#[test]
fn a_regular_expression_finds_topics_that_come_later() {
    let setup = Setup::new(&[("ta", 1), ("other", 1)]);
    let mut a = setup.join("^t.*", "consumer", &[]);
    settle(&mut [&mut a], &[1]);
    assert_eq!(a.owns, ["ta-0".to_owned()].into());
    setup.create("tb", 2);
    settle(&mut [&mut a], &[3]);
    a.leave();
}

#[test]
fn a_static_member_restarts_without_a_rebalance() {
    let setup = Setup::new(&[("t", 4)]);
    let mut a = setup.join("t", "consumer", &["group.instance.id=a"]);
    let mut b = setup.join("t", "consumer", &["group.instance.id=b"]);
    settle(&mut [&mut a, &mut b], &[2, 2]);
    let (of_a, of_b) = (a.owns.clone(), b.owns.clone());
    a.leave();
    let mut a = setup.join("t", "consumer", &["group.instance.id=a"]);
    settle(&mut [&mut a, &mut b], &[2, 2]);
    assert_eq!((&a.owns, &b.owns), (&of_a, &of_b));
    b.listen();
    assert_eq!(b.owns, of_b);
}

#[test]
fn a_group_changes_its_protocol_with_members_at_work_and_back() {
    let setup = Setup::new(&[("t", 6)]);
    setup.produce("t", 200);
    let mut tools = Tools::start(&setup.broker.bootstrap()).unwrap();
    let mut a = setup.join("t", "classic", &[]);
    let mut b = setup.join("t", "classic", &[]);
    settle(&mut [&mut a, &mut b], &[3, 3]);
    assert_contains(&tools.ok("kafka-groups --list").unwrap(), "Classic");

    let mut c = setup.join("t", "consumer", &[]);
    settle(&mut [&mut a, &mut b, &mut c], &[2, 2, 2]);
    assert_contains(&tools.ok("kafka-groups --list").unwrap(), "Consumer");
    setup.produce("t", 200);
    consume(&mut [&mut a, &mut b, &mut c], 400);

    c.leave();
    settle(&mut [&mut a, &mut b], &[3, 3]);
    assert_contains(&tools.ok("kafka-groups --list").unwrap(), "Classic");
    a.leave();
    settle(&mut [&mut b], &[6]);
    b.leave();
}

#[test]
fn javas_consumer_and_tools_know_the_group() {
    let setup = Setup::new(&[("t", 3)]);
    setup.produce("t", 30);
    let mut tools = Tools::start(&setup.broker.bootstrap()).unwrap();
    let t = &mut tools;
    let read = "kafka-console-consumer --topic t --group j --from-beginning --max-messages 30 \
                --timeout-ms 20000 --consumer-property group.protocol=consumer";
    let out = t.ok(read).unwrap();
    assert_eq!(out.lines().filter(|line| line.starts_with("value ")).count(), 30, "{out}");
    let out = t.ok("kafka-consumer-groups --describe --group j").unwrap();
    let lags: usize =
        out.lines().filter_map(|line| line.split_whitespace().nth(5)?.parse::<usize>().ok()).sum();
    assert_eq!(lags, 0, "{out}");
    let out = t.ok("kafka-consumer-groups --describe --group j --state").unwrap();
    assert_contains(&out, "Empty");

    let mut member = setup.join("t", "consumer", &[]);
    settle(&mut [&mut member], &[3]);
    let out = t.ok("kafka-consumer-groups --describe --group g --state").unwrap();
    assert_contains(&out, "uniform");
    assert_contains(&out, "Stable");
    let out = t.ok("kafka-consumer-groups --describe --group g --members --verbose").unwrap();
    assert_contains(&out, "rdkafka");
    assert_contains(&out, "t:0,1,2");
    let out = t.ok("kafka-consumer-groups --list --state --type").unwrap();
    assert_contains(&out, "Consumer");
    // The tool says so and ends with status 0.
    let out = t.ok("kafka-consumer-groups --delete --group g").unwrap();
    assert_contains(&out, "The group is not empty");
    t.ok("kafka-configs --alter --entity-type groups --entity-name g --add-config \
          consumer.heartbeat.interval.ms=500")
        .unwrap();
    let out = t.ok("kafka-configs --describe --entity-type groups --entity-name g").unwrap();
    assert_contains(&out, "consumer.heartbeat.interval.ms=500");
    member.leave();
    t.ok("kafka-consumer-groups --delete --group g").unwrap();
    t.ok("kafka-consumer-groups --delete --group j").unwrap();
}

//! Java consumers of both protocols, with each assignor, that come and go while a producer runs:
//! nothing acknowledged is missed, and at rest every partition has one owner (invariant GRP-1).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::jvm::JavaProgram;
use streamhouse_compat_tests::target::{Broker, Options};

/// Longest wait for a rebalance; a session that has to end and a broker that restarts included.
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: usize = 6;
const SETTINGS: [&str; 8] = [
    "offsets.topic.num.partitions=3",
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    "group.consumer.min.heartbeat.interval.ms=200",
    "group.consumer.heartbeat.interval.ms=200",
    "group.consumer.min.session.timeout.ms=2000",
    "group.consumer.session.timeout.ms=3000",
    "group.consumer.assignment.interval.ms=100",
];
/// Group, and the assignor of its members: a class of the classic protocol's, or a name of the
/// broker's.
const GROUPS: [(&str, &str); 6] = [
    ("eager-range", "RangeAssignor"),
    ("eager-round-robin", "RoundRobinAssignor"),
    ("eager-sticky", "StickyAssignor"),
    ("cooperative-sticky", "CooperativeStickyAssignor"),
    ("server-uniform", "uniform"),
    ("server-range", "range"),
];

/// One process: a member of every group.
struct Members {
    program: JavaProgram,
    read: usize,
    owned: BTreeMap<String, BTreeSet<u32>>,
    left: BTreeSet<String>,
}

/// Offsets that each group has consumed, per partition.
type Consumed = BTreeMap<String, BTreeSet<(u32, u64)>>;

impl Members {
    fn start(broker: &Broker) -> Self {
        let mut line = format!("GroupMembers {} t", broker.bootstrap());
        for (group, assignor) in GROUPS {
            let settings = if assignor.ends_with("Assignor") {
                format!(
                    "group.protocol=classic,session.timeout.ms=3000,heartbeat.interval.ms=300,\
                     partition.assignment.strategy=org.apache.kafka.clients.consumer.{assignor}"
                )
            } else {
                format!("group.protocol=consumer,group.remote.assignor={assignor}")
            };
            line.push_str(&format!(" {group},{settings}"));
        }
        let program = JavaProgram::start(&line).unwrap();
        Self { program, read: 0, owned: BTreeMap::new(), left: BTreeSet::new() }
    }

    /// Takes in what it has said.
    fn listen(&mut self, consumed: &mut Consumed) {
        let lines = self.program.lines();
        for line in &lines[self.read..] {
            let words: Vec<_> = line.split_whitespace().collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            let partition = |word: &str| word.parse::<u32>().unwrap();
            let group = words[0].to_owned();
            match words[1] {
                "owns" => {
                    let owned = words.get(2).copied().unwrap_or_default();
                    let owned = owned.split(',').filter(|it| !it.is_empty()).map(partition);
                    self.owned.insert(group, owned.collect());
                }
                "consumed" => {
                    let offsets = (number(3)..=number(4)).map(|at| (partition(words[2]), at));
                    consumed.entry(group).or_default().extend(offsets);
                }
                "left" => drop(self.left.insert(group)),
                _ => panic!("a member says: {line}"),
            }
        }
        self.read = lines.len();
    }

    fn shares(&self, group: &str) -> BTreeSet<u32> {
        self.owned.get(group).cloned().unwrap_or_default()
    }

    /// Ends all its members in good order.
    fn leave(mut self, consumed: &mut Consumed) {
        self.program.terminate().unwrap();
        self.listen(consumed);
        assert_eq!(self.left.len(), GROUPS.len(), "left only {:?}", self.left);
    }
}

/// Waits until in every group each of `members` owns its equal share and every partition has one
/// owner.
#[track_caller]
fn settle(members: &mut [&mut Members], consumed: &mut Consumed) {
    let share = PARTITIONS / members.len();
    let deadline = Instant::now() + PATIENCE;
    loop {
        for member in members.iter_mut() {
            member.listen(consumed);
        }
        let unsettled = GROUPS.iter().find_map(|(group, _)| {
            let owned: Vec<_> = members.iter().map(|member| member.shares(group)).collect();
            let all: BTreeSet<_> = owned.iter().flatten().collect();
            let settled = owned.iter().all(|it| it.len() == share) && all.len() == PARTITIONS;
            (!settled).then(|| format!("{group}: {owned:?}"))
        });
        let Some(unsettled) = unsettled else { return };
        assert!(Instant::now() < deadline, "not settled: {unsettled}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the records are that Kafka's verifiable producer says are acknowledged.
fn acknowledged(producer: &mut JavaProgram) -> BTreeSet<(u32, u64)> {
    let events = producer.lines().iter().map(|line| -> serde_json::Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    events
        .filter(|event| event["name"] == "producer_send_success")
        .map(|event| {
            let partition = event["partition"].as_u64().unwrap();
            (u32::try_from(partition).unwrap(), event["offset"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn members_that_come_and_go_miss_nothing_with_any_assignor() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let options = SETTINGS.iter().fold(Options::new(&data), |options, it| options.setting(it));
    let mut broker = Broker::start_with(options).unwrap();
    python("topic.py", &[&broker.bootstrap(), "t", &PARTITIONS.to_string()]).unwrap();
    let producer = format!(
        "kafka-verifiable-producer --bootstrap-server {} --topic t --throughput 200",
        broker.bootstrap()
    );
    let mut producer = JavaProgram::start(&producer).unwrap();
    let mut consumed = Consumed::new();

    let mut a = Members::start(&broker);
    let mut b = Members::start(&broker);
    settle(&mut [&mut a, &mut b], &mut consumed);
    let mut c = Members::start(&broker);
    settle(&mut [&mut a, &mut b, &mut c], &mut consumed);
    // Without a word: its sessions have to end first.
    b.program.kill().unwrap();
    b.listen(&mut consumed);
    settle(&mut [&mut a, &mut c], &mut consumed);
    a.leave(&mut consumed);
    broker.kill().unwrap();
    broker.restart().unwrap();
    let mut d = Members::start(&broker);
    settle(&mut [&mut c, &mut d], &mut consumed);

    producer.terminate().unwrap();
    let acknowledged = acknowledged(&mut producer);
    assert!(acknowledged.len() > 200, "only {} records", acknowledged.len());
    let deadline = Instant::now() + PATIENCE;
    for (group, _) in GROUPS {
        loop {
            c.listen(&mut consumed);
            d.listen(&mut consumed);
            let missing = acknowledged.difference(&consumed[group]).count();
            if missing == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{group} misses {missing} records");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    c.leave(&mut consumed);
    d.leave(&mut consumed);
}

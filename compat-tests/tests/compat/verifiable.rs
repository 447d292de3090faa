//! Apache Kafka's verifiable producer and consumer, the programs of its system tests: what they
//! report as JSON while members and the broker are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::jvm::JavaProgram;
use streamhouse_compat_tests::target::{Broker, Options};
use streamhouse_compat_tests::tools::Tools;

/// Longest wait for an event; a broker that restarts included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sessions begin at 45 s, long enough for a member to be back on a busy machine too.
const SETTINGS: [&str; 6] = [
    "offsets.topic.num.partitions=3",
    "group.initial.rebalance.delay.ms=0",
    "group.consumer.min.heartbeat.interval.ms=200",
    "group.consumer.heartbeat.interval.ms=200",
    "group.consumer.min.session.timeout.ms=1000",
    "group.consumer.assignment.interval.ms=100",
];

fn events(program: &mut JavaProgram) -> Vec<Value> {
    let parse = |line: &String| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    program.lines().iter().map(parse).collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["name"].as_str().unwrap()).collect()
}

/// What a consumer owns by its events.
fn owned(program: &mut JavaProgram) -> BTreeSet<u64> {
    let mut owned = BTreeSet::new();
    for event in events(program) {
        let partitions = event["partitions"].as_array().into_iter().flatten();
        let partitions = partitions.map(|it| it["partition"].as_u64().unwrap());
        match event["name"].as_str() {
            Some("partitions_assigned") => owned.extend(partitions),
            Some("partitions_revoked") => partitions.for_each(|it| _ = owned.remove(&it)),
            _ => {}
        }
    }
    owned
}

/// How many records of each partition a consumer says it has committed: the offset after the last.
fn committed(program: &mut JavaProgram) -> BTreeMap<u64, u64> {
    let mut committed = BTreeMap::new();
    for event in events(program) {
        if event["name"] == "offsets_committed" && event["success"] == true {
            for offset in event["offsets"].as_array().unwrap() {
                let partition = offset["partition"].as_u64().unwrap();
                committed.insert(partition, offset["offset"].as_u64().unwrap());
            }
        }
    }
    committed
}

/// The values that a verbose consumer says it has read.
fn values(program: &mut JavaProgram) -> BTreeSet<String> {
    let events = events(program);
    let data = events.iter().filter(|event| event["name"] == "record_data");
    data.map(|event| event["value"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(dir: &tempfile::TempDir) -> Broker {
    let data = dir.path().join("data");
    let options = SETTINGS.iter().fold(Options::new(&data), |options, it| options.setting(it));
    let broker = Broker::start_with(options).unwrap();
    python("topic.py", &[&broker.bootstrap(), "t", "4"]).unwrap();
    broker
}

/// Runs a producer to its end and checks all it reports.
fn produce(broker: &Broker, prefix: u32, count: usize) {
    let line = format!(
        "kafka-verifiable-producer --bootstrap-server {} --topic t --max-messages {count} \
         --throughput 1000 --acks -1 --value-prefix {prefix} --repeating-keys 8",
        broker.bootstrap()
    );
    let mut producer = JavaProgram::start(&line).unwrap();
    assert!(producer.wait().unwrap().success());
    let events = events(&mut producer);
    let successes = events.iter().filter(|event| event["name"] == "producer_send_success");
    let values: BTreeSet<_> = successes.map(|event| event["value"].to_string()).collect();
    let expected = (0..count).map(|number| format!("\"{prefix}.{number}\""));
    assert_eq!(values, expected.collect());
    let names = names(&events);
    assert_eq!(names.first(), Some(&"startup_complete"));
    assert!(names.contains(&"shutdown_complete"), "{names:?}");
    let data = events.iter().find(|event| event["name"] == "tool_data").unwrap();
    assert_eq!((&data["sent"], &data["acked"]), (&Value::from(count), &Value::from(count)));
}

#[test]
fn verifiable_programs_report_every_event_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = start(&dir);
    let consume = |broker: &Broker, more: &str| {
        let line = format!(
            "kafka-verifiable-consumer --bootstrap-server {} --topic t {more}",
            broker.bootstrap()
        );
        JavaProgram::start(&line).unwrap()
    };
    let dynamic =
        "--group-id server --group-protocol consumer --group-remote-assignor range --verbose";
    let fixed = "--group-id server --group-protocol consumer --group-instance-id two --verbose";
    let mut one = consume(&broker, dynamic);
    let mut two = consume(&broker, fixed);
    // Commits by itself, and ends by itself.
    let classic = "--group-id client --group-protocol classic --session-timeout 6000 --enable-autocommit \
                   --assignment-strategy org.apache.kafka.clients.consumer.CooperativeStickyAssignor \
                   --max-messages 150 --verbose";
    let mut three = consume(&broker, classic);
    eventually("two shares", || owned(&mut one).len() == 2 && owned(&mut two).len() == 2);
    produce(&broker, 1, 100);
    eventually("everything is read", || {
        values(&mut one).union(&values(&mut two)).count() == 100 && values(&mut three).len() == 100
    });

    // A static member that comes back within its session gets back what it had, and the other
    // notices nothing. (Had it been killed, its successor would have to wait for its session.)
    let (of_one, of_two) = (owned(&mut one), owned(&mut two));
    two.terminate().unwrap();
    let before = values(&mut two);
    let assignments = |program: &mut JavaProgram| {
        names(&events(program)).iter().filter(|name| name.starts_with("partitions_")).count()
    };
    let quiet = assignments(&mut one);
    let mut two = consume(&broker, fixed);
    eventually("it has its partitions back", || owned(&mut two) == of_two);
    assert_eq!((owned(&mut one), assignments(&mut one)), (of_one, quiet));

    // The group's own setting shortens the sessions, from each member's next heartbeat on.
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    let shorten = "kafka-configs --alter --entity-type groups --entity-name server --add-config \
                   consumer.session.timeout.ms=3000";
    tools.ok(shorten).unwrap();
    broker.kill().unwrap();
    broker.restart().unwrap();
    produce(&broker, 2, 100);
    eventually("everything after the kill is read", || {
        let read: BTreeSet<_> = values(&mut one).union(&values(&mut two)).cloned().collect();
        read.union(&before).count() == 200
    });
    assert!(three.wait().unwrap().success());
    assert_eq!(values(&mut three).len(), 150);

    // A member that is killed is missed after its session.
    let last = committed(&mut one);
    one.kill().unwrap();
    eventually("all partitions go to the other", || owned(&mut two).len() == 4);
    for (partition, offset) in committed(&mut two) {
        let before = last.get(&partition).copied().unwrap_or_default();
        assert!(before <= offset, "{partition} went back from {before} to {offset}");
    }
    two.terminate().unwrap();
    let events = events(&mut two);
    let names = names(&events);
    assert_eq!(names.first(), Some(&"startup_complete"));
    let end = names.iter().position(|name| *name == "shutdown_requested").unwrap();
    assert!(names[end..].contains(&"partitions_revoked"), "{names:?}");
    assert_eq!(names.last(), Some(&"shutdown_complete"));
}

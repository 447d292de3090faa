//! Groups of the classic protocol: kcat, Kafka's console consumer, librdkafka with each of its
//! assignors, static members, and a broker that is killed while members come and go.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::{kcat, python, python_start};
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::{Broker, Options, Target};
use streamhouse_compat_tests::tools::Tools;

/// A broker whose groups do not wait for more members before their first rebalance.
fn start(dir: &tempfile::TempDir) -> Broker {
    let options = Options::new(&dir.path().join("data"));
    Broker::start_with(options.setting("group.initial.rebalance.delay.ms=0")).unwrap()
}

fn run(scenario: &str) {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let began = Instant::now();
    let out = python("classic_groups.py", &[&broker.bootstrap(), scenario]).unwrap();
    println!("{out}{scenario}: {:?}", began.elapsed());
}

#[test]
fn librdkafka_with_range_keeps_one_owner_per_partition() {
    run("range");
}

#[test]
fn librdkafka_with_roundrobin_keeps_one_owner_per_partition() {
    run("roundrobin");
}

#[test]
fn librdkafka_with_cooperative_sticky_keeps_what_stays() {
    run("cooperative-sticky");
}

#[test]
fn a_restarted_static_member_gets_its_partitions_back_without_a_rebalance() {
    run("static");
}

#[test]
fn of_two_static_members_with_one_id_the_first_is_fenced() {
    run("fenced");
}

#[test]
fn kcat_reads_in_a_group_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = start(&dir);
    let b = broker.bootstrap();
    kcat(&b, &["-P", "-t", "kg", "-p", "0"], b"1\n2\n3\n4\n").unwrap();
    let consume = |count: &str| {
        let group = ["-G", "kcats", "-q", "-c", count, "-X", "auto.offset.reset=earliest"];
        let settings = ["-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=200", "kg"];
        String::from_utf8(kcat(&b, &[&group[..], &settings[..]].concat(), b"").unwrap()).unwrap()
    };
    assert_eq!(consume("2"), "1\n2\n");
    broker.kill().unwrap();
    broker.restart().unwrap();
    assert_eq!(consume("1"), "3\n");
    assert_eq!(consume("1"), "4\n");
}

#[test]
fn the_console_consumer_reads_in_a_classic_group_and_the_tools_describe_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    tools.ok("kafka-topics --create --topic cc --partitions 1").unwrap();
    tools.ok_with_input("kafka-console-producer --topic cc", "a\nb\nc\n").unwrap();
    let consume = |count: u32| {
        format!(
            "kafka-console-consumer --topic cc --group consoles --timeout-ms 20000 --max-messages \
             {count} --from-beginning --command-property group.protocol=classic"
        )
    };
    assert_eq!(tools.ok(&consume(2)).unwrap(), "a\nb\n");
    assert_eq!(tools.ok(&consume(1)).unwrap(), "c\n");
    let out = tools.ok("kafka-consumer-groups --describe --group consoles").unwrap();
    let line = out.lines().find(|line| line.starts_with("consoles")).expect("a line of the group");
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[1..6], ["cc", "0", "3", "3", "0"], "{out}");
    let out = tools.ok("kafka-consumer-groups --describe --group consoles --state").unwrap();
    assert!(out.contains("Empty"), "{out}");
}

/// How often the broker is killed while members come and go.
const KILLS: u32 = 4;
const KILLS_KAFKA: u32 = 1;

#[test]
fn a_group_survives_a_broker_that_is_killed_while_it_rebalances() {
    let mut random = Random::announced("classic_groups");
    let dir = tempfile::tempdir().unwrap();
    let mut broker = start(&dir);
    let mut client = python_start("classic_groups.py", &[&broker.bootstrap(), "churn"]).unwrap();
    let mut out = BufReader::new(client.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(out.by_ref().any(|line| line == "ready"), "the members never formed a group");
    let kills = match Target::current().unwrap() {
        Target::StreamHouse => KILLS,
        Target::Kafka => KILLS_KAFKA,
    };
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(random.within(300..1_500)));
        broker.kill().unwrap();
        broker.restart().unwrap();
    }
    client.stdin.take().unwrap().write_all(b"enough\n").unwrap();
    let rest: Vec<_> = out.collect();
    let status = client.wait().unwrap();
    println!("{}", rest.join("\n"));
    assert!(status.success(), "{status}");
}

#[test]
fn every_answer_on_the_wire_is_that_of_apache_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    println!("{}", python("classic_wire.py", &[&broker.bootstrap()]).unwrap());
}

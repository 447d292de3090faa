//! Kafka's console consumer in groups of both protocols, several at once, and what the group tools
//! show of them and refuse while they are at work.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::kcat;
use streamhouse_compat_tests::jvm::JavaProgram;
use streamhouse_compat_tests::target::{Broker, Options};
use streamhouse_compat_tests::tools::Tools;

const PATIENCE: Duration = Duration::from_secs(60);
const PROTOCOLS: [&str; 2] = ["classic", "consumer"];

/// Produces the numbers of `range`, each its own key.
fn produce(broker: &Broker, range: std::ops::Range<u32>) {
    let mut lines = String::new();
    for number in range {
        writeln!(lines, "{number}:{number}").unwrap();
    }
    kcat(&broker.bootstrap(), &["-P", "-t", "t", "-K", ":"], lines.as_bytes()).unwrap();
}

/// A console consumer in the group that is named like its protocol.
fn join(broker: &Broker, protocol: &str, client: &str) -> JavaProgram {
    let line = format!(
        "kafka-console-consumer --bootstrap-server {} --topic t --group {protocol} --from-beginning \
         --command-property group.protocol={protocol} --command-property client.id={client} \
         --command-property auto.commit.interval.ms=200",
        broker.bootstrap()
    );
    JavaProgram::start(&line).unwrap()
}

/// Waits until the members together have printed `count` different numbers.
#[track_caller]
fn read(members: &mut [JavaProgram], count: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let printed: BTreeSet<_> =
            members.iter_mut().flat_map(|member| member.lines().to_vec()).collect();
        let numbers = printed.iter().filter(|line| line.parse::<u32>().is_ok()).count();
        if numbers == count as usize {
            return;
        }
        assert!(Instant::now() < deadline, "{numbers} of {count} were printed");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The rows of a table that begin with `group`, without that column.
fn rows(table: &str, group: &str) -> Vec<Vec<String>> {
    let rows = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
    rows.filter(|row: &Vec<String>| row.first().is_some_and(|first| first == group))
        .map(|row| row[1..].to_vec())
        .collect()
}

/// Asks `line` until `holds` of the rows of `group` that it prints, and returns them.
#[track_caller]
fn until(
    tools: &mut Tools,
    line: &str,
    group: &str,
    holds: impl Fn(&[Vec<String>]) -> bool,
) -> Vec<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let out = tools.ok(line).unwrap();
        let found = rows(&out, group);
        if holds(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{line}:\n{out}");
    }
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

#[test]
fn console_consumers_share_topics_come_and_go_and_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let options = [
        "group.initial.rebalance.delay.ms=0",
        "group.consumer.min.heartbeat.interval.ms=200",
        "group.consumer.heartbeat.interval.ms=200",
        "group.consumer.assignment.interval.ms=0",
    ];
    let data = dir.path().join("data");
    let options = options.iter().fold(Options::new(&data), |options, it| options.setting(it));
    let broker = Broker::start_with(options).unwrap();
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    let t = &mut tools;
    t.ok("kafka-topics --create --topic t --partitions 4").unwrap();
    produce(&broker, 0..40);
    let mut members =
        PROTOCOLS.map(|protocol| ["first", "second"].map(|client| join(&broker, protocol, client)));
    for (protocol, members) in PROTOCOLS.iter().zip(&mut members) {
        read(members, 40);
        let line = format!("kafka-consumer-groups --describe --group {protocol} --members");
        until(t, &line, protocol, |rows| {
            rows.iter().filter(|row| row.last().is_some_and(|share| share == "2")).count() == 2
        });
    }
    described_while_active(t);
    refused_while_active(t);

    // One of each goes, and the other takes over where it was.
    for [first, _] in &mut members {
        first.terminate().unwrap();
    }
    produce(&broker, 40..80);
    for (protocol, members) in PROTOCOLS.iter().zip(&mut members) {
        read(members, 80);
        let line = format!("kafka-consumer-groups --describe --group {protocol}");
        // Offset, end, lag: everything is committed.
        let rows = until(t, &line, protocol, |rows| {
            rows.len() == 4 && rows.iter().all(|row| row[4] == "0")
        });
        assert!(rows.iter().all(|row| row[7] == "second"), "{rows:?}");
        members[1].terminate().unwrap();
        let mut printed: Vec<_> = members.iter_mut().flat_map(|it| it.lines().to_vec()).collect();
        printed.retain(|line| line.parse::<u32>().is_ok());
        assert_eq!(printed.len(), 80, "nothing was read twice");
    }
    // A new life of a group begins where the last one committed, whatever `--from-beginning` says.
    produce(&broker, 80..90);
    for protocol in PROTOCOLS {
        let line = format!(
            "kafka-console-consumer --topic t --group {protocol} --from-beginning --max-messages 10 \
             --timeout-ms 20000 --command-property group.protocol={protocol}"
        );
        let out = t.ok(&line).unwrap();
        let numbers: BTreeSet<u32> = out.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(numbers, (80..90).collect());
    }
    let out = t.ok("kafka-consumer-groups --list --state empty --type").unwrap();
    assert_eq!(rows(&out, "classic"), [["Classic", "Empty"]]);
    assert_eq!(rows(&out, "consumer"), [["Consumer", "Empty"]]);
    let out = t.ok("kafka-consumer-groups --delete --all-groups").unwrap();
    assert_contains(&out, "successful");
    assert_eq!(t.ok("kafka-consumer-groups --list").unwrap().trim(), "");
}

/// Two members of two partitions each in both groups.
fn described_while_active(t: &mut Tools) {
    let out = t.ok("kafka-consumer-groups --list --state stable --type classic,consumer").unwrap();
    assert_eq!(rows(&out, "classic"), [["Classic", "Stable"]]);
    assert_eq!(rows(&out, "consumer"), [["Consumer", "Stable"]]);
    let out = t.ok("kafka-consumer-groups --list --type consumer").unwrap();
    assert_eq!((rows(&out, "classic").len(), rows(&out, "consumer").len()), (0, 1));
    let out = t.ok("kafka-consumer-groups --list --state empty,dead").unwrap();
    assert_eq!((rows(&out, "classic").len(), rows(&out, "consumer").len()), (0, 0));

    for (filter, classic, consumer) in [
        ("", 1, 1),
        ("--consumer", 1, 1),
        ("--share", 0, 0),
        ("--streams", 0, 0),
        ("--group-type classic", 1, 0),
        ("--group-type consumer --protocol consumer", 0, 1),
        ("--group-type share", 0, 0),
        ("--protocol consumer", 1, 1),
        ("--protocol connect", 0, 0),
    ] {
        let out = t.ok(&format!("kafka-groups --list {filter}")).unwrap();
        let found = (rows(&out, "classic").len(), rows(&out, "consumer").len());
        assert_eq!(found, (classic, consumer), "kafka-groups --list {filter}:\n{out}");
    }

    let out = t.ok("kafka-consumer-groups --describe --all-groups --state --verbose").unwrap();
    let classic = &rows(&out, "classic")[0];
    assert_eq!(classic[2..], ["range", "Stable", "-", "-", "2"], "{out}");
    let consumer = &rows(&out, "consumer")[0];
    assert_eq!(consumer[2..4], ["uniform", "Stable"], "{out}");
    // The group's epoch is that of its target.
    assert_eq!(consumer[4], consumer[5], "{out}");
    assert_eq!(consumer[6], "2", "{out}");

    let out = t.ok("kafka-consumer-groups --describe --all-groups --members --verbose").unwrap();
    for protocol in PROTOCOLS {
        let rows = rows(&out, protocol);
        let clients: BTreeSet<_> = rows.iter().map(|row| row[2].as_str()).collect();
        assert_eq!(clients, ["first", "second"].into(), "{out}");
        let mut owned: Vec<_> = rows.iter().map(|row| row[5].trim_start_matches("t:")).collect();
        owned.sort_unstable();
        assert_eq!(owned, ["0,1", "2,3"], "{out}");
        for row in rows {
            assert_eq!((row[1].as_str(), row[3].as_str()), ("/127.0.0.1", "2"), "{out}");
            if protocol == "classic" {
                assert_eq!(
                    (row[4].as_str(), &row[6..]),
                    ("-", &["-".to_owned(), "-".to_owned()][..])
                );
            } else {
                assert_eq!((&row[4], &row[5]), (&row[6], &row[7]), "current is target:\n{out}");
            }
        }
    }
    let out = t.ok("kafka-consumer-groups --describe --group classic --offsets --verbose").unwrap();
    assert_eq!(rows(&out, "classic").len(), 4, "{out}");
}

fn refused_while_active(t: &mut Tools) {
    for group in PROTOCOLS {
        // The tool says so and ends with status 0.
        for mode in ["--dry-run", "--execute"] {
            let out = t.ok(&format!(
                "kafka-consumer-groups --group {group} --reset-offsets --to-earliest --all-topics {mode}"
            ));
            let why = format!("the group '{group}' is inactive, but the current state is Stable.");
            assert_contains(&out.unwrap(), &why);
        }
        let out =
            t.ok(&format!("kafka-consumer-groups --group {group} --delete-offsets --topic t"));
        assert_contains(&out.unwrap(), "GroupSubscribedToTopicException");
        let out = t.ok(&format!("kafka-consumer-groups --delete --group {group}")).unwrap();
        assert_contains(&out, "GroupNotEmptyException");
    }
}

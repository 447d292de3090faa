//! Offsets and group administration through Apache Kafka's own tools, over restarts and SIGKILL.

use std::collections::BTreeMap;

use streamhouse_compat_tests::target::{Broker, Options};
use streamhouse_compat_tests::tools::Tools;

/// The offset that `kafka-consumer-groups --describe` shows of a partition.
fn described_offset(tools: &mut Tools, group: &str, topic: &str, partition: u32) -> Option<i64> {
    let line = format!("kafka-consumer-groups --describe --group {group}");
    let out = tools.ok(&line).unwrap();
    out.lines().find_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let [shown_group, shown_topic, shown_partition, offset, ..] = columns.as_slice() else {
            return None;
        };
        let is_it = (*shown_group, *shown_topic, *shown_partition)
            == (group, topic, partition.to_string().as_str());
        is_it.then(|| offset.parse().ok()).flatten()
    })
}

fn reset(tools: &mut Tools, group: &str, rule: &str) {
    let line =
        format!("kafka-consumer-groups --group {group} --topic t --reset-offsets {rule} --execute");
    tools.ok(&line).unwrap();
}

#[test]
fn offsets_are_reset_described_deleted_and_survive_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("data")).unwrap();
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    tools.ok("kafka-topics --create --topic t --partitions 2").unwrap();
    // Keys spread them over both partitions.
    let lines: String = (0..60).map(|number| format!("key {number}\tvalue\n")).collect();
    let produce = "kafka-console-producer --topic t --reader-property parse.key=true";
    tools.ok_with_input(produce, &lines).unwrap();

    reset(&mut tools, "app", "--to-offset 3");
    assert_eq!(described_offset(&mut tools, "app", "t", 0), Some(3));
    reset(&mut tools, "app", "--shift-by 2");
    assert_eq!(described_offset(&mut tools, "app", "t", 1), Some(5));
    reset(&mut tools, "app", "--to-earliest");
    assert_eq!(described_offset(&mut tools, "app", "t", 0), Some(0));
    reset(&mut tools, "other", "--to-latest");
    let listed = tools.ok("kafka-consumer-groups --list --state").unwrap();
    assert!(listed.contains("app") && listed.contains("other"), "{listed}");
    assert!(listed.contains("Empty"), "{listed}");
    reset(&mut tools, "app", "--to-offset 7");

    broker.kill().unwrap();
    broker.restart().unwrap();
    assert_eq!(described_offset(&mut tools, "app", "t", 0), Some(7));
    broker.stop().unwrap();
    broker.restart().unwrap();
    assert_eq!(described_offset(&mut tools, "app", "t", 1), Some(7));

    tools.ok("kafka-consumer-groups --group app --topic t:0 --delete-offsets").unwrap();
    assert_eq!(described_offset(&mut tools, "app", "t", 0), None);
    assert_eq!(described_offset(&mut tools, "app", "t", 1), Some(7));
    let out = tools.ok("kafka-consumer-groups --group app --delete").unwrap();
    assert!(out.contains("successful"), "{out}");
    let listed = tools.ok("kafka-consumer-groups --list").unwrap();
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["other"]);
}

/// The offsets that a reset of offsets says it sets, by topic and partition.
fn plan(table: &str, group: &str) -> BTreeMap<(String, u32), i64> {
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() == 4 && row[0] == group)
        .map(|row| ((row[1].to_owned(), row[2].parse().unwrap()), row[3].parse().unwrap()))
        .collect()
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

#[test]
fn offsets_are_reset_by_every_rule() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    let t = &mut tools;
    t.ok("kafka-topics --create --topic t --partitions 2").unwrap();
    t.ok("kafka-topics --create --topic u --partitions 1").unwrap();
    // Partition 0 of t gets eight of them, partition 1 four.
    let keys: String = (0..12).map(|number| format!("k{number}\tv\n")).collect();
    let produce = "kafka-console-producer --topic t --reader-property parse.key=true";
    t.ok_with_input(produce, &keys).unwrap();
    t.ok_with_input("kafka-console-producer --topic u", "1\n2\n3\n4\n5\n").unwrap();

    let offsets = |of_t: &[(u32, i64)], of_u: &[i64]| {
        let of_t = of_t.iter().map(|(partition, offset)| (("t".to_owned(), *partition), *offset));
        let of_u = of_u.iter().map(|offset| (("u".to_owned(), 0), *offset));
        of_t.chain(of_u).collect::<BTreeMap<_, _>>()
    };
    // A group without offsets has no topics, and begins nowhere.
    let reset = "kafka-consumer-groups --group app --reset-offsets";
    let out = t.ok(&format!("{reset} --to-earliest --all-topics --execute")).unwrap();
    assert_eq!(plan(&out, "app"), offsets(&[], &[]));
    let out = t.ok(&format!("{reset} --to-current --topic t --dry-run")).unwrap();
    assert_eq!(plan(&out, "app"), offsets(&[(0, 8), (1, 4)], &[]));
    assert_eq!(t.ok("kafka-consumer-groups --list").unwrap().trim(), "", "a dry run is dry");

    // Each rule, what it plans, and what is committed after it.
    for (rule, planned) in [
        ("--to-latest --topic t", offsets(&[(0, 8), (1, 4)], &[])),
        ("--to-offset 2 --topic u", offsets(&[], &[2])),
        ("--to-offset 200 --topic u", offsets(&[], &[5])),
        ("--shift-by -2 --topic u", offsets(&[], &[3])),
        ("--shift-by -200 --topic u", offsets(&[], &[0])),
        ("--shift-by 3 --topic u:0", offsets(&[], &[3])),
        ("--shift-by 300 --topic u:0", offsets(&[], &[5])),
        ("--to-offset 1 --topic t:1", offsets(&[(1, 1)], &[])),
        ("--to-datetime 2020-01-01T00:00:00.000 --all-topics", offsets(&[(0, 0), (1, 0)], &[0])),
        ("--to-datetime 2090-01-01T00:00:00.000 --all-topics", offsets(&[(0, 8), (1, 4)], &[5])),
        ("--by-duration PT1H --all-topics", offsets(&[(0, 0), (1, 0)], &[0])),
        ("--by-duration PT0S --topic t:0 --topic u", offsets(&[(0, 8)], &[5])),
        ("--to-current --all-topics", offsets(&[(0, 8), (1, 0)], &[5])),
        ("--to-earliest --all-topics", offsets(&[(0, 0), (1, 0)], &[0])),
        ("--to-latest --all-topics", offsets(&[(0, 8), (1, 4)], &[5])),
    ] {
        let before = described_offset(t, "app", "t", 0);
        let out = t.ok(&format!("{reset} {rule} --dry-run")).unwrap();
        assert_eq!(plan(&out, "app"), planned, "{rule}");
        assert_eq!(described_offset(t, "app", "t", 0), before, "a dry run is dry: {rule}");
        let out = t.ok(&format!("{reset} {rule} --execute")).unwrap();
        assert_eq!(plan(&out, "app"), planned, "{rule}");
        for ((topic, partition), offset) in planned {
            assert_eq!(described_offset(t, "app", &topic, partition), Some(offset), "{rule}");
        }
    }

    // What was exported can be brought back.
    let out = t.ok(&format!("{reset} --to-current --all-topics --export --dry-run")).unwrap();
    let mut exported: Vec<_> = out.lines().filter(|line| !line.is_empty()).collect();
    exported.sort_unstable();
    assert_eq!(exported, ["t,0,8", "t,1,4", "u,0,5"]);
    t.ok(&format!("{reset} --to-earliest --all-topics --execute")).unwrap();
    let file = dir.path().join("plan.csv");
    std::fs::write(&file, "t,0,8\nt,1,4\nu,0,4\n").unwrap();
    let out = t.ok(&format!("{reset} --from-file {} --execute", file.display())).unwrap();
    assert_eq!(plan(&out, "app"), offsets(&[(0, 8), (1, 4)], &[4]));
    assert_eq!(described_offset(t, "app", "u", 0), Some(4));
    // Of several groups, with their names.
    let both = "kafka-consumer-groups --group app --group late --reset-offsets";
    let out = t.ok(&format!("{both} --to-earliest --topic u --export --dry-run")).unwrap();
    assert_contains(&out, "app,u,0,0\nlate,u,0,0\n");
    std::fs::write(&file, "app,u,0,1\nlate,u,0,3\n").unwrap();
    t.ok(&format!("{both} --from-file {} --execute", file.display())).unwrap();
    assert_eq!(described_offset(t, "app", "u", 0), Some(1));
    assert_eq!(described_offset(t, "late", "u", 0), Some(3));
}

#[test]
fn groups_are_listed_filtered_and_deleted_and_errors_are_those_of_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    let t = &mut tools;
    t.ok("kafka-topics --create --topic t --partitions 2").unwrap();
    t.ok_with_input("kafka-console-producer --topic t", "a\nb\nc\n").unwrap();

    // Of a group that is not there.
    for part in ["--offsets", "--state", "--members"] {
        let line = format!("kafka-consumer-groups --describe --group gone {part}");
        let words: Vec<_> = line.split_whitespace().collect();
        let output = t.run(&words, "").unwrap();
        assert_contains(&(output.stdout + &output.stderr), "Group gone not found.");
    }
    let out = t.ok("kafka-consumer-groups --delete --group gone").unwrap();
    assert_contains(&out, "GroupIdNotFoundException");
    let out = t.ok("kafka-consumer-groups --delete-offsets --group gone --topic t").unwrap();
    assert_contains(&out, "The group id does not exist.");

    for group in ["app", "late"] {
        reset(t, group, "--to-latest");
    }
    for (filter, expected) in [
        ("", "app late"),
        ("--state empty", "app late"),
        ("--state stable,dead", ""),
        ("--type classic", "app late"),
        ("--type consumer", ""),
        ("--state empty --type consumer", ""),
    ] {
        let out = t.ok(&format!("kafka-consumer-groups --list {filter}")).unwrap();
        let groups = out.lines().filter_map(|line| line.split_whitespace().next());
        let mut groups: Vec<_> = groups.filter(|word| *word != "GROUP").collect();
        groups.sort_unstable();
        assert_eq!(groups.join(" "), expected, "{filter}:\n{out}");
    }
    assert_contains(&t.fails("kafka-consumer-groups --list --state odd").unwrap(), "Invalid state");
    assert_contains(&t.fails("kafka-consumer-groups --list --type odd").unwrap(), "Invalid types");
    let out = t.ok("kafka-groups --list --consumer").unwrap();
    assert_eq!(out.lines().filter(|line| line.contains("Classic")).count(), 2, "{out}");

    let out = t.ok("kafka-consumer-groups --describe --group app --state --verbose").unwrap();
    let row: Vec<_> = out.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(row[3..], ["-", "Empty", "-", "-", "0"], "{out}");

    let out = t.ok("kafka-consumer-groups --group app --delete-offsets --topic nowhere").unwrap();
    assert_contains(&out, "UnknownTopicOrPartitionException");
    let out = t.ok("kafka-consumer-groups --group app --delete-offsets --topic t:0").unwrap();
    assert_contains(&out, "Successful");
    assert_eq!(described_offset(t, "app", "t", 0), None);
    let out = t.ok("kafka-consumer-groups --group late --delete-offsets --topic t").unwrap();
    assert_contains(&out, "Successful");

    // The tool asks its own RE2.
    let out = t.ok("kafka-consumer-groups --validate-regex foo.*").unwrap();
    assert_contains(&out, "`foo.*` is valid");
    let out = t.ok("kafka-consumer-groups --validate-regex (?=foo)").unwrap();
    assert_contains(&out, "`(?=foo)` is invalid");

    let out = t.ok("kafka-consumer-groups --delete --group app --group gone").unwrap();
    assert_contains(&out, "Group 'gone' could not be deleted");
    assert_contains(&out, "app");
    t.ok("kafka-consumer-groups --delete --all-groups").unwrap();
    assert_eq!(t.ok("kafka-consumer-groups --list").unwrap().trim(), "");
}

#[test]
fn kafkas_formatters_read_our_records_of_groups() {
    let dir = tempfile::tempdir().unwrap();
    // The records are read with their history.
    let options = Options::new(&dir.path().join("data")).setting("log.cleaner.backoff.ms=3600000");
    let mut broker = Broker::start_with(options).unwrap();
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    let t = &mut tools;
    t.ok("kafka-topics --create --topic t --partitions 2").unwrap();
    t.ok_with_input("kafka-console-producer --topic t", "a\nb\nc\n").unwrap();
    reset(t, "app", "--to-latest");
    let partitions = t.ok("kafka-topics --describe --topic __consumer_offsets").unwrap();
    assert_contains(&partitions, "cleanup.policy=compact");
    assert_contains(&partitions, "PartitionCount: 50");
    // A member of a classic group, which commits one offset.
    let consume = "kafka-console-consumer --topic t --group reader --from-beginning --max-messages 3 \
                   --timeout-ms 20000 --command-property group.protocol=classic";
    t.ok(consume).unwrap();
    broker.kill().unwrap();
    broker.restart().unwrap();

    let offsets = formatted(t, "OffsetsMessageFormatter", "app");
    let keys: Vec<_> = offsets.iter().map(|record| record["key"]["data"].to_string()).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for partition in 0..2 {
        let key = serde_json::json!({"group": "app", "topic": "t", "partition": partition});
        assert!(offsets.iter().any(|record| record["key"]["data"] == key), "{keys:?}");
    }
    let committed = offsets.iter().map(|it| it["value"]["data"]["offset"].as_i64().unwrap());
    assert_eq!(committed.sum::<i64>(), 3);
    assert_eq!(offsets[0]["value"]["version"], 4);

    let states = formatted(t, "GroupMetadataMessageFormatter", "reader");
    let states: Vec<_> = states.iter().map(|record| &record["value"]["data"]).collect();
    let generations: Vec<_> = states.iter().map(|it| it["generation"].as_i64().unwrap()).collect();
    // Created, stable, left.
    assert_eq!(generations, [0, 1, 2], "{states:?}");
    assert_eq!(states[1]["protocol"], "range");
    let member = &states[1]["members"][0];
    assert_eq!(states[1]["leader"], member["memberId"]);
    assert_eq!(member["clientHost"], "/127.0.0.1");
    assert_eq!(
        (&member["sessionTimeout"], &member["rebalanceTimeout"]),
        (&45_000.into(), &300_000.into())
    );
    assert_eq!(states[2]["members"].as_array().map(Vec::len), Some(0));
}

/// What Kafka's `formatter` makes of the records in the partition where `group` belongs.
fn formatted(tools: &mut Tools, formatter: &str, group: &str) -> Vec<serde_json::Value> {
    let hash =
        group.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    let partition = hash.unsigned_abs() % 50;
    let ends = tools
        .ok(&format!("kafka-get-offsets --topic-partitions __consumer_offsets:{partition}"))
        .unwrap();
    let count = ends.trim().rsplit(':').next().unwrap();
    let out = tools
        .ok(&format!(
            "kafka-console-consumer --topic __consumer_offsets --partition {partition} --offset earliest \
             --timeout-ms 20000 --max-messages {count} \
             --formatter org.apache.kafka.tools.consumer.{formatter}"
        ))
        .unwrap();
    let records = serde_json::Deserializer::from_str(&out).into_iter::<serde_json::Value>();
    let records = records.map(|record| record.unwrap_or_else(|error| panic!("{error}: {out}")));
    records.filter(|record| record["key"]["data"]["group"] == group).collect()
}

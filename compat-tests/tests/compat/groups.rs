//! Offsets and group administration through Apache Kafka's own tools, over restarts and SIGKILL.

use streamhouse_compat_tests::target::{Broker, Target};
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

#[test]
fn kafkas_formatter_reads_our_offset_records() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    tools.ok("kafka-topics --create --topic t --partitions 2").unwrap();
    tools.ok_with_input("kafka-console-producer --topic t", "a\nb\nc\n").unwrap();
    reset(&mut tools, "app", "--to-latest");
    let partitions = tools.ok("kafka-topics --describe --topic __consumer_offsets").unwrap();
    assert!(partitions.contains("cleanup.policy=compact"), "{partitions}");
    if Target::current().unwrap() == Target::StreamHouse {
        assert!(partitions.contains("PartitionCount: 50"), "{partitions}");
    }
    // Where the group "app" belongs; a consumer without membership reads it.
    let read = "kafka-console-consumer --topic __consumer_offsets --partition 1 --offset earliest --timeout-ms 8000 \
                --formatter org.apache.kafka.tools.consumer.OffsetsMessageFormatter";
    let out = tools.ok(read).unwrap();
    for part in [r#""group":"app""#, r#""topic":"t""#, r#""partition":0"#, r#""partition":1"#] {
        assert!(out.contains(part), "{part} is not in {out}");
    }
}

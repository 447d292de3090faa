//! Transactions as Apache Kafka's own tools make, show and end them.

use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::target::Broker;
use streamhouse_compat_tests::tools::Tools;

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

/// The fields of the row of a table that has `word` in it.
#[track_caller]
fn row<'a>(table: &'a str, word: &str) -> Vec<&'a str> {
    let found = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = found.filter(|fields| fields.contains(&word));
    found.next().unwrap_or_else(|| panic!("no row of {word} in:\n{table}"))
}

#[test]
fn tools_produce_list_describe_and_end_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let bootstrap = broker.bootstrap();
    let mut tools = Tools::start(&bootstrap).unwrap();
    let t = &mut tools;
    t.ok("kafka-topics --create --topic perf --partitions 1").unwrap();
    t.ok("kafka-topics --create --topic open --partitions 1").unwrap();

    let out = t.ok(
        "kafka-producer-perf-test --topic perf --num-records 3000 --record-size 100 --throughput -1 \
         --transactional-id perf --transaction-duration-ms 20 --command-property acks=all",
    );
    assert_contains(&out.unwrap(), "3000 records sent");
    let read = "kafka-console-consumer --topic perf --partition 0 --offset earliest --max-messages 3000 \
                --timeout-ms 20000 --isolation-level read_committed";
    assert_eq!(t.ok(read).unwrap().lines().count(), 3000);
    let list = t.ok("kafka-transactions list").unwrap();
    assert_eq!(row(&list, "perf")[3], "CompleteCommit");
    let described = t.ok("kafka-transactions describe --transactional-id perf").unwrap();
    assert_contains(&described, "CompleteCommit");

    // A producer that dies with an open transaction.
    python("transactions.py", &["abandon", &bootstrap, "open", "lost"]).unwrap();
    let list = t.ok("kafka-transactions list --transactional-id-pattern l.*t").unwrap();
    assert_eq!(row(&list, "lost")[3], "Ongoing");
    assert!(!list.contains("perf"), "{list}");
    let described = t.ok("kafka-transactions describe --transactional-id lost").unwrap();
    assert_contains(&described, "open-0");
    let producers = "kafka-transactions describe-producers --topic open --partition 0";
    let described = t.ok(producers).unwrap();
    let open = described.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(open.last(), Some(&"0"), "an open transaction begins at offset 0:\n{described}");
    let hanging = "kafka-transactions find-hanging --topic open --partition 0 \
                   --max-transaction-timeout 0";
    // The coordinator knows it, so it does not hang.
    assert!(!t.ok(hanging).unwrap().contains("lost"));

    t.ok("kafka-transactions forceTerminateTransaction --transactionalId lost").unwrap();
    let described = t.ok("kafka-transactions describe --transactional-id lost").unwrap();
    assert!(!described.contains("Ongoing"), "{described}");
    let described = t.ok(producers).unwrap();
    assert_contains(&described, "None");

    python("transactions.py", &["abandon", &bootstrap, "open", "lost-too"]).unwrap();
    let described = t.ok(producers).unwrap();
    let offset = described
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .find(|last| last.parse::<i64>().is_ok_and(|offset| offset > 0))
        .unwrap_or_else(|| panic!("no open transaction:\n{described}"));
    let abort =
        format!("kafka-transactions abort --topic open --partition 0 --start-offset {offset}");
    t.ok(&abort).unwrap();
    let ends = "kafka-get-offsets --topic open --time latest";
    assert_contains(&t.ok(ends).unwrap(), "open:0:4");
    let read = "kafka-console-consumer --topic open --partition 0 --offset earliest --timeout-ms 2000 \
                --isolation-level read_committed";
    assert_eq!(t.run(&read.split_whitespace().collect::<Vec<_>>(), "").unwrap().stdout, "");
}

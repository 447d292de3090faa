//! Transactions as Apache Kafka's own tools make, show and end them.

use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::target::{Broker, Options};
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

/// The transactional ids that `kafka-transactions list` shows, sorted.
fn listed(tools: &mut Tools, filter: &str) -> Vec<String> {
    let out = tools.ok(&format!("kafka-transactions list {filter}")).unwrap();
    let rows = out.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let mut ids: Vec<_> = rows.map(str::to_owned).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn tools_filter_transactions_find_hanging_ones_and_end_them() {
    let dir = tempfile::tempdir().unwrap();
    // So that a transaction can be left in a partition behind its coordinator's back.
    let options = Options::new(&dir.path().join("data"))
        .setting("transaction.partition.verification.enable=false")
        .setting("transaction.state.log.num.partitions=1");
    let broker = Broker::start_with(options).unwrap();
    let bootstrap = broker.bootstrap();
    let mut tools = Tools::start(&bootstrap).unwrap();
    let t = &mut tools;
    t.ok("kafka-topics --create --topic t --partitions 2").unwrap();
    for id in ["pay-1", "pay-2"] {
        python("transactions.py", &["abandon", &bootstrap, "t", id]).unwrap();
    }
    python("hanging.py", &[&bootstrap, "t", "1", "4242"]).unwrap();

    for (filter, expected) in [
        ("", "pay-1 pay-2"),
        ("--duration-filter 1", "pay-1 pay-2"),
        ("--duration-filter 500000", ""),
        ("--transactional-id-pattern pay-.*", "pay-1 pay-2"),
        ("--transactional-id-pattern pay-[2-9]", "pay-2"),
        // The whole id has to match.
        ("--transactional-id-pattern pay", ""),
        ("--transactional-id-pattern .*-1 --duration-filter 1", "pay-1"),
    ] {
        assert_eq!(listed(t, filter).join(" "), expected, "{filter}");
    }
    let out = t.fails("kafka-transactions list --transactional-id-pattern (").unwrap();
    assert_contains(&out, "Failed to list transactions");
    let out = t.fails("kafka-transactions describe --transactional-id gone").unwrap();
    assert_contains(&out, "could not be found");

    // What a coordinator knows does not hang, however long it takes.
    let find = "kafka-transactions find-hanging --topic t";
    let found = t.ok(find).unwrap();
    assert_eq!(row(&found, "4242")[..3], ["t", "1", "4242"]);
    assert_eq!(found.lines().filter(|line| line.starts_with("t ")).count(), 1, "{found}");
    let start = row(&found, "4242")[5].to_owned();
    let described = t.ok("kafka-transactions describe-producers --topic t --partition 1").unwrap();
    assert_eq!(row(&described, "4242").last(), Some(&start.as_str()));
    let found = t.ok("kafka-transactions find-hanging --topic t --partition 0").unwrap();
    assert_eq!(found.lines().filter(|line| line.starts_with("t ")).count(), 0, "{found}");
    let out = t.fails("kafka-transactions find-hanging").unwrap();
    assert_contains(&out, "requires either --topic or --broker-id");
    let out = t.fails("kafka-transactions abort --topic t --partition 1 --start-offset 777");
    assert_contains(&out.unwrap(), "Could not find any open transactions starting at offset 777");
    t.ok(&format!("kafka-transactions abort --topic t --partition 1 --start-offset {start}"))
        .unwrap();
    let found = t.ok(find).unwrap();
    assert_eq!(found.lines().filter(|line| line.starts_with("t ")).count(), 0, "{found}");

    for id in ["pay-1", "pay-2", "new"] {
        t.ok(&format!("kafka-transactions forceTerminateTransaction --transactionalId {id}"))
            .unwrap();
        let described =
            t.ok(&format!("kafka-transactions describe --transactional-id {id}")).unwrap();
        assert_eq!(row(&described, id)[4], "Empty");
    }
    assert_eq!(listed(t, "").join(" "), "new pay-1 pay-2");
    let described = t.ok("kafka-transactions describe-producers --topic t --partition 0").unwrap()
        + &t.ok("kafka-transactions describe-producers --topic t --partition 1").unwrap();
    for producer in described.lines().filter(|line| line.starts_with(char::is_numeric)) {
        assert!(producer.trim().ends_with("None"), "still open:\n{described}");
    }
    states_are_formatted(t);
}

/// Every state of `pay-1` as Kafka's own formatter reads it from the log.
fn states_are_formatted(tools: &mut Tools) {
    let ends = tools.ok("kafka-get-offsets --topic __transaction_state").unwrap();
    let count = ends.trim().rsplit(':').next().unwrap();
    let out = tools
        .ok(&format!(
            "kafka-console-consumer --topic __transaction_state --from-beginning --timeout-ms 20000 \
             --max-messages {count} \
             --formatter org.apache.kafka.tools.consumer.TransactionLogMessageFormatter"
        ))
        .unwrap();
    let records = serde_json::Deserializer::from_str(&out).into_iter::<serde_json::Value>();
    let records: Vec<_> = records.map(|record| record.unwrap()).collect();
    let of_it = records.iter().filter(|it| it["key"]["data"]["transactionalId"] == "pay-1");
    let states: Vec<_> = of_it
        .map(|record| {
            let data = &record["value"]["data"];
            let number = |field: &str| data[field].as_i64().unwrap();
            (number("transactionStatus"), number("producerEpoch"), number("transactionTimeoutMs"))
        })
        .collect();
    // Empty, Ongoing, PrepareAbort, CompleteAbort; then the tool's own producer takes it over.
    let (empty, ongoing, prepare, complete) = (0, 1, 3, 5);
    assert_eq!(
        states[..4],
        [(empty, 0, 60_000), (ongoing, 0, 60_000), (prepare, 1, 60_000), (complete, 1, 60_000)]
    );
    let (state, _, timeout) = *states.last().unwrap();
    assert_eq!((state, timeout), (empty, 30_000), "{states:?}");
}

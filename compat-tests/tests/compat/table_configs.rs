//! A topic's table by its configuration, set with Kafka's own tools: change events of a database
//! become what the database has, and a table goes with its topic.

use streamhouse_compat_tests::clients::{kcat, python};
use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::target::{Broker, Target};
use streamhouse_compat_tests::tools::Tools;

#[test]
fn change_events_are_what_the_database_has_and_the_table_goes_with_its_topic() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here("table_configs", "Apache Kafka has no tables");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("data")).unwrap();
    let bootstrap = broker.bootstrap();
    let mut tools = Tools::start(&bootstrap).unwrap();
    tools.ok("kafka-topics --create --topic shop.public.orders --partitions 2").unwrap();
    alter(&mut tools, &ORDERS.join(",")).unwrap();

    let insert = |id: i64, amount: f64| event("c", None, Some((id, amount)));
    let first = [insert(1, 5.5), insert(2, 7.0), insert(3, 1.25)];
    kcat(&bootstrap, &["-P", "-t", "shop.public.orders", "-K", "|"], lines(&first).as_bytes())
        .unwrap();
    broker.kill().unwrap();
    broker.restart().unwrap();
    let bootstrap = broker.bootstrap();
    let second = [
        event("u", Some((2, 7.0)), Some((2, 8.5))),
        event("d", Some((1, 5.5)), None),
        // The tombstone that follows a deletion, and what is no change of a row.
        "{\"id\":1}|".to_owned(),
        "{\"id\":4}|{\"op\":\"t\"}".to_owned(),
    ];
    let tombstones = ["-P", "-t", "shop.public.orders", "-K", "|", "-Z"];
    kcat(&bootstrap, &tombstones, lines(&second).as_bytes()).unwrap();
    let rows =
        r#"[["id", "amount", "kafka_key"], [2, 8.5, "{\"id\":2}"], [3, 1.25, "{\"id\":3}"]]"#;
    let http = broker.http().unwrap();
    let path = python("table_configs.py", &["rows", http, "shop.orders", "7", rows]).unwrap();
    let dead = python("table_configs.py", &["sql", http, "select kafka_key from shop.bad_orders"]);
    assert_eq!(dead.unwrap().trim(), r#"[["7b226964223a347d"]]"#);

    let mut tools = Tools::start(&bootstrap).unwrap();
    settings_are_checked(&mut tools);
    alter(&mut tools, "table.delete.with.topic=true").unwrap();
    tools.ok("kafka-topics --delete --topic shop.public.orders").unwrap();
    broker.kill().unwrap();
    broker.restart().unwrap();
    python("table_configs.py", &["gone", path.trim()]).unwrap();
}

/// kafka-topics refuses keys that it does not know; kafka-configs does not.
const ORDERS: [&str; 11] = [
    "table.enable=true",
    "table.commit.interval.ms=100",
    "table.schema.sample.ms=0",
    "table.mode=upsert",
    "table.transform=flatten_debezium",
    "table.schema=id BIGINT",
    "table.id.columns=id",
    "table.key.convert=string",
    "table.namespace=shop",
    "table.name=orders",
    "table.dlq=bad_orders",
];

fn alter(tools: &mut Tools, settings: &str) -> Result<(), String> {
    let words = ["kafka-configs", "--entity-type", "topics", "--entity-name", "shop.public.orders"];
    let words = [&words[..], &["--alter", "--add-config", settings]].concat();
    let output = tools.run(&words, "").unwrap();
    if output.status == 0 { Ok(()) } else { Err(output.stdout + &output.stderr) }
}

/// What is wrong is refused with what would be right, keys of other products are kept.
fn settings_are_checked(tools: &mut Tools) {
    for (settings, expected) in [
        ("table.format=iceberg", "table.format"),
        ("table.transform=unwrap", "table.transform"),
        ("table.id.columns=amount", "declared in table.schema"),
        ("table.value.convert=raw", "needs table.value.convert=json"),
        ("table.mode=append", "needs table.mode=upsert"),
        ("table.namespace=pg_catalog", "letters of ASCII"),
        ("table.snapshot.min=0", "table.snapshot.min"),
    ] {
        let error = alter(tools, settings).unwrap_err();
        assert!(error.contains("InvalidConfigurationException"), "{settings}: {error}");
        assert!(error.contains(expected), "{settings}: {error}");
    }
    alter(tools, "redpanda.iceberg.target.lag.ms=60000").unwrap();
    let topic = "kafka-configs --entity-type topics --entity-name shop.public.orders --describe";
    let out = tools.ok(topic).unwrap();
    assert!(out.contains("redpanda.iceberg.target.lag.ms=60000"), "{out}");
    assert!(out.contains("table.id.columns=id"), "{out}");
}

/// A record of Debezium: the row's key, and what was done to it.
fn event(op: &str, before: Option<(i64, f64)>, after: Option<(i64, f64)>) -> String {
    let row = |row: Option<(i64, f64)>| match row {
        Some((id, amount)) => format!("{{\"id\":{id},\"amount\":{amount:?}}}"),
        None => "null".to_owned(),
    };
    let (id, _) = after.or(before).unwrap();
    let (before, after) = (row(before), row(after));
    format!("{{\"id\":{id}}}|{{\"op\":\"{op}\",\"before\":{before},\"after\":{after},\"ts_ms\":1}}")
}

fn lines(records: &[String]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

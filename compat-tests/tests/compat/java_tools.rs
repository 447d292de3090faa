//! Apache Kafka 4.3.1's own command-line tools.

use std::collections::{BTreeMap, BTreeSet};

use streamhouse_compat_tests::target::{Broker, Target};
use streamhouse_compat_tests::tools::Tools;

struct Setup {
    tools: Tools,
    _broker: Broker,
    dir: tempfile::TempDir,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let tools = Tools::start(&broker.bootstrap()).unwrap();
    Setup { tools, _broker: broker, dir }
}

impl Setup {
    /// Writes `content` to a file of the test and returns its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

/// The lines of `text`, sorted.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn topics_are_created_described_grown_and_deleted() {
    let mut s = setup();
    let t = &mut s.tools;
    let out =
        t.ok("kafka-topics --create --topic a.first --partitions 3 --config retention.ms=86400000");
    assert_contains(&out.unwrap(), "Created topic a.first.");
    t.ok("kafka-topics --create --topic second --replication-factor 1").unwrap();
    assert_eq!(lines(&t.ok("kafka-topics --list").unwrap()), ["a.first", "second"]);

    let out = t.ok("kafka-topics --describe --topic a.first").unwrap();
    assert_contains(&out, "PartitionCount: 3");
    assert_contains(&out, "retention.ms=86400000");
    assert_contains(&out, "Partition: 2");
    assert_contains(&out, "Leader: ");
    assert!(!out.contains("Leader: none"), "{out}");
    assert_eq!(t.ok("kafka-topics --describe --unavailable-partitions").unwrap(), "");
    assert_eq!(t.ok("kafka-topics --describe --under-replicated-partitions").unwrap(), "");

    t.ok("kafka-topics --alter --topic a.first --partitions 5").unwrap();
    assert_contains(&t.ok("kafka-topics --describe --topic a.first").unwrap(), "PartitionCount: 5");
    let out = t.fails("kafka-topics --alter --topic a.first --partitions 2").unwrap();
    assert_contains(&out, "InvalidPartitionsException");

    let out = t.fails("kafka-topics --create --topic a.first").unwrap();
    assert_contains(&out, "already exists");
    t.ok("kafka-topics --create --topic a.first --if-not-exists").unwrap();
    let out = t.fails("kafka-topics --create --topic bad/name").unwrap();
    assert_contains(&out, "InvalidTopicException");
    let out = t.fails("kafka-topics --create --topic a_first").unwrap();
    assert_contains(&out, "collide");
    let out = t.fails("kafka-topics --create --topic third --config no.such.key=1").unwrap();
    assert_contains(&out, "no.such.key");
    let out = t.fails("kafka-topics --create --topic third --partitions 0").unwrap();
    assert_contains(&out.to_lowercase(), "partitions");

    t.ok("kafka-topics --delete --topic a.first").unwrap();
    assert_eq!(lines(&t.ok("kafka-topics --list").unwrap()), ["second"]);
    let out = t.fails("kafka-topics --describe --topic a.first").unwrap();
    assert_contains(&out, "does not exist");
    // A recreated topic starts empty.
    t.ok("kafka-topics --create --topic a.first --partitions 1").unwrap();
    assert_eq!(t.ok("kafka-get-offsets --topic a.first").unwrap().trim(), "a.first:0:0");
}

#[test]
fn console_tools_read_back_what_they_wrote() {
    let mut s = setup();
    let t = &mut s.tools;
    t.ok("kafka-topics --create --topic words --partitions 1").unwrap();
    let input = "h1:v1,h2:\tkey 1\tvalue one\n\
                 NULL\tNULL\tno key, no headers\n\
                 h:ü\tkey 3\tNULL\n\
                 NULL\tkey 4\t\n\
                 h1:a,h1:b\tкey 5\tdouble header 日本\n";
    let produce = "kafka-console-producer --topic words --reader-property parse.key=true \
                   --reader-property parse.headers=true --reader-property null.marker=NULL \
                   --command-property acks=all";
    t.ok_with_input(produce, input).unwrap();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let produce = format!("kafka-console-producer --topic words --compression-codec {codec}");
        t.ok_with_input(&produce, &format!("through {codec}\n")).unwrap();
    }

    let consume = "kafka-console-consumer --topic words --partition 0 --offset earliest \
                   --timeout-ms 20000 --max-messages 9 --formatter-property print.key=true \
                   --formatter-property print.headers=true --formatter-property print.offset=true \
                   --formatter-property print.timestamp=true --formatter-property null.literal=NIL";
    let out = t.ok(consume).unwrap();
    let mut rows = Vec::new();
    for line in out.lines() {
        let (time, rest) = line.split_once('\t').expect("a timestamp first");
        let millis: i64 = time.strip_prefix("CreateTime:").expect("CreateTime").parse().unwrap();
        assert!(millis > 1_600_000_000_000, "{line}");
        rows.push(rest);
    }
    assert_eq!(
        rows,
        [
            "Offset:0\th1:v1,h2:\tkey 1\tvalue one",
            "Offset:1\tNO_HEADERS\tNIL\tno key, no headers",
            "Offset:2\th:ü\tkey 3\tNIL",
            "Offset:3\tNO_HEADERS\tkey 4\t",
            "Offset:4\th1:a,h1:b\tкey 5\tdouble header 日本",
            "Offset:5\tNO_HEADERS\tNIL\tthrough gzip",
            "Offset:6\tNO_HEADERS\tNIL\tthrough snappy",
            "Offset:7\tNO_HEADERS\tNIL\tthrough lz4",
            "Offset:8\tNO_HEADERS\tNIL\tthrough zstd",
        ]
    );

    let consume = "kafka-console-consumer --topic words --partition 0 --offset 7 \
                   --timeout-ms 20000 --max-messages 2";
    assert_eq!(t.ok(consume).unwrap(), "through lz4\nthrough zstd\n");

    t.ok("kafka-topics --create --topic stamped --partitions 1 \
          --config message.timestamp.type=LogAppendTime")
        .unwrap();
    t.ok_with_input("kafka-console-producer --topic stamped", "x\n").unwrap();
    let consume = "kafka-console-consumer --topic stamped --partition 0 --offset earliest \
                   --timeout-ms 20000 --max-messages 1 --formatter-property print.timestamp=true";
    assert_contains(&t.ok(consume).unwrap(), "LogAppendTime:");
}

#[test]
fn topic_and_broker_configs_are_described_altered_and_deleted() {
    let mut s = setup();
    let t = &mut s.tools;
    t.ok("kafka-topics --create --topic c --partitions 1 --config max.message.bytes=2000000")
        .unwrap();
    let topic = "kafka-configs --entity-type topics --entity-name c";
    let out = t.ok(&format!("{topic} --describe")).unwrap();
    assert_contains(&out, "max.message.bytes=2000000 sensitive=false");
    assert_contains(&out, "DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000000");

    let alter =
        format!("{topic} --alter --add-config retention.ms=1000,cleanup.policy=[compact,delete]");
    assert_contains(&t.ok(&alter).unwrap(), "Completed updating config for topic c.");
    let out = t.ok(&format!("{topic} --describe")).unwrap();
    assert_contains(&out, "retention.ms=1000");
    assert_contains(&out, "cleanup.policy=compact,delete");
    assert_contains(&out, "max.message.bytes=2000000");

    t.ok(&format!("{topic} --alter --delete-config retention.ms,cleanup.policy")).unwrap();
    let out = t.ok(&format!("{topic} --describe")).unwrap();
    assert!(!out.contains("retention.ms="), "{out}");
    let all = t.ok(&format!("{topic} --describe --all")).unwrap();
    assert_contains(&all, "retention.ms=604800000");
    assert_contains(&all, "DEFAULT_CONFIG:log.cleanup.policy=delete");
    assert_contains(&all, "cleanup.policy=delete");

    let out = t.fails(&format!("{topic} --alter --add-config retention.ms=soon")).unwrap();
    assert_contains(&out, "InvalidConfigurationException");
    let out = t.fails(&format!("{topic} --alter --add-config no.such.key=1")).unwrap();
    assert_contains(&out, "no.such.key");
    let out = t.fails(
        "kafka-configs --entity-type topics --entity-name gone --alter --add-config retention.ms=1",
    );
    assert_contains(&out.unwrap(), "gone");

    let node = broker_id(t);
    let broker = format!("kafka-configs --entity-type brokers --entity-name {node}");
    assert_contains(&t.ok(&format!("{broker} --describe --all")).unwrap(), "log.dirs=");
    t.ok(&format!("{broker} --alter --add-config log.retention.ms=123456789")).unwrap();
    let out = t.ok(&format!("{broker} --describe")).unwrap();
    assert_contains(&out, "log.retention.ms=123456789");
    let all = t.ok(&format!("{topic} --describe --all")).unwrap();
    assert_contains(&all, "retention.ms=123456789");
    t.ok(&format!("{broker} --alter --delete-config log.retention.ms")).unwrap();
    t.ok("kafka-configs --entity-type brokers --entity-default --alter --add-config log.retention.ms=77777777")
        .unwrap();
    let out = t.ok("kafka-configs --entity-type brokers --entity-default --describe").unwrap();
    assert_contains(&out, "log.retention.ms=77777777");
}

/// The node id of the only broker.
fn broker_id(tools: &mut Tools) -> String {
    let out = tools.ok("kafka-topics --describe --topic c").unwrap();
    let (_, rest) = out.split_once("Leader: ").expect("a leader");
    rest.split_whitespace().next().expect("an id").to_owned()
}

#[test]
fn offsets_are_listed_by_every_kind_of_time_and_records_deleted() {
    let mut s = setup();
    s.tools.ok("kafka-topics --create --topic o --partitions 2").unwrap();
    s.tools.ok("kafka-topics --create --topic empty --partitions 1").unwrap();
    let numbers: String = (0..100).map(|n| format!("k{n}\t{n}\n")).collect();
    let produce = "kafka-console-producer --topic o --reader-property parse.key=true";
    s.tools.ok_with_input(produce, &numbers).unwrap();

    let ends = offsets(&mut s.tools, "latest");
    assert_eq!(ends.values().sum::<i64>(), 100);
    assert!(ends.values().all(|&end| end > 20), "{ends:?}");
    let zeros: BTreeMap<_, _> = ends.keys().map(|&partition| (partition, 0)).collect();
    assert_eq!(offsets(&mut s.tools, "earliest"), zeros);
    assert_eq!(offsets(&mut s.tools, "0"), zeros);
    let newest = offsets(&mut s.tools, "max-timestamp");
    for (partition, offset) in &newest {
        assert!(*offset >= 0 && *offset < ends[partition], "{newest:?}");
    }
    assert_eq!(offsets(&mut s.tools, "-4"), zeros, "earliest local");
    // Nothing is tiered, so what would be uploaded next is unknown to the tool: it prints no line,
    // or an offset.
    for time in ["-5", "-6"] {
        s.tools.ok(&format!("kafka-get-offsets --topic o --time {time}")).unwrap();
    }
    // By time: beyond the last record there is no offset, and the tool prints none or the end.
    let future = "kafka-get-offsets --topic o --time 4102444800000";
    for line in s.tools.ok(future).unwrap().lines() {
        let offset: i64 = line.rsplit(':').next().unwrap().parse().unwrap();
        assert!(ends.values().any(|&end| end == offset), "{line}");
    }
    let out = s.tools.ok("kafka-get-offsets --topic empty --time latest").unwrap();
    assert_eq!(out.trim(), "empty:0:0");

    let before = r#"{"partitions":[{"topic":"o","partition":0,"offset":10},{"topic":"o","partition":1,"offset":-1}],"version":1}"#;
    let file = s.file("delete.json", before);
    let out = s.tools.ok(&format!("kafka-delete-records --offset-json-file {file}")).unwrap();
    assert_contains(&out, "partition: o-0\tlow_watermark: 10");
    assert_contains(&out, &format!("partition: o-1\tlow_watermark: {}", ends[&1]));
    assert_eq!(offsets(&mut s.tools, "earliest"), BTreeMap::from([(0, 10), (1, ends[&1])]));
    assert_eq!(offsets(&mut s.tools, "latest"), ends);
    let consume = "kafka-console-consumer --topic o --partition 0 --offset earliest \
                   --timeout-ms 20000 --max-messages 1 --formatter-property print.offset=true";
    assert_contains(&s.tools.ok(consume).unwrap(), "Offset:10\t");

    let beyond = s.file("beyond.json", &before.replace("\"offset\":10", "\"offset\":1000"));
    let output = s.tools.run(&["kafka-delete-records", "--offset-json-file", &beyond], "").unwrap();
    assert_contains(&(output.stdout + &output.stderr), "OffsetOutOfRangeException");

    let out = s.tools.ok("kafka-log-dirs --describe --topic-list o").unwrap();
    let json = out.lines().find(|line| line.starts_with('{')).expect("a JSON line");
    let dirs: serde_json::Value = serde_json::from_str(json).unwrap();
    let partitions = dirs["brokers"][0]["logDirs"][0]["partitions"].as_array().unwrap().clone();
    let names: BTreeSet<_> = partitions.iter().map(|p| p["partition"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["o-0", "o-1"]));
    assert!(partitions.iter().any(|p| p["size"].as_i64().unwrap() > 0), "{out}");
}

/// `partition → offset` of topic `o`.
fn offsets(tools: &mut Tools, time: &str) -> BTreeMap<i32, i64> {
    let out = tools.ok(&format!("kafka-get-offsets --topic o --time {time}")).unwrap();
    out.lines()
        .map(|line| {
            let mut parts = line.split(':').skip(1);
            let mut number = || parts.next().unwrap().parse::<i64>().unwrap();
            (i32::try_from(number()).unwrap(), number())
        })
        .collect()
}

/// What issue by issue has been built, with the exact ranges of Apache Kafka 4.3.1.
const EXPECTED_APIS: &str = include_str!("../../expected/api-versions.txt");

#[test]
fn api_versions_are_those_of_apache_kafka() {
    let mut s = setup();
    let t = &mut s.tools;
    let out = t.ok("kafka-broker-api-versions").unwrap();
    let mut ranges = BTreeMap::new();
    for line in out.lines().filter(|line| line.starts_with('\t')) {
        let line = line.trim().trim_end_matches(',');
        let (api, range) = line.split_once(": ").expect("NAME(KEY): RANGE");
        ranges.insert(api.to_owned(), range.split(" [").next().unwrap().to_owned());
    }
    let expected: BTreeMap<String, String> = EXPECTED_APIS
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once(": ").expect("NAME(KEY): RANGE"))
        .map(|(api, range)| (api.to_owned(), range.to_owned()))
        .collect();
    if Target::current().unwrap() == Target::Kafka {
        // It has all of ours and more.
        ranges.retain(|api, _| expected.contains_key(api));
    } else {
        ranges.retain(|_, range| range != "UNSUPPORTED");
    }
    assert_eq!(ranges, expected);
}

#[test]
fn cluster_tools_get_sensible_answers_from_a_broker_without_replicas() {
    let mut s = setup();
    let t = &mut s.tools;
    t.ok("kafka-topics --create --topic c --partitions 1").unwrap();
    assert_contains(&t.ok("kafka-cluster cluster-id").unwrap(), "Cluster ID: ");
    assert_contains(&t.ok("kafka-features describe").unwrap(), "metadata.version");
    let out = t.ok("kafka-metadata-quorum describe --status").unwrap();
    assert_contains(&out, "LeaderId:");
    assert_contains(&out, "LeaderEpoch:");
    assert_contains(&t.ok("kafka-metadata-quorum describe --replication").unwrap(), "Leader");

    let out =
        t.ok("kafka-leader-election --election-type PREFERRED --topic c --partition 0").unwrap();
    assert_contains(&out, "Valid replica already elected");
    assert_contains(
        &t.ok("kafka-reassign-partitions --list").unwrap(),
        "No partition reassignments",
    );
    let out = t.ok("kafka-transactions describe-producers --topic c --partition 0").unwrap();
    assert_contains(&out, "ProducerId");
}

#[test]
fn features_are_described_mapped_and_refused() {
    let mut s = setup();
    let t = &mut s.tools;
    let out = t.ok("kafka-features describe").unwrap();
    for (feature, level) in
        [("metadata.version", "4.3-IV0"), ("group.version", "1"), ("transaction.version", "2")]
    {
        let line = out.lines().find(|line| line.starts_with(&format!("Feature: {feature}")));
        let line = line.unwrap_or_else(|| panic!("no {feature} in:\n{out}"));
        assert_contains(line, &format!("SupportedMaxVersion: {level}"));
        assert_contains(line, &format!("FinalizedVersionLevel: {level}"));
    }
    let out = t.ok("kafka-features version-mapping --release-version 4.3").unwrap();
    assert_contains(&out, "transaction.version=2");
    let out = t.ok("kafka-features feature-dependencies --feature transaction.version=2").unwrap();
    assert_contains(&out, "has no dependencies");
    // What is in force is accepted.
    for level in ["transaction.version=2", "group.version=1", "metadata.version=30"] {
        let out = t.ok(&format!("kafka-features upgrade --feature {level}")).unwrap();
        assert_contains(&out, "was upgraded to");
    }
    for (command, why) in [
        ("upgrade --feature transaction.version=1", "Can't downgrade the version of this feature"),
        ("upgrade --feature transaction.version=9", "only supports versions 0-2"),
        ("upgrade --feature nosuch.version=1", "does not support this feature"),
        ("disable --feature nosuch.version", "Feature nosuch.version not found."),
        ("upgrade --metadata 4.0-IV0", "Can't downgrade the version of this feature"),
    ] {
        assert_contains(&t.fails(&format!("kafka-features {command}")).unwrap(), why);
    }
}

#[test]
fn producer_perf_test_runs_with_every_codec_and_acks() {
    let mut s = setup();
    let t = &mut s.tools;
    t.ok("kafka-topics --create --topic p --partitions 4").unwrap();
    let perf = "kafka-producer-perf-test --topic p --num-records 20000 --record-size 200 \
                --throughput -1 --command-property";
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let line = format!("{perf} acks=all enable.idempotence=true compression.type={codec}");
        assert_contains(&t.ok(&line).unwrap(), "20000 records sent");
    }
    for acks in ["0", "1"] {
        let line = format!("{perf} acks={acks} enable.idempotence=false");
        assert_contains(&t.ok(&line).unwrap(), "20000 records sent");
    }
    let out = t.ok("kafka-get-offsets --topic p").unwrap();
    let total: i64 =
        out.lines().map(|l| l.rsplit(':').next().unwrap().parse::<i64>().unwrap()).sum();
    assert_eq!(total, 140_000);

    for protocol in ["classic", "consumer"] {
        let line = format!(
            "kafka-consumer-perf-test --topic p --num-records 140000 --timeout 20000 --group {protocol} \
             --command-property group.protocol={protocol}"
        );
        let out = t.ok(&line).unwrap();
        let figures: Vec<_> = out.lines().last().unwrap().split(", ").collect();
        assert_eq!(figures[4], "140000", "{out}");
        // It commits when it closes.
        let out = t.ok(&format!("kafka-consumer-groups --describe --group {protocol}")).unwrap();
        let rows = out.lines().filter(|line| line.starts_with(protocol));
        let committed = rows.map(|row| row.split_whitespace().nth(3).unwrap().parse::<i64>());
        assert_eq!(committed.map(Result::unwrap).sum::<i64>(), 140_000, "{out}");
    }
}

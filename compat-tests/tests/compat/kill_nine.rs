//! The broker is killed with SIGKILL again and again under load; nothing acknowledged is lost, repeated or reordered.

use std::time::Duration;

use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::{Broker, Target};

use crate::workload::Workload;

/// Cycles in continuous integration; `just crash N` sets `STREAMHOUSE_CRASH_CYCLES`.
const CYCLES: u64 = 20;
/// Apache Kafka takes seconds to start, and only proves the test.
const CYCLES_KAFKA: u64 = 3;

#[test]
fn acknowledged_records_survive_kill_nine() {
    let cycles = std::env::var("STREAMHOUSE_CRASH_CYCLES").ok().and_then(|n| n.parse().ok());
    let cycles = cycles.unwrap_or(match Target::current().unwrap() {
        Target::StreamHouse => CYCLES,
        Target::Kafka => CYCLES_KAFKA,
    });
    let mut random = Random::announced("kill_nine");
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("data")).unwrap();
    let workload = Workload::start(&broker, dir.path(), 3);
    let mut slowest = Duration::ZERO;
    for cycle in 1..=cycles {
        std::thread::sleep(Duration::from_millis(random.within(100..1200)));
        broker.kill().unwrap();
        // Every fourth time it is killed once more while it recovers.
        if random.within(0..4) == 0 {
            broker.start_and_kill_after(Duration::from_millis(random.within(0..150))).unwrap();
        }
        broker.restart().unwrap();
        slowest = slowest.max(broker.started_in);
        println!("cycle {cycle}: serving again after {:?}", broker.started_in);
    }
    std::thread::sleep(Duration::from_millis(500));
    let report = workload.finish(&broker);
    println!("{cycles} kills, slowest start {slowest:?}");
    assert!(report.is_legal(), "{report}");
    assert!(report.acknowledged > cycles * 100, "too little happened: {report}");
    assert_eq!(
        report.unknown, 0,
        "an idempotent producer that waits learns every outcome: {report}"
    );
}

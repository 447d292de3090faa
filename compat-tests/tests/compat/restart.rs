//! Orderly restarts and long pauses under load: clients notice nothing but a delay.

use std::time::Duration;

use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::{Broker, Target};

use crate::workload::Workload;

#[test]
fn restarts_by_sigterm_under_load_lose_nothing_and_end_cleanly() {
    let cycles = if Target::current().unwrap() == Target::Kafka { 1 } else { 5 };
    let mut random = Random::announced("restart");
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("data")).unwrap();
    let workload = Workload::start(&broker, dir.path(), 2);
    for _ in 0..cycles {
        std::thread::sleep(Duration::from_millis(random.within(300..1200)));
        let status = broker.stop().unwrap();
        // A JVM that ends by a signal says so.
        assert!(status.success() || status.code() == Some(143), "{status}");
        broker.restart().unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let report = workload.finish(&broker);
    assert!(report.is_legal(), "{report}");
    assert_eq!(report.unknown, 0, "{report}");
}

#[test]
fn a_pause_of_the_whole_process_loses_nothing() {
    let mut random = Random::announced("pause");
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let workload = Workload::start(&broker, dir.path(), 2);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(random.within(300..800)));
        broker.pause(Duration::from_millis(random.within(500..2500))).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let report = workload.finish(&broker);
    assert!(report.is_legal(), "{report}");
    assert_eq!(report.unknown, 0, "{report}");
}

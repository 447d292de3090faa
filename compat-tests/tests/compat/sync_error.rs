//! A sync fails: the process stops rather than guess what is on the disk, and what was acknowledged
//! is there afterwards.

use std::time::Duration;

use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::strace::{inject, strace_works};
use streamhouse_compat_tests::target::{Broker, Options, Target};

use crate::workload::Workload;

const STOP_TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn a_failed_sync_stops_the_broker_and_loses_nothing_acknowledged() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here(
            "failed sync",
            "Apache Kafka does not sync before it acknowledges",
        );
    }
    if let Err(why) = strace_works() {
        return not_possible_here("failed sync", &why);
    }
    let mut random = Random::announced("sync_error");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // Counted per thread: the WAL writer's, which syncs far more often than any other.
    let failing = random.within(60..200);
    let options = Options::new(&data).wrapped(inject("fdatasync,fsync", "error=EIO", failing));
    let mut broker = Broker::start_with(options).unwrap();
    let workload = Workload::start(&broker, dir.path(), 2);
    let status = broker.wait(STOP_TIMEOUT).expect("a failed sync must stop the process");
    println!("sync {failing} failed: the broker ended with {status}");
    assert!(!status.success());

    broker.restart_with(Options::new(&data)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let report = workload.finish(&broker);
    assert!(report.is_legal(), "{report}");
    assert!(report.acknowledged > 0, "nothing happened: {report}");
}

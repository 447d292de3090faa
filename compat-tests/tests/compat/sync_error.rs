//! A sync fails: the process stops rather than guess what is on the disk, and what was acknowledged is there afterwards.

use std::process::Command;
use std::time::Duration;

use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::seed::Random;
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
    let mut options = Options::new(&data);
    // Counted per thread: the WAL writer's, which syncs far more often than any other.
    let failing = random.within(60..200);
    options.wrapper = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e"]
        .map(str::to_owned)
        .to_vec();
    options.wrapper.push(format!("inject=fdatasync,fsync:error=EIO:when={failing}"));
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

/// Whether strace is there and may trace.
fn strace_works() -> Result<(), String> {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    match traced {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("strace: {error}")),
    }
}

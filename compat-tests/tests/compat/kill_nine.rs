//! The broker is killed with SIGKILL again and again under load; nothing acknowledged is lost,
//! repeated or reordered.

use std::time::Duration;

use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::strace::{inject, strace_works};
use streamhouse_compat_tests::target::{Broker, Options, Target};

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
    let plain = Options::new(&dir.path().join("data"));
    let mut broker = Broker::start_with(plain.clone()).unwrap();
    let workload = Workload::start(&broker, dir.path(), 3);
    let mut slowest = Duration::ZERO;
    for cycle in 1..=cycles {
        std::thread::sleep(Duration::from_millis(random.within(100..1200)));
        broker.kill().unwrap();
        // Every fourth time it is killed once more while it recovers.
        if random.within(0..4) == 0 {
            broker.start_and_kill_after(Duration::from_millis(random.within(0..150))).unwrap();
        }
        let options = if cycle % 2 == 0 { plain.clone() } else { plain.clone().busy() };
        broker.restart_with(options).unwrap();
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

/// System calls at which the process is killed, whatever changes the disk, and how far in: early
/// ones hit the start and the recovery, late ones the load.
const DEADLY: [(&str, u64); 4] = [
    ("pwrite64,pwritev,pwritev2,write", 200),
    ("fdatasync,fsync", 60),
    ("rename,renameat,renameat2", 4),
    ("ftruncate,unlink,unlinkat", 4),
];
/// Kills at each of them.
const KILLS_EACH: u64 = 3;
/// Longest wait for the kill; a call that is not made so often in this time is passed over.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn acknowledged_records_survive_a_kill_at_the_nth_system_call() {
    kill_at_system_calls(KILLS_EACH);
}

mod slow {
    #[test]
    fn acknowledged_records_survive_hundreds_of_kills_at_the_nth_system_call() {
        super::kill_at_system_calls(100);
    }
}

fn kill_at_system_calls(kills_each: u64) {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here(
            "kill at the nth system call",
            "a JVM under strace takes too long",
        );
    }
    if let Err(why) = strace_works() {
        return not_possible_here("kill at the nth system call", &why);
    }
    let mut random = Random::announced("kill_at_system_calls");
    let dir = tempfile::tempdir().unwrap();
    let plain = Options::new(&dir.path().join("data"));
    let mut broker = Broker::start_with(plain.clone()).unwrap();
    let workload = Workload::start(&broker, dir.path(), 2);
    broker.kill().unwrap();
    let (mut killed, mut passed) = (0, 0);
    for kill in 0..kills_each {
        for (calls, calls_max) in DEADLY {
            // Every third kill comes at once.
            let nth = if kill % 3 == 0 { 1 } else { 1 + random.within(0..calls_max) };
            let options = plain.clone().busy().wrapped(inject(calls, "signal=KILL", nth));
            // It may well be killed before it serves.
            let served = broker.restart_with(options).is_ok();
            if served && broker.wait(KILL_TIMEOUT).is_err() {
                passed += 1;
                broker.kill().unwrap();
            } else {
                killed += 1;
            }
        }
    }
    broker.restart_with(plain).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let report = workload.finish(&broker);
    println!("{killed} kills at a system call, {passed} at the time limit");
    assert!(report.is_legal(), "{report}");
    assert!(report.acknowledged > 0, "nothing happened: {report}");
    assert!(killed >= kills_each, "{killed} kills, {passed} passed over");
}

//! The flights as a Delta table: SQL at once and ever after, and readers of Delta tables, while
//! the broker is killed.

use std::io::{BufRead, BufReader};

use streamhouse_compat_tests::clients::{python, python_start};
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::Broker;

#[test]
fn every_flight_is_one_row_though_the_broker_is_killed_meanwhile() {
    load_and_kill(3);
}

mod slow {
    #[test]
    fn every_flight_is_one_row_after_twenty_kills() {
        super::load_and_kill(20);
    }
}

fn load_and_kill(kills: u64) {
    let mut random = Random::announced("tables");
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("data")).unwrap();
    let acks = dir.path().join("acks");
    let (bootstrap, acks) = (broker.bootstrap(), acks.to_str().unwrap());
    let keys = ["table.enable=true", "table.commit.interval.ms=1000"];
    python("topic.py", &[&bootstrap, "flights", "12", keys[0], keys[1]]).unwrap();

    let ready = broker.ready_path();
    let ready = ready.to_str().unwrap();
    let mut watch = python_start("tables.py", &["watch", ready, "flights"]).unwrap();
    let mut producer =
        python_start("flights.py", &["produce", &bootstrap, "flights", acks]).unwrap();
    let stdout = producer.stdout.take().unwrap();
    let span = 300_000 / kills;
    let mut due: Vec<u64> = (0..kills).map(|at| at * span + random.within(1..span)).collect();
    due.reverse();
    for line in BufReader::new(stdout).lines() {
        let acked: u64 = line.unwrap().parse().unwrap();
        while due.last().is_some_and(|&kill_at| acked >= kill_at) {
            due.pop();
            broker.kill().unwrap();
            broker.restart().unwrap();
        }
    }
    assert!(producer.wait().unwrap().success());
    // Its standard input ends, and with it the watch.
    drop(watch.stdin.take());
    assert!(watch.wait().unwrap().success(), "what SQL answered meanwhile was wrong");
    let verify = ["verify", broker.http().unwrap(), &bootstrap, "flights", acks];
    print!("{}", python("tables.py", &verify).unwrap());
    let moments = ["moments", broker.http().unwrap(), &bootstrap, "flights"];
    print!("{}", python("tables.py", &moments).unwrap());
}

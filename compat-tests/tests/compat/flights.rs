//! The real input: 336,776 flights keyed by tail number, the broker killed in the middle.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use streamhouse_compat_tests::clients::{python, python_start};
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::Broker;

#[test]
fn every_flight_is_there_exactly_once_after_a_kill_in_the_middle() {
    produce_and_kill(1);
}

mod slow {
    #[test]
    fn every_flight_is_there_exactly_once_after_five_kills() {
        super::produce_and_kill(5);
    }
}

/// Kills and restarts the broker `kills` times while the flights are produced, then verifies each
/// row.
fn produce_and_kill(kills: u64) {
    let mut random = Random::announced("flights");
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("data")).unwrap();
    let acks = dir.path().join("acks");
    let (bootstrap, acks) = (broker.bootstrap(), acks.to_str().unwrap());
    python("topic.py", &[&bootstrap, "flights", "12"]).unwrap();

    let mut producer =
        python_start("flights.py", &["produce", &bootstrap, "flights", acks]).unwrap();
    let stdout = producer.stdout.take().unwrap();
    // Kills are spread over the first two thirds of the rows.
    let span = 220_000 / kills;
    let mut due: Vec<u64> =
        (0..kills).map(|at| at * span + random.within(span / 4..span)).collect();
    due.reverse();
    let mut last = 0;
    for line in BufReader::new(stdout).lines() {
        last = line.unwrap().parse().unwrap();
        if due.last().is_some_and(|&kill_at| last >= kill_at) {
            due.pop();
            broker.kill().unwrap();
            // Away for a while: the producer's batches in flight all fail.
            std::thread::sleep(Duration::from_millis(random.within(0..500)));
            broker.restart().unwrap();
            println!("killed after {last} acknowledged, serving again in {:?}", broker.started_in);
        }
    }
    let status = producer.wait().unwrap();
    assert!(status.success(), "the producer ended with {status} after {last} acknowledged");
    assert!(due.is_empty(), "{} kills never came", due.len());
    print!("{}", python("flights.py", &["verify", &bootstrap, "flights", acks]).unwrap());
}

//! The simulator in continuous integration: a small swarm, the determinism meta-test, and every
//! seed that ever failed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use streamhouse_sim::world;

/// Seeds of the swarm. `--swarm` of the binary runs as many as there is time for.
const SWARM: std::ops::Range<u64> = 1000..1010;
/// Seeds that run twice.
const META: std::ops::Range<u64> = 2000..2005;

fn run_clean(seed: u64) {
    let report = world::run(seed, false, false);
    if let Some(violation) = &report.violation {
        panic!("seed {seed}: {violation}\n{}\n{}", report.options, report.last.join("\n"));
    }
}

#[test]
fn nothing_is_lost_under_faults() {
    SWARM.for_each(run_clean);
}

#[test]
fn seeds_that_failed_once_stay_clean() {
    let lines = include_str!("../seeds.txt").lines();
    let seeds = lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    for line in seeds {
        let seed = line.split_whitespace().next().unwrap();
        run_clean(seed.parse().expect("a seed at the start of the line"));
    }
}

#[test]
fn one_seed_replays_byte_for_byte() {
    for seed in META {
        let first = world::run(seed, false, true);
        let second = world::run(seed, false, true);
        if first.hash != second.hash {
            let lines = first.all.iter().zip(&second.all);
            let differing = lines.enumerate().find(|(_, (one, other))| one != other);
            panic!("seed {seed}: {} and {}: {differing:#?}", first.hash, second.hash);
        }
    }
}

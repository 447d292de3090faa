//! The simulator's command line: one seed, a seed twice, or a swarm of seeds.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Parser;
use streamhouse_sim::{options::Options, report::Report, world};

/// Replays a whole broker from one seed, under faults, and checks that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "streamhouse-sim")]
struct Arguments {
    /// The seed; of a swarm, the first one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the event log to stderr.
    #[arg(long)]
    trace: bool,
    /// Run so many seeds.
    #[arg(long)]
    swarm: Option<u64>,
    /// Run each seed twice and compare the event logs.
    #[arg(long)]
    meta: bool,
}

#[allow(clippy::print_stdout, reason = "a command-line tool")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = arguments.seed..arguments.seed + arguments.swarm.unwrap_or(1);
    let (mut failed, mut marks) = (Vec::new(), BTreeMap::<String, (u64, u64)>::new());
    let total = seeds.end - seeds.start;
    for seed in seeds {
        println!("{}", Options::from_seed(seed));
        let report = world::run(seed, arguments.trace, arguments.meta);
        println!(
            "  {} batches, {:.1} s simulated, log {}",
            report.batches,
            report.simulated.as_secs_f64(),
            report.hash
        );
        for (name, count) in &report.marks {
            let mark = marks.entry(name.clone()).or_default();
            *mark = (mark.0 + 1, mark.1 + count);
        }
        if report.violation.is_some() {
            print_violation(&report);
            failed.push(seed);
        } else if arguments.meta && !is_repeatable(&report) {
            failed.push(seed);
        }
    }
    print_marks(&marks, total);
    if failed.is_empty() {
        println!("{total} seeds, no violation");
        return ExitCode::SUCCESS;
    }
    println!("{} of {total} seeds failed: {failed:?}", failed.len());
    ExitCode::FAILURE
}

#[allow(clippy::print_stdout, reason = "a command-line tool")]
fn print_violation(report: &Report) {
    let Some(violation) = &report.violation else { return };
    println!("--- the last events of seed {}", report.options.seed);
    for line in &report.last {
        println!("{line}");
    }
    println!("--- VIOLATION {violation}");
    println!("    replay: cargo run -p streamhouse-sim -- --seed {} --trace", report.options.seed);
}

#[allow(clippy::print_stdout, reason = "a command-line tool")]
fn is_repeatable(first: &Report) -> bool {
    let seed = first.options.seed;
    let second = world::run(seed, false, true);
    if first.hash == second.hash {
        return true;
    }
    println!("--- seed {seed} is not repeatable: {} and {}", first.hash, second.hash);
    let lines = first.all.iter().zip(&second.all);
    if let Some((at, (one, other))) = lines.enumerate().find(|(_, (a, b))| a != b) {
        for line in first.all.iter().take(at).skip(at.saturating_sub(10)) {
            println!("  {line}");
        }
        println!("1 {one}\n2 {other}");
    }
    false
}

#[allow(clippy::print_stdout, reason = "a command-line tool")]
fn print_marks(marks: &BTreeMap<String, (u64, u64)>, total: u64) {
    println!("--- coverage marks: runs of {total}, times");
    for (name, (runs, times)) in marks {
        println!("{runs:>6} {times:>9}  {name}");
    }
}

//! `kafka-suite [--jobs N] [--everything] [--write] [--results FILE] [FILTER...]`
//!
//! Runs Apache Kafka's own integration tests against StreamHouse and compares how they end with
//! `kafka-suite/expected.tsv`. A filter is part of a class's name, or a whole id with `#`; without
//! one all classes run. `--everything` runs also what is expected not to apply, `--write` changes
//! `expected.tsv` to what was seen, for people to review.

#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use streamhouse_compat_tests::suite::expected::Expected;
use streamhouse_compat_tests::suite::run::{Run, classes, expected_path};
use streamhouse_compat_tests::suite::{Outcome, Status};

#[derive(Debug, Default)]
struct Arguments {
    jobs: Option<usize>,
    everything: bool,
    write: bool,
    results: Option<PathBuf>,
    filters: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = arguments(std::env::args().skip(1))?;
    let mut expected = Expected::load(&expected_path())?;
    let ids = select(&arguments.filters, &expected)?;
    let logs = std::env::temp_dir().join("streamhouse-kafka-suite");
    println!("logs in {}", logs.display());
    let nothing = Expected::default();
    let run = Run {
        expected: if arguments.everything { &nothing } else { &expected },
        jobs: arguments.jobs.unwrap_or(2),
        isolated: true,
        logs,
    };
    let outcomes = run.run(&ids, &tell)?;
    if let Some(path) = &arguments.results {
        std::fs::write(path, results(&outcomes))?;
    }
    let differences = expected.differences(&outcomes, &ids);
    for difference in &differences {
        println!("DIFFERS {difference}");
    }
    let count = |status| outcomes.iter().filter(|outcome| outcome.status == status).count();
    println!(
        "{} pass, {} fail, {} do not apply; {} differ from what is expected",
        count(Status::Pass),
        count(Status::Fail),
        count(Status::NotApplicable),
        differences.len()
    );
    if arguments.write {
        expected.adopt(&outcomes);
        let whole: BTreeSet<&str> =
            ids.iter().filter(|id| !id.contains('#')).map(String::as_str).collect();
        expected.forget_gone(&outcomes, &whole);
        std::fs::write(expected_path(), expected.text())?;
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--everything" => arguments.everything = true,
            "--write" => arguments.write = true,
            "--jobs" => arguments.jobs = Some(words.next().context("--jobs N")?.parse()?),
            "--results" => arguments.results = Some(words.next().context("--results FILE")?.into()),
            option if option.starts_with('-') => bail!("unknown option {option}"),
            filter => arguments.filters.push(filter.to_owned()),
        }
    }
    Ok(arguments)
}

/// The classes, methods and tests that the filters name.
fn select(filters: &[String], expected: &Expected) -> Result<Vec<String>> {
    let mut ids: Vec<String> = filters.iter().filter(|f| f.contains('#')).cloned().collect();
    let parts: Vec<&String> = filters.iter().filter(|f| !f.contains('#')).collect();
    if ids.is_empty() || !parts.is_empty() {
        let all = classes()?;
        let wanted = |class: &&String| {
            parts.is_empty() || parts.iter().any(|part| class.contains(part.as_str()))
        };
        ids.extend(all.iter().filter(wanted).cloned());
    }
    let excluded = ids.iter().filter(|id| expected.excludes(id)).count();
    println!("{} classes, methods and tests; {excluded} of them do not apply", ids.len());
    Ok(ids)
}

fn tell(outcomes: &[Outcome]) {
    for Outcome { id, status, millis, detail } in outcomes {
        println!("{:>14} {millis:>6} ms  {id}  {detail}", status.word());
    }
}

fn results(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for Outcome { id, status, millis, detail } in outcomes {
        let _ = writeln!(text, "{id}\t{}\t{millis}\t{detail}", status.word());
    }
    text
}

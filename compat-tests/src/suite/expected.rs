//! `expected.tsv`: how each test of the suite is expected to end. Data that people review.
//!
//! A line is an id, a status and a reason, with tabs between. An id may be a class or a method; the
//! longest that covers a test counts. Lines are sorted, comments begin with `#`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Outcome, Status, class_of, covers};

/// What is expected of one test, or of a class or method of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    status: Status,
    reason: String,
}

/// The expectations.
#[derive(Debug, Default)]
pub struct Expected {
    comments: String,
    entries: BTreeMap<String, Entry>,
}

impl Expected {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut expected = Self::default();
        for line in text.lines() {
            if line.starts_with('#') {
                expected.comments.push_str(line);
                expected.comments.push('\n');
                continue;
            }
            let fields: Vec<&str> = line.split('\t').collect();
            let [id, status, reason] = fields[..] else { bail!("not three fields: {line}") };
            let status = Status::from_word(status).with_context(|| format!("no status: {line}"))?;
            ensure!(
                (status == Status::Pass) == reason.is_empty(),
                "a reason is due unless a test passes: {line}"
            );
            let entry = Entry { status, reason: reason.to_owned() };
            ensure!(expected.entries.insert(id.to_owned(), entry).is_none(), "twice: {line}");
        }
        Ok(expected)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = self.comments.clone();
        for (id, entry) in &self.entries {
            let _ = writeln!(text, "{id}\t{}\t{}", entry.status.word(), entry.reason);
        }
        text
    }

    /// Whether no test of the class applies.
    pub fn excludes(&self, class: &str) -> bool {
        self.lookup(class).is_some_and(|(_, entry)| entry.status == Status::NotApplicable)
    }

    /// The ids in a class that are expected not to apply.
    pub fn not_applicable_in(&self, class: &str) -> Vec<&str> {
        let inside = self.entries.iter().filter(|(id, _)| covers(class, id));
        let inside = inside.filter(|(_, entry)| entry.status == Status::NotApplicable);
        inside.map(|(id, _)| id.as_str()).collect()
    }

    /// How many tests (not classes or methods of them) are expected to end so.
    pub fn count(&self, status: Status) -> usize {
        self.entries.values().filter(|entry| entry.status == status).count()
    }

    fn lookup(&self, id: &str) -> Option<(&str, &Entry)> {
        let covering = self.entries.iter().filter(|(entry, _)| covers(entry, id));
        let (id, entry) = covering.max_by_key(|(entry, _)| entry.len())?;
        Some((id, entry))
    }

    /// Each way in which `outcomes` differ, one sentence each. `ran` are the ids that were asked
    /// for: a test that they cover, that is expected to run and that did not, differs too.
    pub fn differences(&self, outcomes: &[Outcome], ran: &[String]) -> Vec<String> {
        let mut differences = Vec::new();
        let mut seen = BTreeSet::new();
        for outcome in outcomes {
            seen.insert(outcome.id.as_str());
            let Outcome { id, status, detail, .. } = outcome;
            let expected = self.lookup(id).map(|(_, entry)| entry.status);
            if expected != Some(*status) {
                let expected = expected.map_or("unknown", Status::word);
                differences
                    .push(format!("{id}: expected {expected}, is {}: {detail}", status.word()));
            }
        }
        for (id, entry) in &self.entries {
            let due = id.contains('#') && entry.status != Status::NotApplicable;
            if due && ran.iter().any(|entry| covers(entry, id)) && !seen.contains(id.as_str()) {
                differences.push(format!("{id}: expected {}, did not run", entry.status.word()));
            }
        }
        differences
    }

    /// Takes over how tests ended. A reason that people wrote stays while the status does. An entry
    /// that keeps a whole method from being run goes once a test of it ended otherwise.
    pub fn adopt(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes.iter().filter(|outcome| outcome.status != Status::NotApplicable) {
            let method = outcome.id.split('[').next().unwrap_or_default();
            let excluded = |entry: &Entry| entry.status == Status::NotApplicable;
            if method != outcome.id && self.entries.get(method).is_some_and(excluded) {
                self.entries.remove(method);
            }
        }
        for outcome in outcomes {
            if self.lookup(&outcome.id).is_some_and(|(_, entry)| entry.status == outcome.status) {
                continue;
            }
            let reason = match outcome.status {
                Status::Pass => String::new(),
                _ if outcome.detail.is_empty() => "unknown".to_owned(),
                _ => outcome.detail.clone(),
            };
            self.entries.insert(outcome.id.clone(), Entry { status: outcome.status, reason });
        }
    }

    /// Forgets tests of `classes` that `outcomes` do not have, unless they do not apply.
    pub fn forget_gone(&mut self, outcomes: &[Outcome], classes: &BTreeSet<&str>) {
        let seen: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
        self.entries.retain(|id, entry| {
            entry.status == Status::NotApplicable
                || !classes.contains(class_of(id))
                || seen.contains(id.as_str())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# about\na.B\tnot-applicable\twhy\na.C#d[1]\tpass\t\na.C#d[2]\tfail\tbug\n\
                        a.C#e\tnot-applicable\tbecause\n";

    fn outcome(id: &str, status: Status) -> Outcome {
        Outcome { id: id.to_owned(), status, millis: 1, detail: "seen".to_owned() }
    }

    #[test]
    fn is_written_as_it_is_read() {
        assert_eq!(Expected::parse(TEXT).unwrap().text(), TEXT);
    }

    #[test]
    fn refuses_lines_that_say_nothing() {
        for line in ["a\tpass", "a\tfail\t", "a\tpass\twhy", "a\tok\t", "a\tpass\t\na\tpass\t"] {
            assert!(Expected::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_difference_is_told() {
        let expected = Expected::parse(TEXT).unwrap();
        let all = [outcome("a.C#d[1]", Status::Pass), outcome("a.C#d[2]", Status::Fail)];
        assert_eq!(expected.differences(&all, &["a.C".to_owned()]), [""; 0]);

        let odd = [outcome("a.C#d[1]", Status::Fail), outcome("a.C#new", Status::Pass)];
        assert_eq!(
            expected.differences(&odd, &["a.C".to_owned()]),
            [
                "a.C#d[1]: expected pass, is fail: seen",
                "a.C#new: expected unknown, is pass: seen",
                "a.C#d[2]: expected fail, did not run",
            ]
        );
    }

    #[test]
    fn the_longest_entry_counts() {
        let expected = Expected::parse(TEXT).unwrap();
        assert!(expected.excludes("a.B") && !expected.excludes("a.C"));
        assert_eq!(expected.not_applicable_in("a.C"), ["a.C#e"]);
        assert_eq!(expected.differences(&[outcome("a.B#x", Status::NotApplicable)], &[]), [""; 0]);
    }

    #[test]
    fn a_method_that_applies_after_all_is_run_from_then_on() {
        let mut expected = Expected::parse("a.C#e\tnot-applicable\tbecause\n").unwrap();
        let ended = [outcome("a.C#e[1]", Status::Pass), outcome("a.C#e[2]", Status::NotApplicable)];
        expected.adopt(&ended);
        assert_eq!(expected.text(), "a.C#e[1]\tpass\t\na.C#e[2]\tnot-applicable\tseen\n");
    }

    #[test]
    fn adopts_what_changed_and_keeps_reasons() {
        let mut expected = Expected::parse(TEXT).unwrap();
        let outcomes = [outcome("a.C#d[2]", Status::Fail), outcome("a.C#f", Status::Fail)];
        expected.adopt(&outcomes);
        expected.forget_gone(&outcomes, &BTreeSet::from(["a.C"]));
        assert_eq!(
            expected.text(),
            "# about\na.B\tnot-applicable\twhy\na.C#d[2]\tfail\tbug\n\
             a.C#e\tnot-applicable\tbecause\na.C#f\tfail\tseen\n"
        );
    }
}

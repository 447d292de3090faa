//! Apache Kafka's own integration tests, run against StreamHouse (`kafka-suite/`).
//!
//! ```text
//!  expected.tsv   which test passes, fails or cannot apply, and why: reviewed, in the repository
//!       │ compared with
//!  run            classes of tests, a JVM for each, a bounded number at a time
//!       │ drives
//!  worker         one JVM (`kafka-suite/src`), which starts a `streamhouse` process for each test
//! ```
//!
//! A test that cannot apply is not run; whatever else differs from what is expected is an error,
//! also a test that passes unexpectedly.

pub mod expected;
pub mod run;
mod worker;

use std::path::PathBuf;

use anyhow::{Result, ensure};

/// How a test ended, or is expected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It passes.
    Pass,
    /// It fails: a fault of StreamHouse, or something that it does not have yet.
    Fail,
    /// It asks for what no client of a broker could, or for what StreamHouse does not claim to have.
    NotApplicable,
}

impl Status {
    /// The word in files and in the worker's answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotApplicable => "not-applicable",
        }
    }

    /// From [`Self::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Pass, Self::Fail, Self::NotApplicable].into_iter().find(|s| s.word() == word)
    }
}

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `package.Class#method`, with `[n]` for the n-th invocation of one that has several.
    pub id: String,
    /// How it ended.
    pub status: Status,
    /// How long it took, milliseconds.
    pub millis: u64,
    /// Why it did not pass.
    pub detail: String,
}

/// Where the jars and the compiled classes of the suite are.
#[derive(Debug, Clone)]
struct Paths {
    base: PathBuf,
}

impl Paths {
    fn installed() -> Result<Self> {
        let base = crate::cache_dir().join("kafka-4.3.1");
        let source = crate::source_dir().join("kafka-suite");
        let modified = |path: PathBuf| std::fs::metadata(path)?.modified();
        let compiled = modified(base.join("suite-classes/.complete"));
        for path in sources(&source)? {
            let source = modified(path)?;
            ensure!(
                compiled.as_ref().is_ok_and(|compiled| *compiled >= source),
                "Apache Kafka's test suite is missing or outdated: run scripts/install kafka-suite"
            );
        }
        Ok(Self { base })
    }
}

/// The files that are compiled, and the list of jars.
fn sources(dir: &std::path::Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (vec![dir.join("pom.xml")], vec![dir.join("src")]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

/// Whether `entry`, a class, a method or a test, names the test `id` or what holds it.
fn covers(entry: &str, id: &str) -> bool {
    id.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with(['#', '[', '$']))
}

/// The class of a test.
fn class_of(id: &str) -> &str {
    id.split('#').next().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_covers_itself_and_what_is_inside() {
        assert!(covers("a.B", "a.B") && covers("a.B", "a.B#c") && covers("a.B#c", "a.B#c[2]"));
        assert!(covers("a.B", "a.B$Nested#c"));
        assert!(
            !covers("a.B", "a.Bc#d") && !covers("a.B#c[2]", "a.B#c") && !covers("a.B#c", "a.B#cd")
        );
    }

    #[test]
    fn words_are_read_back() {
        for status in [Status::Pass, Status::Fail, Status::NotApplicable] {
            assert_eq!(Status::from_word(status.word()), Some(status));
        }
        assert_eq!(Status::from_word("passed"), None);
    }
}

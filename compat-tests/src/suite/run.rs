//! Running a selection of the suite.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::expected::Expected;
use super::worker::Worker;
use super::{Outcome, Paths, class_of};

/// Where the expectations are.
pub fn expected_path() -> PathBuf {
    crate::source_dir().join("kafka-suite/expected.tsv")
}

/// The ids of `fast.txt`: what continuous integration runs.
pub fn fast() -> Result<Vec<String>> {
    let path = crate::source_dir().join("kafka-suite/fast.txt");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// All classes of the suite.
pub fn classes() -> Result<Vec<String>> {
    Worker::classes(&Paths::installed()?)
}

/// How a selection is run.
#[derive(Debug)]
pub struct Run<'a> {
    /// What is not run, because it does not apply.
    pub expected: &'a Expected,
    /// JVMs at a time.
    pub jobs: usize,
    /// Whether each class gets a JVM of its own.
    pub isolated: bool,
    /// Directory of the JVMs' logs.
    pub logs: PathBuf,
}

impl Run<'_> {
    /// Runs the tests that `ids` name (classes, methods, tests); `told` hears of each class.
    pub fn run(&self, ids: &[String], told: &(dyn Fn(&[Outcome]) + Sync)) -> Result<Vec<Outcome>> {
        let paths = Paths::installed()?;
        std::fs::create_dir_all(&self.logs)?;
        let queue = Mutex::new(self.by_class(ids));
        let outcomes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let jobs: Vec<_> = (0..self.jobs.max(1))
                .map(|job| {
                    let (paths, queue, outcomes) = (&paths, &queue, &outcomes);
                    scope.spawn(move || self.work(job, paths, queue, outcomes, told))
                })
                .collect();
            jobs.into_iter().try_for_each(|job| {
                job.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a job of the suite panicked")))
            })
        })?;
        let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(outcomes)
    }

    /// Classes that have tests which apply, each with what is wanted of it; nothing is everything.
    fn by_class(&self, ids: &[String]) -> VecDeque<(String, Vec<String>)> {
        let mut classes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for id in ids.iter().filter(|id| !self.expected.excludes(id)) {
            let wanted = classes.entry(class_of(id)).or_default();
            if id.contains('#') {
                wanted.push(id.clone());
            }
        }
        let whole = |class: &str| ids.iter().any(|id| id == class);
        let classes = classes.into_iter().map(|(class, wanted)| {
            (class.to_owned(), if whole(class) { Vec::new() } else { wanted })
        });
        classes.collect()
    }

    fn work(
        &self,
        job: usize,
        paths: &Paths,
        queue: &Mutex<VecDeque<(String, Vec<String>)>>,
        outcomes: &Mutex<Vec<Outcome>>,
        told: &(dyn Fn(&[Outcome]) + Sync),
    ) -> Result<()> {
        let mut worker: Option<Worker> = None;
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((class, only)) = next else { return Ok(()) };
            if self.isolated || worker.as_ref().is_some_and(|worker| !worker.is_usable()) {
                worker = None;
            }
            let log = match self.isolated {
                true => self.logs.join(format!("{class}.log")),
                false => self.logs.join(format!("worker-{job}.log")),
            };
            let jvm = match &mut worker {
                Some(worker) => worker,
                none => none.insert(Worker::start(paths, &log)?),
            };
            let only: Vec<&str> = only.iter().map(String::as_str).collect();
            let ended = jvm.run(&class, &only, &self.expected.not_applicable_in(&class));
            told(&ended);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).extend(ended);
        }
    }
}

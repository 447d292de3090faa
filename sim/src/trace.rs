//! The event log of a run: every line goes into a hash, the last ones are kept for a report.
//!
//! Invariant: two runs of one seed write the same lines; `--meta` compares the hashes. Lines carry
//! simulated time and nothing from outside: no address, no wall clock, no order of a hash map.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::clock::Clock;

use crate::clock::SimClock;

/// Lines kept for a report.
const KEPT: usize = 60;

#[derive(Debug)]
struct Inner {
    clock: Arc<SimClock>,
    crc: u32,
    fnv: u64,
    lines: u64,
    last: VecDeque<String>,
    all: Option<Vec<String>>,
    print: bool,
    marks: BTreeMap<String, u64>,
}

/// A shared handle. Clones write to the same log.
#[derive(Debug, Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

impl Trace {
    /// An empty log. `print` writes each line to stderr as well; `keep` keeps all of them.
    #[must_use]
    pub fn new(clock: Arc<SimClock>, print: bool, keep: bool) -> Self {
        let inner = Inner {
            clock,
            crc: 0,
            fnv: 0xcbf2_9ce4_8422_2325,
            lines: 0,
            last: VecDeque::new(),
            all: keep.then(Vec::new),
            print,
            marks: BTreeMap::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Writes a line.
    pub fn line(&self, text: &str) {
        let mut inner = self.lock();
        let micros = inner.clock.monotonic().as_micros();
        let line = format!("{micros:>12} {text}");
        inner.add(line);
    }

    /// Counts something worth knowing that it happened.
    pub fn mark(&self, name: &str) {
        self.add_marks(name, 1);
    }

    /// Counts `count` of it at once.
    pub fn add_marks(&self, name: &str, count: u64) {
        let mut inner = self.lock();
        match inner.marks.get_mut(name) {
            Some(marks) => *marks += count,
            None => {
                inner.marks.insert(name.to_owned(), count);
            }
        }
    }

    /// What was counted.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<String, u64> {
        self.lock().marks.clone()
    }

    /// The hash of all lines: their CRC32C and their FNV-1a.
    #[must_use]
    pub fn hash(&self) -> TraceHash {
        let inner = self.lock();
        TraceHash { crc: inner.crc, fnv: inner.fnv, lines: inner.lines }
    }

    /// The last lines.
    #[must_use]
    pub fn last(&self) -> Vec<String> {
        self.lock().last.iter().cloned().collect()
    }

    /// All lines, where they were kept.
    #[must_use]
    pub fn take_all(&self) -> Vec<String> {
        self.lock().all.take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What identifies a run's event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceHash {
    crc: u32,
    fnv: u64,
    lines: u64,
}

impl std::fmt::Display for TraceHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}{:016x} ({} lines)", self.crc, self.fnv, self.lines)
    }
}

impl Inner {
    fn add(&mut self, line: String) {
        self.crc = crc32c::crc32c_append(self.crc, line.as_bytes());
        for byte in line.bytes() {
            self.fnv = (self.fnv ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.lines += 1;
        if self.print {
            #[allow(clippy::print_stderr, reason = "this is what --trace asks for")]
            {
                eprintln!("{line}");
            }
        }
        if let Some(all) = &mut self.all {
            all.push(line.clone());
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

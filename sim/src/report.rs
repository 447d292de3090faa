//! What a run leaves behind.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{history::History, invariants::Violation, options::Options, trace::TraceHash, world};

/// The result of one run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the seed decided.
    pub options: Options,
    /// The first broken rule.
    pub violation: Option<Violation>,
    /// The hash of the event log.
    pub hash: TraceHash,
    /// Coverage marks.
    pub marks: BTreeMap<String, u64>,
    /// The last events.
    pub last: Vec<String>,
    /// All events, where they were asked for.
    pub all: Vec<String>,
    /// How much time was simulated.
    pub simulated: Duration,
    /// Batches sent.
    pub batches: usize,
}

impl Report {
    pub(crate) fn new(options: Options, history: &Arc<History>) -> Self {
        Self {
            options,
            violation: history.violation(),
            hash: history.trace.hash(),
            marks: history.trace.marks(),
            last: history.trace.last(),
            all: history.trace.take_all(),
            simulated: world::elapsed(history),
            batches: history.model().batches().count(),
        }
    }
}

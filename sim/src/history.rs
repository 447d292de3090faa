//! What the tasks of one run share: the model, the trace, and the first violation.
//!
//! Clients report each invocation and each completion here, in the order in which they happen;
//! that order is the history. Invariant: after the first violation nothing more is checked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::{clock::SimClock, groups::Groups, invariants::Violation, model::Model, trace::Trace};

/// The shared state of a run.
#[derive(Debug)]
pub struct History {
    model: Mutex<Model>,
    groups: Mutex<Groups>,
    violation: Mutex<Option<Violation>>,
    /// The event log.
    pub trace: Trace,
    /// Simulated time.
    pub clock: Arc<SimClock>,
    /// Cancelled by the first violation.
    pub violated: CancellationToken,
}

impl History {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(clock: Arc<SimClock>, trace: Trace) -> Arc<Self> {
        Arc::new(Self {
            model: Mutex::new(Model::new()),
            groups: Mutex::default(),
            violation: Mutex::new(None),
            trace,
            clock,
            violated: CancellationToken::new(),
        })
    }

    /// The model. Hold it only between two awaits.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What members of groups were told. Hold it only between two awaits.
    pub fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event.
    pub fn event(&self, text: &str) {
        self.trace.line(text);
    }

    /// Unix milliseconds now.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Reports what a check found. Returns whether it passed.
    pub fn check<T>(&self, result: Result<T, Violation>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(violation) => {
                self.violate(violation);
                None
            }
        }
    }

    /// Reports a broken rule; the first one is kept.
    pub fn violate(&self, violation: Violation) {
        let mut first = self.violation.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            self.trace.line(&format!("VIOLATION {violation}"));
            *first = Some(violation);
        }
        drop(first);
        self.violated.cancel();
    }

    /// The first broken rule.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.violation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

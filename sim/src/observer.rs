//! Listens to the broker without touching it: its log lines go into the trace, and both log lines
//! and metrics are counted as coverage marks.
//!
//! Invariant: what is traced is what the broker says, so a run whose broker behaves differently
//! has another hash even where clients see the same.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::AtomicU64},
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

use crate::trace::Trace;

/// Runs `work` with the broker's log lines and counters going into `trace`.
pub fn observe<T>(trace: &Trace, work: impl FnOnce() -> T) -> T {
    let subscriber = tracing_subscriber::registry().with(Lines { trace: trace.clone() });
    let counts = Counts { trace: trace.clone() };
    metrics::with_local_recorder(&counts, || tracing::subscriber::with_default(subscriber, work))
}

struct Lines {
    trace: Trace,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("streamhouse") && *metadata.level() <= Level::DEBUG
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let target = target.strip_prefix("streamhouse_").unwrap_or(target);
        self.trace.line(&format!("{level} {target}: {}{}", text.message, text.fields));
        self.trace.mark(&format!("log: {}", text.message));
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Counts every increment under the metric's name and labels.
struct Counts {
    trace: Trace,
}

struct Counted {
    trace: Trace,
    name: String,
    total: AtomicU64,
}

impl CounterFn for Counted {
    fn increment(&self, value: u64) {
        self.total.fetch_add(value, std::sync::atomic::Ordering::Relaxed);
        self.trace.add_marks(&self.name, value);
    }

    fn absolute(&self, value: u64) {
        let before = self.total.swap(value, std::sync::atomic::Ordering::Relaxed);
        self.trace.add_marks(&self.name, value.saturating_sub(before));
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut name = key.name().to_owned();
        for label in key.labels() {
            let _ = write!(name, " {}={}", label.key(), label.value());
        }
        let total = AtomicU64::new(0);
        Counter::from_arc(Arc::new(Counted { trace: self.trace.clone(), name, total }))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

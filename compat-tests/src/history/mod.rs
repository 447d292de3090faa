//! The history checker: what clients sent, were told and read, judged against what a Kafka log may do.
//!
//! A history is a sequence of [`Event`]s, one JSON object per line when it comes from another
//! process. Kafka shows its own version order (the offset), so judging needs one pass and maps, no
//! search. The anomalies are those of Jepsen's Kafka workload that apply to assigned readers and
//! plain or idempotent producers.
//!
//! ```text
//!  python/*.py, tests ──JSONL──▶ event ──▶ check::Checker::observe … finish ──▶ Report
//!                                  outcome: may a failed send have been applied?
//! ```
//! Invariant: an outcome that is not known to be "not applied" is never counted as a failure ([`outcome`]).

mod check;
mod event;
pub mod outcome;

pub use check::{Anomaly, AnomalyKind, Checker, Report};
pub use event::{Event, Function, Kind, counter, process_of, value};

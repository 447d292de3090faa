//! The judge: one pass over the events, one over what is then known of each partition.
//!
//! Invariant: it reports only what no legal execution can show. Where Kafka leaves room (an unknown
//! outcome that was or was not applied, a gap made by markers or compaction, duplicates without
//! idempotence) it stays silent.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::event::{Event, Function, Kind, counter, process_of};

/// What can be wrong with a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnomalyKind {
    /// One (partition, offset) shows two values.
    InconsistentOffsets,
    /// An acknowledged value below the highest read offset was never read.
    LostWrite,
    /// An acknowledged value above everything that was read, after the final polls.
    Unseen,
    /// One value at two offsets, although its producer was idempotent.
    Duplicate,
    /// A value was read whose send certainly failed.
    FailedRead,
    /// A value was read that nobody sent.
    UnknownValue,
    /// A sender's records lie in the log in another order than it sent them.
    NonmonotonicSend,
    /// A reader's next poll went back.
    NonmonotonicPoll,
    /// Offsets inside one poll are not ascending.
    InternalNonmonotonicPoll,
    /// A reader passed over an offset that holds a record.
    PollSkip,
    /// An acknowledgement without an offset, or with one at which the value does not lie.
    SpuriousOffset,
    /// The high watermark that one client saw moved back.
    HighWatermarkRegress,
    /// The log start offset that one client saw moved back.
    LogStartRegress,
}

impl AnomalyKind {
    /// The name used in reports, as Jepsen and `docs` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::LostWrite => "lost-write",
            Self::Unseen => "unseen",
            Self::Duplicate => "duplicate",
            Self::FailedRead => "failed-read",
            Self::UnknownValue => "unknown-value",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::InternalNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::PollSkip => "poll-skip",
            Self::SpuriousOffset => "spurious-offset",
            Self::HighWatermarkRegress => "hw-regress",
            Self::LogStartRegress => "log-start-regress",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// What is wrong.
    pub kind: AnomalyKind,
    /// Topic of the finding.
    pub topic: String,
    /// Partition of the finding.
    pub partition: i32,
    /// Values, offsets and processes involved, for a human.
    pub detail: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}-{}: {}", self.kind.name(), self.topic, self.partition, self.detail)
    }
}

/// What a history amounted to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Findings, empty for a legal history.
    pub anomalies: Vec<Anomaly>,
    /// Values whose send was acknowledged.
    pub acknowledged: u64,
    /// Distinct values read.
    pub read: u64,
    /// Values with an unknown outcome.
    pub unknown: u64,
    /// Of these, the ones that turned out to be in the log.
    pub unknown_found: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_legal(&self) -> bool {
        self.anomalies.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged, {} read, {} of unknown outcome ({} of them in the log), {} anomalies",
            self.acknowledged,
            self.read,
            self.unknown,
            self.unknown_found,
            self.anomalies.len()
        )?;
        for anomaly in self.anomalies.iter().take(20) {
            write!(f, "\n  {anomaly}")?;
        }
        Ok(())
    }
}

/// What is known of one offset.
#[derive(Debug, Clone, Copy)]
struct Slot {
    value: u64,
    read: bool,
    acknowledged: bool,
}

#[derive(Debug, Default)]
struct PartitionState {
    slots: BTreeMap<i64, Slot>,
    log_start: i64,
    /// Per reader: the offset after its last poll.
    positions: HashMap<u32, i64>,
    /// Jumps of readers: (process, first offset passed over, first offset read after).
    skips: Vec<(u32, i64, i64)>,
    /// Per client: the watermarks it saw last.
    seen: HashMap<u32, (i64, i64)>,
}

/// What is known of one value.
#[derive(Debug, Clone, Copy, Default)]
struct ValueState {
    outcome: Option<Kind>,
    acknowledged_at: Option<i64>,
    read_at: Option<i64>,
}

type PartitionId = (String, i32);

/// Reads events in any interleaving that keeps each process's own order.
#[derive(Debug)]
pub struct Checker {
    idempotent: bool,
    partitions: BTreeMap<PartitionId, PartitionState>,
    values: HashMap<u64, ValueState>,
    /// Senders whose invocations are recorded: only of these it is known what they never sent.
    senders: HashSet<u64>,
    anomalies: Vec<Anomaly>,
}

impl Checker {
    /// `idempotent` tells whether producers were, so that duplicates and reordering are never
    /// legal.
    pub fn new(idempotent: bool) -> Self {
        Self {
            idempotent,
            partitions: BTreeMap::new(),
            values: HashMap::new(),
            senders: HashSet::new(),
            anomalies: Vec::new(),
        }
    }

    /// Takes the next event.
    pub fn observe(&mut self, event: &Event) {
        match (event.f, event.outcome()) {
            (Function::Send, Kind::Invoke) => {
                for &value in &event.values {
                    self.senders.insert(process_of(value));
                    self.values.entry(value).or_default();
                }
            }
            (Function::Send, Kind::Ok) => self.acknowledged(event),
            (Function::Send, outcome) => {
                for &value in &event.values {
                    self.values.entry(value).or_default().outcome = Some(outcome);
                }
            }
            (Function::Poll, Kind::Ok) => {
                self.watermarks(event);
                self.polled(event);
            }
            (Function::ListOffsets, Kind::Ok) => self.watermarks(event),
            (Function::Seek, _) => {
                let partition = self.partition(event);
                partition.positions.remove(&event.process);
            }
            (Function::Poll | Function::ListOffsets | Function::Crash, _) => {}
        }
    }

    /// Ends the history: everything was read that could be.
    pub fn finish(mut self) -> Report {
        let mut report = Report::default();
        let partitions = std::mem::take(&mut self.partitions);
        for (id, partition) in &partitions {
            self.judge_writes(id, partition);
            self.judge_order(id, partition);
            self.judge_skips(id, partition);
        }
        for state in self.values.values() {
            report.acknowledged += u64::from(state.outcome == Some(Kind::Ok));
            report.read += u64::from(state.read_at.is_some());
            if state.outcome.is_none() || state.outcome == Some(Kind::Info) {
                report.unknown += 1;
                report.unknown_found += u64::from(state.read_at.is_some());
            }
        }
        report.anomalies = self.anomalies;
        report
    }

    fn partition(&mut self, event: &Event) -> &mut PartitionState {
        self.partitions.entry((event.topic.clone(), event.partition)).or_default()
    }

    fn found(&mut self, kind: AnomalyKind, id: &PartitionId, detail: String) {
        self.anomalies.push(Anomaly { kind, topic: id.0.clone(), partition: id.1, detail });
    }

    fn acknowledged(&mut self, event: &Event) {
        let id = (event.topic.clone(), event.partition);
        for (at, &value) in event.values.iter().enumerate() {
            let state = self.values.entry(value).or_default();
            state.outcome = Some(Kind::Ok);
            match event.offsets.get(at) {
                Some(&offset) if offset >= 0 => {
                    state.acknowledged_at = Some(offset);
                    self.place(&id, offset, value, false);
                }
                other => {
                    let detail = format!("value {value} was acknowledged with offset {other:?}");
                    self.found(AnomalyKind::SpuriousOffset, &id, detail);
                }
            }
        }
    }

    fn polled(&mut self, event: &Event) {
        let id = (event.topic.clone(), event.partition);
        let mut last = None;
        for (&value, &offset) in event.values.iter().zip(&event.offsets) {
            if last.is_some_and(|last| offset <= last) {
                let detail = format!("process {} read {offset} after {last:?}", event.process);
                self.found(AnomalyKind::InternalNonmonotonicPoll, &id, detail);
            }
            self.position(event, &id, last, offset);
            last = Some(offset);
            self.read(&id, offset, value);
        }
        if let Some(last) = last {
            self.partition(event).positions.insert(event.process, last + 1);
        }
    }

    /// Checks that a reader went forward without a hole.
    fn position(&mut self, event: &Event, id: &PartitionId, last: Option<i64>, offset: i64) {
        let process = event.process;
        let expected = match last {
            Some(last) => Some(last + 1),
            None => self.partition(event).positions.get(&process).copied(),
        };
        let Some(expected) = expected else { return };
        if offset > expected {
            self.partition(event).skips.push((process, expected, offset));
        } else if last.is_none() && offset < expected {
            let detail = format!("process {process} read {offset} after {}", expected - 1);
            self.found(AnomalyKind::NonmonotonicPoll, id, detail);
        }
    }

    fn read(&mut self, id: &PartitionId, offset: i64, value: u64) {
        let known_sender = self.senders.contains(&process_of(value));
        let invoked = self.values.contains_key(&value);
        if known_sender && !invoked {
            let detail = format!("value {value} at offset {offset} was never sent");
            self.found(AnomalyKind::UnknownValue, id, detail);
        }
        let state = self.values.entry(value).or_default();
        match state.read_at {
            None => state.read_at = Some(offset),
            Some(other) if other != offset && self.idempotent => {
                let detail = format!("value {value} at offsets {other} and {offset}");
                self.found(AnomalyKind::Duplicate, id, detail);
            }
            Some(_) => {}
        }
        self.place(id, offset, value, true);
    }

    /// Notes that `value` lies at `offset`, by a read or by an acknowledgement.
    fn place(&mut self, id: &PartitionId, offset: i64, value: u64, read: bool) {
        let partition = self.partitions.entry(id.clone()).or_default();
        let fresh = Slot { value, read: false, acknowledged: false };
        let slot = partition.slots.entry(offset).or_insert(fresh);
        if slot.value == value {
            slot.read |= read;
            slot.acknowledged |= !read;
            return;
        }
        let detail = format!("offset {offset} holds value {} and value {value}", slot.value);
        self.found(AnomalyKind::InconsistentOffsets, id, detail);
    }

    fn watermarks(&mut self, event: &Event) {
        let id = (event.topic.clone(), event.partition);
        let process = event.process;
        let (before_high, before_start) =
            self.partition(event).seen.get(&process).copied().unwrap_or((0, 0));
        let high = event.high_watermark.unwrap_or(before_high);
        let start = event.log_start.unwrap_or(before_start);
        if high < before_high {
            let detail = format!("process {process} saw {before_high}, then {high}");
            self.found(AnomalyKind::HighWatermarkRegress, &id, detail);
        }
        if start < before_start {
            let detail = format!("process {process} saw {before_start}, then {start}");
            self.found(AnomalyKind::LogStartRegress, &id, detail);
        }
        let partition = self.partition(event);
        partition.seen.insert(process, (high, start));
        partition.log_start = partition.log_start.max(start);
    }

    fn judge_writes(&mut self, id: &PartitionId, partition: &PartitionState) {
        let read = partition.slots.iter().filter(|(_, slot)| slot.read);
        let highest_read = read.map(|(&offset, _)| offset).max().unwrap_or(-1);
        for (&offset, slot) in partition.slots.range(partition.log_start..) {
            let state = self.values.get(&slot.value).copied().unwrap_or_default();
            if slot.read && state.outcome == Some(Kind::Fail) {
                let detail = format!("value {} at offset {offset}", slot.value);
                self.found(AnomalyKind::FailedRead, id, detail);
            }
            if slot.read || !slot.acknowledged {
                continue;
            }
            let value = slot.value;
            if let Some(elsewhere) = state.read_at {
                let detail =
                    format!("value {value} acknowledged at {offset}, but read at {elsewhere}");
                self.found(AnomalyKind::SpuriousOffset, id, detail);
            } else {
                let lost = offset <= highest_read;
                let kind = if lost { AnomalyKind::LostWrite } else { AnomalyKind::Unseen };
                let detail = format!("value {value} acknowledged at {offset}, never read");
                self.found(kind, id, detail);
            }
        }
    }

    fn judge_order(&mut self, id: &PartitionId, partition: &PartitionState) {
        if !self.idempotent {
            return;
        }
        let mut last_of: HashMap<u64, u64> = HashMap::new();
        for (&offset, slot) in &partition.slots {
            let (sender, count) = (process_of(slot.value), counter(slot.value));
            if let Some(&before) = last_of.get(&sender)
                && count < before
            {
                let detail =
                    format!("sender {sender}'s record {count} at offset {offset} after {before}");
                self.found(AnomalyKind::NonmonotonicSend, id, detail);
            }
            last_of.insert(sender, count);
        }
    }

    fn judge_skips(&mut self, id: &PartitionId, partition: &PartitionState) {
        for &(process, from, to) in &partition.skips {
            let from = from.max(partition.log_start);
            if from >= to {
                continue;
            }
            if let Some((offset, slot)) = partition.slots.range(from..to).next() {
                let detail =
                    format!("process {process} passed over {offset}, value {}", slot.value);
                self.found(AnomalyKind::PollSkip, id, detail);
            }
        }
    }
}

#[cfg(test)]
mod tests;

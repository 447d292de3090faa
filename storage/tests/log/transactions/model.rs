//! What a log must hold: the list of what was appended, cut where the log was cut. What a reader may
//! see is worked out from it anew each time.

use std::collections::BTreeMap;

use streamhouse_storage::Appended;

/// The value of a record that has none, behind its key.
const TOMBSTONE: &str = "tombstone";

/// The key that a value begins with.
pub(super) fn key_of(value: &str) -> &str {
    value.split('-').next().unwrap_or_default()
}

/// How a record without a value is written down here.
pub(super) fn tombstone_of(key: &str) -> String {
    format!("{key}-{TOMBSTONE}")
}

pub(super) fn is_tombstone(value: &str) -> bool {
    value.ends_with(TOMBSTONE)
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Data { transactional: bool, values: Vec<String> },
    Marker { commit: bool },
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// 0 for none.
    pub(super) producer: i64,
    pub(super) epoch: i16,
    pub(super) base: i64,
    pub(super) last: i64,
    pub(super) last_sequence: i32,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Txn {
    pub(super) producer: i64,
    pub(super) first: i64,
    /// The marker and whether it commits; `None` while open.
    pub(super) end: Option<(i64, bool)>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) entries: Vec<Entry>,
    pub(super) log_end: i64,
    pub(super) log_start: i64,
    pub(super) acked_end: i64,
    pub(super) records: u64,
}

impl Model {
    pub(super) fn push(&mut self, appended: &Appended, producer: (i64, i16, i32), kind: Kind) {
        assert_eq!(appended.base_offset, self.log_end);
        let count = i32::try_from(appended.last_offset - appended.base_offset).unwrap();
        self.entries.push(Entry {
            producer: producer.0,
            epoch: producer.1,
            base: appended.base_offset,
            last: appended.last_offset,
            last_sequence: producer.2 + count,
            kind,
        });
        self.log_end = appended.last_offset + 1;
    }

    pub(super) fn cut(&mut self, log_end: i64, context: &str) {
        assert!(log_end >= self.acked_end, "{context}: {log_end} below {}", self.acked_end);
        assert!(log_end <= self.log_end, "{context}: {log_end} above {}", self.log_end);
        self.entries.retain(|entry| entry.last < log_end);
        self.log_end = log_end;
    }

    /// (epoch, next sequence, first offset of the open transaction)
    pub(super) fn producer(&self, producer: i64) -> (i16, i32, Option<i64>) {
        let (mut epoch, mut next, mut open) = (0, 0, None);
        for entry in self.entries.iter().filter(|entry| entry.producer == producer) {
            if entry.epoch != epoch {
                (epoch, next) = (entry.epoch, 0);
            }
            match entry.kind {
                Kind::Data { transactional, .. } => {
                    next = entry.last_sequence + 1;
                    if transactional {
                        open.get_or_insert(entry.base);
                    }
                }
                Kind::Marker { .. } => open = None,
            }
        }
        (epoch, next, open)
    }

    pub(super) fn transactions(&self) -> Vec<Txn> {
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        let mut found = Vec::new();
        for entry in &self.entries {
            match entry.kind {
                Kind::Data { transactional: true, .. } => {
                    open.entry(entry.producer).or_insert(entry.base);
                }
                Kind::Data { .. } => {}
                Kind::Marker { commit } => {
                    if let Some(first) = open.remove(&entry.producer) {
                        let end = Some((entry.base, commit));
                        found.push(Txn { producer: entry.producer, first, end });
                    }
                }
            }
        }
        found.extend(open.into_iter().map(|(producer, first)| Txn { producer, first, end: None }));
        found
    }

    pub(super) fn last_stable(&self, high_watermark: i64) -> i64 {
        let undecided = |txn: &&Txn| txn.end.is_none_or(|(marker, _)| marker >= high_watermark);
        let first = self.transactions().iter().filter(undecided).map(|txn| txn.first).min();
        first.map_or(high_watermark, |first| first.max(self.log_start).min(high_watermark))
    }

    pub(super) fn committed(&self, from: i64, to: i64) -> Vec<(i64, String)> {
        let transactions = self.transactions();
        let is_aborted = |entry: &Entry| {
            transactions.iter().any(|txn| {
                txn.producer == entry.producer
                    && txn.first <= entry.base
                    && txn.end.is_some_and(|(marker, commit)| marker > entry.base && !commit)
            })
        };
        let mut records = Vec::new();
        for entry in &self.entries {
            if let Kind::Data { transactional, values } = &entry.kind
                && !(*transactional && is_aborted(entry))
            {
                records.extend((entry.base..).zip(values.iter().cloned()));
            }
        }
        records.retain(|(offset, _)| (from..to).contains(offset));
        records
    }

    /// The offset of the last committed record of each key below `to` that must be there for ever.
    pub(super) fn newest(&self, to: i64) -> Vec<i64> {
        let mut newest = BTreeMap::new();
        for (offset, value) in self.committed(self.log_start, to) {
            newest.insert(key_of(&value).to_owned(), (offset, is_tombstone(&value)));
        }
        let last = newest.into_values().filter(|(_, tombstone)| !tombstone);
        last.map(|(offset, _)| offset).collect()
    }

    /// (producer, first offset), by marker.
    pub(super) fn aborted(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let mut found: Vec<_> = self
            .transactions()
            .into_iter()
            .filter_map(|txn| Some((txn.end.filter(|(_, commit)| !commit)?.0, txn)))
            .filter(|(marker, txn)| *marker >= from && txn.first < to)
            .collect();
        found.sort_by_key(|(marker, _)| *marker);
        found.into_iter().map(|(_, txn)| (txn.producer, txn.first)).collect()
    }
}

//! The aborted transactions of one partition, as Kafka's `TransactionIndex`: what a read_committed
//! consumer leaves out.
//!
//! Invariants: in the order of the markers; each entry knows a bound below which no later entry
//! begins, so that a look-up is a binary search and a walk over what overlaps. It holds what lies
//! above the log start; a start restores it from the producer snapshot, footers and the WAL.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An aborted transaction (for read_committed consumers and for compaction).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortedTransaction {
    /// Offset of the transaction's first record.
    pub first_offset: i64,
    /// Offset of the marker that ended it.
    pub last_offset: i64,
    /// The transactional producer.
    pub producer_id: i64,
}

/// Entries by marker.
#[derive(Debug, Default)]
pub(crate) struct TxnIndex {
    entries: VecDeque<Entry>,
    /// How often entries above the log start were forgotten.
    version: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    transaction: AbortedTransaction,
    /// No later entry begins below it.
    later_from: i64,
}

impl TxnIndex {
    /// Adds transactions that were decided together, in any order. No other transaction begins
    /// below `first_unstable`, or the markers. Where a start found some of them already, or later
    /// ones, they find their place.
    pub(crate) fn append(
        &mut self,
        mut transactions: Vec<AbortedTransaction>,
        first_unstable: Option<i64>,
    ) {
        transactions.sort_by_key(|transaction| transaction.last_offset);
        let last_known = self.entries.back().map_or(-1, |entry| entry.transaction.last_offset);
        let is_behind = transactions.first().is_none_or(|first| first.last_offset > last_known);
        let known = if is_behind { self.entries.len() } else { 0 };
        for transaction in transactions {
            self.restore(transaction);
        }
        self.bound_from(known, first_unstable);
    }

    /// Adds a transaction that a start found, in any order and perhaps again. Look-ups are right
    /// only after [`TxnIndex::complete_restore`].
    pub(crate) fn restore(&mut self, transaction: AbortedTransaction) {
        let last_offset = transaction.last_offset;
        let at = self.entries.partition_point(|entry| entry.transaction.last_offset < last_offset);
        match self.entries.get_mut(at).map(|entry| &mut entry.transaction) {
            // A footer may not have seen where it began.
            Some(known) if known.last_offset == last_offset => {
                known.first_offset = known.first_offset.min(transaction.first_offset);
            }
            _ => self.entries.insert(at, Entry { transaction, later_from: i64::MAX }),
        }
    }

    /// Makes look-ups right after [`TxnIndex::restore`].
    pub(crate) fn complete_restore(&mut self, first_unstable: Option<i64>) {
        self.bound_from(0, first_unstable);
    }

    /// Bounds where later entries begin, of all entries from position `from` on.
    fn bound_from(&mut self, from: usize, first_unstable: Option<i64>) {
        let mut later_from = first_unstable.unwrap_or(i64::MAX);
        for entry in self.entries.range_mut(from..).rev() {
            entry.later_from = later_from.min(entry.transaction.last_offset + 1);
            later_from = entry.later_from.min(entry.transaction.first_offset);
        }
    }

    /// Takes out the transactions whose markers lie at or above `end_offset`.
    pub(crate) fn cut(&mut self, end_offset: i64) -> Vec<AbortedTransaction> {
        let at = self.entries.partition_point(|entry| entry.transaction.last_offset < end_offset);
        self.entries.split_off(at).into_iter().map(|entry| entry.transaction).collect()
    }

    /// Forgets the transactions whose markers lie below `log_start`.
    pub(crate) fn trim(&mut self, log_start: i64) {
        while self.entries.front().is_some_and(|e| e.transaction.last_offset < log_start) {
            self.entries.pop_front();
        }
    }

    /// Forgets these transactions.
    pub(crate) fn forget(&mut self, forgotten: &[AbortedTransaction]) {
        let forgotten: BTreeSet<_> = forgotten.iter().copied().collect();
        self.entries.retain(|entry| !forgotten.contains(&entry.transaction));
        self.version += 1;
    }

    /// Changes with [`TxnIndex::forget`].
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The transactions that overlap `[from, to)`.
    pub(crate) fn overlapping(&self, from: i64, to: i64) -> Vec<AbortedTransaction> {
        let at = self.entries.partition_point(|entry| entry.transaction.last_offset < from);
        let mut found = Vec::new();
        for entry in self.entries.range(at..) {
            if entry.transaction.first_offset < to {
                found.push(entry.transaction);
            }
            if entry.later_from >= to {
                break;
            }
        }
        found
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = AbortedTransaction> + '_ {
        self.entries.iter().map(|entry| entry.transaction)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Tells batches of aborted transactions from others, within the range that it was made for.
#[derive(Debug, Clone, Default)]
pub struct AbortedTransactions {
    /// By producer and marker: the first offset.
    first_offsets: BTreeMap<(i64, i64), i64>,
}

impl AbortedTransactions {
    /// Whether a transactional batch of the producer at `offset` was aborted. A producer's
    /// transactions do not overlap, so the first marker at or behind the offset decides.
    #[must_use]
    pub fn contains(&self, producer_id: i64, offset: i64) -> bool {
        let mut behind = self.first_offsets.range((producer_id, offset)..=(producer_id, i64::MAX));
        behind.next().is_some_and(|(_, first_offset)| *first_offset <= offset)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first_offsets.is_empty()
    }
}

impl FromIterator<AbortedTransaction> for AbortedTransactions {
    fn from_iter<I: IntoIterator<Item = AbortedTransaction>>(transactions: I) -> Self {
        let entry = |found: AbortedTransaction| {
            ((found.producer_id, found.last_offset), found.first_offset)
        };
        Self { first_offsets: transactions.into_iter().map(entry).collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transaction(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id, first_offset, last_offset }
    }

    #[test]
    fn a_batch_is_aborted_only_within_a_transaction_of_its_producer() {
        let set: AbortedTransactions =
            [transaction(1, 10, 20), transaction(1, 30, 40)].into_iter().collect();
        for (offset, aborted) in [(9, false), (10, true), (20, true), (25, false), (35, true)] {
            assert_eq!(set.contains(1, offset), aborted, "offset {offset}");
        }
        assert!(!set.contains(2, 15) && !set.contains(1, 41));
    }

    #[test]
    fn what_is_forgotten_is_gone_and_noticed() {
        let mut index = TxnIndex::default();
        index.append(vec![transaction(1, 10, 20), transaction(2, 15, 30)], None);
        let version = index.version();
        index.forget(&[transaction(1, 10, 20), transaction(2, 15, 31)]);
        assert_eq!(index.overlapping(0, 100), [transaction(2, 15, 30)]);
        assert_ne!(index.version(), version);
    }

    /// Transactions of one log: markers ascend, each transaction begins anywhere before.
    fn log() -> impl Strategy<Value = Vec<AbortedTransaction>> {
        prop::collection::vec((1..4_i64, 0..30_i64), 0..40).prop_map(|steps| {
            let (mut last, mut found) = (0, Vec::new());
            for (producer, (gap, span)) in steps.into_iter().enumerate() {
                last += gap;
                let producer = i64::try_from(producer).unwrap();
                found.push(transaction(producer, (last - span).max(0), last));
            }
            found
        })
    }

    proptest! {
        #[test]
        fn finds_exactly_what_overlaps(
            log in log(), chunk in 1..5_usize, from in 0..100_i64, len in 0..40_i64, trim in 0..60_i64,
        ) {
            let mut live = TxnIndex::default();
            for at in (0..log.len()).step_by(chunk) {
                let behind = log.iter().skip(at + chunk).map(|later| later.first_offset).min();
                live.append(log.iter().skip(at).take(chunk).copied().collect(), behind);
            }
            let mut restored = TxnIndex::default();
            for transaction in log.iter().rev().chain(&log) {
                restored.restore(*transaction);
            }
            restored.complete_restore(None);
            live.trim(trim);
            let to = from + len;
            let overlaps = |t: &&AbortedTransaction| t.last_offset >= from && t.first_offset < to;
            let expected: Vec<_> = log.iter().filter(overlaps).copied().collect();
            prop_assert_eq!(&restored.overlapping(from, to), &expected);
            let kept: Vec<_> = expected.into_iter().filter(|t| t.last_offset >= trim).collect();
            prop_assert_eq!(live.overlapping(from, to), kept);
        }
    }
}

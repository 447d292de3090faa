//! The transactions of one partition: which are open, which are ended but may still be taken back,
//! which were aborted. Their first offsets bound the last stable offset.
//!
//! Invariant TXN-2: a transaction is *decided* when its marker lies below the high watermark, never
//! earlier; until then what it wrote is above the last stable offset.

use std::collections::BTreeMap;

use common::ProducerId;

use crate::txn_index::{AbortedTransaction, TxnIndex};

/// A transaction whose marker was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its producer.
    pub(crate) producer_id: ProducerId,
    /// Offset of its first record.
    pub(crate) first_offset: i64,
    /// Offset of its marker.
    pub(crate) last_offset: i64,
    /// Whether it was aborted.
    pub(crate) aborted: bool,
}

/// Open, undecided and aborted transactions.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// By first offset.
    open: BTreeMap<i64, ProducerId>,
    /// Ended ones whose markers are not below the high watermark yet, by first offset.
    undecided: BTreeMap<i64, Ended>,
    aborted: TxnIndex,
}

impl Transactions {
    /// A transaction begins.
    pub(crate) fn open(&mut self, producer_id: ProducerId, first_offset: i64) {
        self.open.insert(first_offset, producer_id);
    }

    /// A transaction that restored state took for open is not, or began elsewhere.
    pub(crate) fn forget_open(&mut self, first_offset: i64) {
        self.open.remove(&first_offset);
    }

    /// A transaction ends.
    pub(crate) fn end(&mut self, ended: Ended) {
        self.open.remove(&ended.first_offset);
        self.undecided.insert(ended.first_offset, ended);
    }

    /// An aborted transaction that is decided, found by a start.
    pub(crate) fn restore_aborted(&mut self, aborted: AbortedTransaction) {
        self.aborted.restore(aborted);
    }

    /// The first offset of what is open or undecided.
    pub(crate) fn first_unstable(&self) -> Option<i64> {
        let open = self.open.first_key_value().map(|(first_offset, _)| *first_offset);
        let undecided = self.undecided.first_key_value().map(|(first_offset, _)| *first_offset);
        match (open, undecided) {
            (Some(open), Some(undecided)) => Some(open.min(undecided)),
            (one, other) => one.or(other),
        }
    }

    /// Decides what ended below the high watermark.
    pub(crate) fn settle(&mut self, high_watermark: i64) {
        if self.undecided.is_empty() {
            return;
        }
        let mut aborted = Vec::new();
        self.undecided.retain(|_, ended| {
            let is_decided = ended.last_offset < high_watermark;
            if is_decided && ended.aborted {
                aborted.push(AbortedTransaction::from(*ended));
            }
            !is_decided
        });
        if !aborted.is_empty() {
            self.aborted.append(aborted, self.first_unstable());
        }
    }

    /// Takes back what lies at or above `end_offset`: transactions that began there were never
    /// open, those that ended there are open again.
    pub(crate) fn roll_back(&mut self, end_offset: i64) {
        self.open.split_off(&end_offset);
        let open = &mut self.open;
        self.undecided.retain(|first_offset, ended| {
            let stays = ended.last_offset < end_offset;
            if !stays && *first_offset < end_offset {
                open.insert(*first_offset, ended.producer_id);
            }
            stays
        });
    }

    /// As [`Transactions::roll_back`] for what a start restored, where the log ends earlier than
    /// that. Returns what is open again.
    pub(crate) fn cut(&mut self, end_offset: i64) -> Vec<(ProducerId, i64)> {
        let reopened: Vec<_> = self.aborted.cut(end_offset).into_iter().map(Ended::from).collect();
        self.undecided.extend(reopened.into_iter().map(|ended| (ended.first_offset, ended)));
        let ended = self.undecided.values().filter(|ended| ended.last_offset >= end_offset);
        let ended = ended.filter(|ended| ended.first_offset < end_offset);
        let reopened = ended.map(|ended| (ended.producer_id, ended.first_offset)).collect();
        self.roll_back(end_offset);
        reopened
    }

    /// Completes the index after a start has restored it.
    pub(crate) fn complete_restore(&mut self) {
        self.aborted.complete_restore(self.first_unstable());
    }

    /// Forgets aborted transactions whose markers lie below the log start.
    pub(crate) fn trim(&mut self, log_start: i64) {
        self.aborted.trim(log_start);
    }

    /// Forgets aborted transactions of which nothing but the marker is left.
    pub(crate) fn forget_aborted(&mut self, forgotten: &[AbortedTransaction]) {
        self.aborted.forget(forgotten);
    }

    /// The aborted transactions that overlap `[from, to)`, in the order of their markers.
    pub(crate) fn aborted(&self, from: i64, to: i64) -> Vec<AbortedTransaction> {
        self.aborted.overlapping(from, to)
    }

    /// Changes whenever compaction by key makes it forget aborted transactions.
    pub(crate) fn aborted_version(&self) -> u64 {
        self.aborted.version()
    }

    /// Whether any is known that was aborted.
    pub(crate) fn has_aborted(&self) -> bool {
        !self.aborted.is_empty()
    }

    /// Whether there is none of any kind.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.undecided.is_empty() && self.aborted.is_empty()
    }

    /// What a snapshot up to `end_offset` keeps: ended transactions that are undecided or aborted.
    pub(crate) fn ended_below(&self, end_offset: i64) -> Vec<Ended> {
        let aborted = self.aborted.iter().map(Ended::from);
        let undecided = self.undecided.values().copied();
        aborted.chain(undecided).filter(|ended| ended.last_offset < end_offset).collect()
    }
}

impl From<AbortedTransaction> for Ended {
    fn from(aborted: AbortedTransaction) -> Self {
        Self {
            producer_id: ProducerId(aborted.producer_id),
            first_offset: aborted.first_offset,
            last_offset: aborted.last_offset,
            aborted: true,
        }
    }
}

impl From<Ended> for AbortedTransaction {
    fn from(ended: Ended) -> Self {
        Self {
            producer_id: ended.producer_id.0,
            first_offset: ended.first_offset,
            last_offset: ended.last_offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProducerId = ProducerId(1);
    const B: ProducerId = ProducerId(2);

    fn end(producer_id: ProducerId, first_offset: i64, last_offset: i64, aborted: bool) -> Ended {
        Ended { producer_id, first_offset, last_offset, aborted }
    }

    #[test]
    fn a_transaction_is_unstable_until_its_marker_is_below_the_high_watermark() {
        let mut transactions = Transactions::default();
        transactions.open(A, 10);
        transactions.open(B, 12);
        transactions.end(end(A, 10, 20, true));
        transactions.settle(20);
        assert_eq!(transactions.first_unstable(), Some(10));
        assert!(transactions.aborted(0, 100).is_empty());
        transactions.settle(21);
        assert_eq!(transactions.first_unstable(), Some(12));
        assert_eq!(transactions.aborted(20, 21).len(), 1);
    }

    #[test]
    fn a_roll_back_forgets_what_began_and_reopens_what_ended() {
        let mut transactions = Transactions::default();
        transactions.open(A, 10);
        transactions.end(end(A, 10, 30, false));
        transactions.open(A, 31);
        transactions.open(B, 25);
        transactions.end(end(B, 25, 32, true));
        transactions.roll_back(20);
        assert_eq!(transactions.open, BTreeMap::from([(10, A)]));
        assert!(transactions.undecided.is_empty());
    }

    #[test]
    fn a_cut_below_restored_state_reopens_aborted_transactions() {
        let mut transactions = Transactions::default();
        transactions.restore_aborted(end(A, 10, 20, true).into());
        transactions.restore_aborted(end(B, 15, 30, true).into());
        transactions.restore_aborted(end(A, 26, 32, true).into());
        assert_eq!(transactions.cut(25), [(B, 15)]);
        assert_eq!(transactions.open, BTreeMap::from([(15, B)]));
        assert_eq!(transactions.aborted(0, 100).len(), 1);
    }
}

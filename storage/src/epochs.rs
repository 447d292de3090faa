//! The leader epochs of one partition: where each began, for OffsetForLeaderEpoch and for
//! fetches that carry the last fetched epoch (KIP-101, KIP-595).
//!
//! Invariant: epochs and start offsets both rise strictly, as in Kafka's `LeaderEpochFileCache`.

use metadata::EpochStart;

/// The epoch history, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    starts: Vec<EpochStart>,
}

impl Epochs {
    /// From the metadata store's rows.
    #[must_use]
    pub(crate) fn new(starts: Vec<EpochStart>) -> Self {
        let mut epochs = Self::default();
        for start in starts {
            epochs.assign(start.epoch, start.start_offset);
        }
        epochs
    }

    /// Notes that `epoch` begins at `start_offset`. Later epochs that began at or after that
    /// offset held no record and go.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) {
        self.starts.retain(|entry| entry.epoch < epoch && entry.start_offset < start_offset);
        self.starts.push(EpochStart { epoch, start_offset });
    }

    /// The end offset of the largest epoch that is not above `requested`, with that epoch:
    /// `(-1, -1)` where there is none. `log_end` ends the current epoch `current`.
    #[must_use]
    pub(crate) fn end_offset_for(&self, requested: i32, current: i32, log_end: i64) -> (i32, i64) {
        if requested == current {
            return (current, log_end);
        }
        if requested > current {
            return (-1, -1);
        }
        let following = self.starts.iter().find(|entry| entry.epoch > requested);
        let end_offset = following.map_or(log_end, |entry| entry.start_offset);
        let floor = self.starts.iter().rev().find(|entry| entry.epoch <= requested);
        match floor {
            Some(entry) => (entry.epoch, end_offset),
            None => following.map_or((-1, -1), |entry| (requested, entry.start_offset)),
        }
    }

    /// The epoch that the record at `offset` was written under, if known.
    #[must_use]
    pub(crate) fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.starts.iter().rev().find(|entry| entry.start_offset <= offset).map(|e| e.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs() -> Epochs {
        let mut epochs = Epochs::default();
        epochs.assign(1, 0);
        epochs.assign(2, 10);
        epochs.assign(4, 30);
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        assert_eq!(epochs().end_offset_for(1, 4, 50), (1, 10));
        assert_eq!(epochs().end_offset_for(3, 4, 50), (2, 30));
        assert_eq!(epochs().end_offset_for(4, 4, 50), (4, 50));
        assert_eq!(epochs().end_offset_for(5, 4, 50), (-1, -1));
        assert_eq!(epochs().end_offset_for(0, 4, 50), (0, 0));
    }

    #[test]
    fn an_epoch_without_records_is_replaced() {
        let mut epochs = epochs();
        epochs.assign(5, 30);
        assert_eq!(epochs.end_offset_for(4, 5, 50), (2, 30));
        assert_eq!(epochs.epoch_at(30), Some(5));
        assert_eq!(epochs.epoch_at(9), Some(1));
    }
}

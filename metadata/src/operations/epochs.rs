//! A partition's history of leader epochs, kept as Kafka's `LeaderEpochFileCache` keeps it.
//!
//! The entries ascend in epoch and in offset at all times.

use crate::model::EpochStart;

/// Appends an entry. Entries that do not lie below it in both epoch and offset are dropped: their
/// epochs wrote nothing that is still in the log.
pub(crate) fn assign(history: &mut Vec<EpochStart>, new: EpochStart) {
    history.retain(|entry| entry.epoch < new.epoch && entry.start_offset < new.start_offset);
    history.push(new);
}

/// Drops the entries whose whole range lies below the log start offset. The one that the log
/// start offset falls into stays, and begins there.
pub(crate) fn truncate_from_start(history: &mut Vec<EpochStart>, log_start_offset: i64) {
    let below = history.partition_point(|entry| entry.start_offset <= log_start_offset);
    if below == 0 {
        return;
    }
    history.drain(..below - 1);
    history[0].start_offset = log_start_offset;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(entries: &[(i32, i64)]) -> Vec<EpochStart> {
        entries.iter().map(|&(epoch, start_offset)| EpochStart { epoch, start_offset }).collect()
    }

    fn assigned(entries: &[(i32, i64)], epoch: i32, start_offset: i64) -> Vec<EpochStart> {
        let mut history = history(entries);
        assign(&mut history, EpochStart { epoch, start_offset });
        history
    }

    #[test]
    fn an_epoch_that_wrote_nothing_is_replaced() {
        assert_eq!(assigned(&[(0, 0), (1, 10)], 2, 10), history(&[(0, 0), (2, 10)]));
    }

    #[test]
    fn an_epoch_is_recorded_once() {
        assert_eq!(assigned(&[(0, 0), (1, 10)], 1, 10), history(&[(0, 0), (1, 10)]));
    }

    #[test]
    fn entries_above_a_shorter_log_are_dropped() {
        assert_eq!(
            assigned(&[(0, 0), (1, 10), (2, 20)], 3, 15),
            history(&[(0, 0), (1, 10), (3, 15)])
        );
    }

    #[test]
    fn the_epoch_of_the_log_start_stays_as_the_floor() {
        let mut entries = history(&[(0, 0), (1, 10), (4, 20)]);
        truncate_from_start(&mut entries, 12);
        assert_eq!(entries, history(&[(1, 12), (4, 20)]));
        truncate_from_start(&mut entries, 20);
        assert_eq!(entries, history(&[(4, 20)]));
        truncate_from_start(&mut entries, 5);
        assert_eq!(entries, history(&[(4, 20)]));
    }
}

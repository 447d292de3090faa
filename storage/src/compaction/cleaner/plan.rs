//! Which part of a compacted log is clean, dirty or not to be touched, and whether a pass is due:
//! Kafka's `LogCleanerManager`, a pure function of what there is.

use std::sync::Arc;

use metadata::Extent;

use crate::object::ObjectRef;

/// What a topic's configuration says of cleaning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleaningPolicy {
    /// `min.cleanable.dirty.ratio`: the share of dirty bytes above which a pass is due.
    pub min_dirty_ratio: f64,
    /// `delete.retention.ms`: how long tombstones and markers stay after a pass first met them.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: records younger than this are not touched.
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`: records older than this make a pass due.
    pub max_lag_ms: i64,
}

impl Default for CleaningPolicy {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            min_dirty_ratio: 0.5,
            delete_retention_ms: 86_400_000,
            min_lag_ms: 0,
            max_lag_ms: i64::MAX,
        }
    }
}

/// An extent and how far the log was clean when it was written.
#[derive(Debug, Clone)]
pub(super) struct Dirty {
    pub(super) object: Arc<ObjectRef>,
    pub(super) extent: Extent,
    /// `None` where no pass has written it.
    pub(super) cleaned_end: Option<i64>,
}

/// What a pass may work on.
#[derive(Debug, Clone)]
pub(super) struct Cleanable {
    /// From the log start to the first extent that is not to be touched, ascending.
    extents: Vec<(Arc<ObjectRef>, Extent)>,
    /// Everything below was cleaned; the map begins here.
    pub(super) first_dirty: i64,
    /// The epoch of the lease when this was planned.
    pub(super) leader_epoch: i32,
    pub(super) policy: CleaningPolicy,
    overdue: bool,
}

impl CleaningPolicy {
    /// What can be cleaned; `None` where nothing is dirty.
    pub(super) fn plan(
        self,
        rows: Vec<Dirty>,
        log_start: i64,
        last_stable: i64,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Option<Cleanable> {
        let mut first_dirty = i64::MAX;
        let mut extents = Vec::new();
        for row in rows.into_iter().filter(|row| row.extent.end_offset > log_start) {
            let young = self.min_lag_ms > 0
                && row.extent.max_timestamp > now_ms.saturating_sub(self.min_lag_ms);
            if row.extent.end_offset > last_stable || young {
                break;
            }
            // What no pass has written is dirty from where it begins. Behind that everything is,
            // whatever it says of itself.
            let clean_up_to = row.cleaned_end.unwrap_or(row.extent.base_offset);
            if row.extent.base_offset < first_dirty {
                first_dirty = first_dirty.min(clean_up_to);
            }
            extents.push((row.object, row.extent));
        }
        let first_dirty = first_dirty.max(log_start);
        let deadline_ms = now_ms.saturating_sub(self.max_lag_ms);
        let is_dirty = |extent: &Extent| extent.end_offset > first_dirty;
        let overdue = extents.iter().any(|(_, extent)| {
            is_dirty(extent) && (1..deadline_ms).contains(&extent.min_timestamp)
        });
        let any = extents.iter().any(|(_, extent)| is_dirty(extent));
        any.then_some(Cleanable { extents, first_dirty, leader_epoch, policy: self, overdue })
    }
}

impl Cleanable {
    /// The share of dirty bytes.
    pub(super) fn dirty_ratio(&self) -> f64 {
        let bytes = |extents: &mut dyn Iterator<Item = &(Arc<ObjectRef>, Extent)>| {
            extents.map(|(_, extent)| extent.bytes).sum::<u64>()
        };
        let all = bytes(&mut self.extents.iter());
        let dirty = bytes(&mut self.extents.iter().filter(|row| self.is_dirty(row)));
        if all == 0 { 0.0 } else { ratio(dirty, all) }
    }

    /// Whether its own policy asks for a pass.
    pub(super) fn is_due(&self) -> bool {
        self.overdue || self.dirty_ratio() > self.policy.min_dirty_ratio
    }

    /// The dirty extents; the first may be dirty only from [`Cleanable::first_dirty`] on.
    pub(super) fn dirty(&self) -> Vec<(Arc<ObjectRef>, Extent)> {
        self.extents.iter().filter(|row| self.is_dirty(row)).cloned().collect()
    }

    /// First offset of all of it.
    pub(super) fn base_offset(&self) -> i64 {
        self.extents.first().map_or(0, |(_, extent)| extent.base_offset)
    }

    /// The extents that begin below `end_offset`.
    pub(super) fn below(&self, end_offset: i64) -> Vec<(Arc<ObjectRef>, Extent)> {
        let begins = |(_, extent): &&(Arc<ObjectRef>, Extent)| extent.base_offset < end_offset;
        self.extents.iter().take_while(begins).cloned().collect()
    }

    fn is_dirty(&self, (_, extent): &(Arc<ObjectRef>, Extent)) -> bool {
        extent.end_offset > self.first_dirty
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio of sizes needs no more than 53 bits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use common::{ObjectId, PartitionKey, TopicId};
    use metadata::ObjectLevel;
    use uuid::Uuid;

    use super::*;

    const NOW_MS: i64 = 1_000_000;

    fn policy() -> CleaningPolicy {
        CleaningPolicy {
            min_dirty_ratio: 0.5,
            delete_retention_ms: 0,
            min_lag_ms: 0,
            max_lag_ms: i64::MAX,
        }
    }

    /// Extents of ten offsets and 100 bytes each, written at `timestamps`, clean up to what is said.
    fn rows(rows: &[(i64, Option<i64>)]) -> Vec<Dirty> {
        let row = |(at, (timestamp, cleaned_end)): (usize, &(i64, Option<i64>))| {
            let base_offset = at as i64 * 10;
            let object = ObjectRef {
                id: ObjectId(Uuid::from_u128(at as u128)),
                key: String::new(),
                level: ObjectLevel::L0,
                size: 100,
                footer_position: 100,
                origin: None,
            };
            let extent = Extent {
                key: PartitionKey { topic_id: TopicId(Uuid::nil()), partition: 0 },
                leader_epoch: 0,
                base_offset,
                end_offset: base_offset + 10,
                bytes: 100,
                first_position: 0,
                min_timestamp: *timestamp,
                max_timestamp: *timestamp,
            };
            Dirty { object: Arc::new(object), extent, cleaned_end: *cleaned_end }
        };
        rows.iter().enumerate().map(row).collect()
    }

    #[test]
    fn a_log_is_clean_up_to_the_least_that_its_extents_say() {
        let first_dirty = |list: &[(i64, Option<i64>)]| {
            policy().plan(rows(list), 0, 1000, 0, NOW_MS).map(|cleanable| cleanable.first_dirty)
        };
        assert_eq!(first_dirty(&[(1, None), (1, None)]), Some(0));
        assert_eq!(first_dirty(&[(1, Some(20)), (1, Some(20)), (1, None)]), Some(20));
        assert_eq!(first_dirty(&[(1, Some(20)), (1, Some(20))]), None);
        // The second group of a pass was not reached: the pass before ended at 10.
        assert_eq!(first_dirty(&[(1, Some(30)), (1, Some(10)), (1, None)]), Some(10));
        // Not even the first pass came so far.
        assert_eq!(first_dirty(&[(1, Some(30)), (1, None), (1, None)]), Some(10));
        // The map was full in the middle of an extent.
        assert_eq!(first_dirty(&[(1, Some(15)), (1, Some(15)), (1, None)]), Some(15));
    }

    #[test]
    fn nothing_open_or_young_is_touched() {
        let lag = CleaningPolicy { min_lag_ms: 100, ..policy() };
        let list = [(1, None), (NOW_MS - 200, None), (NOW_MS - 50, None), (1, None)];
        let end = |policy: CleaningPolicy, last_stable| {
            let cleanable = policy.plan(rows(&list), 0, last_stable, 0, NOW_MS)?;
            cleanable.dirty().last().map(|(_, extent)| extent.end_offset)
        };
        assert_eq!(end(lag, 1000), Some(20));
        assert_eq!(end(policy(), 1000), Some(40));
        assert_eq!(end(policy(), 39), Some(30));
        assert_eq!(end(policy(), 9), None);
    }

    #[test]
    fn a_pass_is_due_above_the_ratio_or_after_the_longest_lag() {
        let half = [(500, Some(10)), (500, None)];
        let cleanable = policy().plan(rows(&half), 0, 1000, 0, NOW_MS).unwrap();
        assert!(!cleanable.is_due());
        let third = [(500, Some(10)), (500, None), (500, None)];
        assert!(policy().plan(rows(&third), 0, 1000, 0, NOW_MS).unwrap().is_due());
        let late = CleaningPolicy { max_lag_ms: NOW_MS - 600, ..policy() };
        assert!(late.plan(rows(&half), 0, 1000, 0, NOW_MS).unwrap().is_due());
    }

    #[test]
    fn what_lies_below_the_log_start_does_not_count() {
        let list = [(1, None), (1, Some(20)), (1, None)];
        let cleanable = policy().plan(rows(&list), 10, 1000, 0, NOW_MS).unwrap();
        assert_eq!((cleanable.base_offset(), cleanable.first_dirty), (10, 20));
    }
}

//! Which extents of a partition are merged, and when: a pure function of what there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use common::ObjectId;
use metadata::{Extent, ObjectLevel};

use crate::object::ObjectRef;

/// When a partition is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// Small L0 extents in a row, below the last stable offset, that make a partition due.
    pub extents_min: usize,
    /// An L0 extent of at least this many bytes is good as it is, unless its object is wasteful.
    pub extent_bytes_good: u64,
    /// Largest output, bytes of batches; a single larger input is not split.
    pub bytes_max: u64,
    /// An object that holds this many bytes of nobody, and four times as many as of anybody, is
    /// wasteful: what is left of it is moved out at once.
    pub bytes_wasted_max: u64,
    /// Small L0 extents above the last stable offset from which on it holds up nothing more: an
    /// open transaction must not pin the objects that they share with others without bound.
    pub extents_pinned_max: usize,
}

impl Default for CompactionPolicy {
    fn default() -> Self {
        Self {
            extents_min: 16,
            extent_bytes_good: 32 << 20,
            bytes_max: 256 << 20,
            bytes_wasted_max: 8 << 20,
            extents_pinned_max: 64,
        }
    }
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its committed extents, ascending.
    pub extents: &'a [(Arc<ObjectRef>, Extent)],
    /// Extents that end here or below are about to go.
    pub log_start_offset: i64,
    /// Extents that end above it stay, unless there are too many.
    pub last_stable_offset: i64,
    /// Objects that hold little that anybody needs.
    pub wasteful: &'a BTreeSet<ObjectId>,
}

/// The inputs of one merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Contiguous, ascending.
    pub inputs: Vec<(Arc<ObjectRef>, Extent)>,
    /// The extents from the last L1 one below the first L0 input up to that input: their footers,
    /// one after the other, are the producers there. An L0 footer alone holds only changes.
    pub producers: Vec<(Arc<ObjectRef>, Extent)>,
}

impl Plan {
    /// First offset of the inputs.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.inputs.first().map_or(0, |(_, extent)| extent.base_offset)
    }

    /// End of the inputs, exclusive.
    #[must_use]
    pub fn end_offset(&self) -> i64 {
        self.inputs.last().map_or(0, |(_, extent)| extent.end_offset)
    }
}

impl CompactionPolicy {
    /// The objects whose bytes are mostly nobody's, given all extents of all partitions.
    #[must_use]
    pub fn wasteful<'a>(
        &self,
        extents: impl IntoIterator<Item = &'a (Arc<ObjectRef>, Extent)>,
    ) -> BTreeSet<ObjectId> {
        let mut live: BTreeMap<ObjectId, (u64, u64)> = BTreeMap::new();
        for (object, extent) in extents {
            let (_, bytes) = live.entry(object.id).or_insert((object.footer_position, 0));
            *bytes += extent.bytes;
        }
        let is_wasteful = |(size, bytes): &(u64, u64)| {
            let wasted = size.saturating_sub(*bytes);
            wasted >= self.bytes_wasted_max && wasted / 4 >= *bytes
        };
        live.into_iter().filter(|(_, sizes)| is_wasteful(sizes)).map(|(id, _)| id).collect()
    }

    /// What to merge next of a partition, if it is due.
    ///
    /// The oldest row of small L0 extents that is long enough is taken, up to the size of one
    /// output. Small L1 objects right before it are merged along where they are not much larger
    /// than what comes new, so that a slow partition ends with few objects and each byte is
    /// rewritten a logarithmic number of times.
    ///
    /// What lies above the last stable offset waits, up to a limit: then it is copied as well.
    #[must_use]
    pub fn plan(&self, candidate: &Candidate<'_>) -> Option<Plan> {
        self.plan_below(candidate, candidate.last_stable_offset).or_else(|| {
            let pins_too_much = self.pinned(candidate) > self.extents_pinned_max;
            pins_too_much.then(|| self.plan_below(candidate, i64::MAX)).flatten()
        })
    }

    /// The small L0 extents that the last stable offset holds back.
    fn pinned(&self, candidate: &Candidate<'_>) -> usize {
        let from = candidate
            .extents
            .partition_point(|(_, extent)| extent.end_offset <= candidate.last_stable_offset);
        let above = candidate.extents.get(from..).unwrap_or_default();
        above.iter().filter(|found| self.is_small_l0(candidate, found)).count()
    }

    fn is_small_l0(
        &self,
        candidate: &Candidate<'_>,
        (object, extent): &(Arc<ObjectRef>, Extent),
    ) -> bool {
        let good =
            extent.bytes >= self.extent_bytes_good && !candidate.wasteful.contains(&object.id);
        object.level == ObjectLevel::L0 && !good
    }

    /// What to merge next of the extents that end at or below `bound`.
    fn plan_below(&self, candidate: &Candidate<'_>, bound: i64) -> Option<Plan> {
        let extents = candidate.extents;
        let mut first = 0;
        while first < extents.len() {
            let row = self.row(candidate, first, bound);
            if self.is_due(candidate, row.clone()) {
                return self.with_small_l1(extents, row);
            }
            first = row.end.max(first + 1);
        }
        None
    }

    /// Whether a row of dirty extents of a compacted topic is so long, or keeps so many bytes of
    /// others alive, that it should be rewritten however little of the log is dirty.
    #[must_use]
    pub fn is_crumbled(
        &self,
        dirty: &[(Arc<ObjectRef>, Extent)],
        wasteful: &BTreeSet<ObjectId>,
    ) -> bool {
        let small = dirty.iter().filter(|(_, extent)| extent.bytes < self.extent_bytes_good);
        small.count() >= self.extents_min.max(2)
            || dirty.iter().any(|(object, _)| wasteful.contains(&object.id))
    }

    /// The contiguous small L0 extents from `first` on that fit into one output.
    fn row(&self, candidate: &Candidate<'_>, first: usize, bound: i64) -> Range<usize> {
        let (mut end, mut bytes) = (first, 0_u64);
        while let Some(found) = candidate.extents.get(end) {
            let extent = &found.1;
            let follows = end == first
                || candidate.extents.get(end - 1).is_some_and(|(_, before)| {
                    before.end_offset == extent.base_offset
                        && bytes + extent.bytes <= self.bytes_max
                });
            if !self.is_small_l0(candidate, found)
                || extent.end_offset > bound
                || extent.end_offset <= candidate.log_start_offset
                || !follows
            {
                break;
            }
            bytes += extent.bytes;
            end += 1;
        }
        first..end
    }

    fn is_due(&self, candidate: &Candidate<'_>, row: Range<usize>) -> bool {
        let full = row.len() >= self.extents_min.max(2);
        let inputs = candidate.extents.get(row).unwrap_or_default();
        full || inputs.iter().any(|(object, _)| candidate.wasteful.contains(&object.id))
    }

    /// The plan of a row, with the small L1 objects before it.
    fn with_small_l1(
        &self,
        extents: &[(Arc<ObjectRef>, Extent)],
        row: Range<usize>,
    ) -> Option<Plan> {
        let mut start = row.start;
        let mut bytes: u64 = extents.get(row.clone())?.iter().map(|(_, e)| e.bytes).sum();
        while let Some((object, extent)) = before(extents, start) {
            if object.level != ObjectLevel::L1
                || extent.bytes > 2 * bytes
                || bytes + extent.bytes > self.bytes_max
            {
                break;
            }
            bytes += extent.bytes;
            start -= 1;
        }
        let older = extents.get(..row.start)?;
        let last_l1 = older.iter().rposition(|(object, _)| object.level == ObjectLevel::L1);
        Some(Plan {
            inputs: extents.get(start..row.end)?.to_vec(),
            producers: older.get(last_l1.unwrap_or(0)..)?.to_vec(),
        })
    }
}

/// The extent before `at`, if it ends where that one starts.
fn before(extents: &[(Arc<ObjectRef>, Extent)], at: usize) -> Option<&(Arc<ObjectRef>, Extent)> {
    let base_offset = extents.get(at)?.1.base_offset;
    let found = extents.get(at.checked_sub(1)?)?;
    (found.1.end_offset == base_offset).then_some(found)
}

#[cfg(test)]
mod tests {
    use common::{PartitionKey, TopicId};
    use uuid::Uuid;

    use super::*;

    /// Extents of these levels and sizes (MiB), ten offsets each.
    fn extents(sizes: &[(ObjectLevel, u64)]) -> Vec<(Arc<ObjectRef>, Extent)> {
        let row = |(at, (level, mib)): (usize, &(ObjectLevel, u64))| {
            let base_offset = at as i64 * 10;
            let object = ObjectRef {
                id: ObjectId(Uuid::from_u128(at as u128)),
                key: String::new(),
                level: *level,
                size: 64 << 20,
                footer_position: 64 << 20,
                origin: None,
            };
            let extent = Extent {
                key: PartitionKey { topic_id: TopicId(Uuid::nil()), partition: 0 },
                leader_epoch: 0,
                base_offset,
                end_offset: base_offset + 10,
                bytes: mib << 20,
                first_position: 0,
                min_timestamp: 0,
                max_timestamp: 0,
            };
            (Arc::new(object), extent)
        };
        sizes.iter().enumerate().map(row).collect()
    }

    fn planned(
        extents: &[(Arc<ObjectRef>, Extent)],
        log_start_offset: i64,
        last_stable_offset: i64,
        wasteful: &[usize],
    ) -> Option<(i64, i64)> {
        let wasteful = wasteful.iter().map(|at| extents[*at].0.id).collect();
        let candidate =
            Candidate { extents, log_start_offset, last_stable_offset, wasteful: &wasteful };
        let plan = CompactionPolicy::default().plan(&candidate)?;
        Some((plan.base_offset(), plan.end_offset()))
    }

    use ObjectLevel::{L0, L1};

    #[test]
    fn sixteen_small_extents_below_the_last_stable_offset_are_due() {
        let sixteen = extents(&[(L0, 1); 16]);
        assert_eq!(planned(&sixteen, 0, 160, &[]), Some((0, 160)));
        assert_eq!(planned(&sixteen, 0, 159, &[]), None);
        assert_eq!(planned(&sixteen[..15], 0, 160, &[]), None);
        assert_eq!(planned(&sixteen, 10, 160, &[]), None);
        assert_eq!(planned(&extents(&[(L0, 1); 20]), 10, 160, &[]), None);
        assert_eq!(planned(&extents(&[(L0, 1); 20]), 10, 200, &[]), Some((10, 200)));
    }

    #[test]
    fn an_open_transaction_pins_a_bounded_number_of_extents() {
        assert_eq!(planned(&extents(&[(L0, 1); 64]), 0, 0, &[]), None);
        assert_eq!(planned(&extents(&[(L0, 1); 65]), 0, 0, &[]), Some((0, 650)));
        assert_eq!(planned(&extents(&[(L0, 1); 65]), 0, 10, &[]), None);
        // What is good as it is pins nothing, and what is below goes first.
        assert_eq!(planned(&extents(&[(L0, 60); 80]), 0, 0, &[]), None);
        assert_eq!(planned(&extents(&[(L0, 1); 90]), 0, 200, &[]), Some((0, 200)));
    }

    #[test]
    fn large_extents_stay_as_they_are_and_do_not_hold_up_small_ones() {
        let mut sizes = vec![(L0, 60); 20];
        assert_eq!(planned(&extents(&sizes), 0, 10_000, &[]), None);
        sizes.extend([(L0, 1); 16]);
        assert_eq!(planned(&extents(&sizes), 0, 10_000, &[]), Some((200, 360)));
    }

    #[test]
    fn an_output_is_bounded() {
        assert_eq!(planned(&extents(&[(L0, 10); 60]), 0, 10_000, &[]), Some((0, 250)));
    }

    #[test]
    fn small_l1_objects_before_are_merged_along_and_large_ones_are_not() {
        let mut sizes = vec![(L1, 200), (L1, 20), (L1, 10)];
        sizes.extend([(L0, 1); 16]);
        assert_eq!(planned(&extents(&sizes), 0, 10_000, &[]), Some((10, 190)));
        sizes[2].1 = 40;
        assert_eq!(planned(&extents(&sizes), 0, 10_000, &[]), Some((30, 190)));
    }

    #[test]
    fn what_is_left_of_a_wasteful_object_is_moved_out() {
        let extents = extents(&[(L0, 60), (L0, 1), (L0, 60)]);
        assert_eq!(planned(&extents, 0, 100, &[1]), Some((10, 20)));
        assert_eq!(planned(&extents, 0, 100, &[0]), Some((0, 20)));
        let wasteful = CompactionPolicy::default().wasteful(&extents);
        assert_eq!(wasteful, BTreeSet::from([extents[1].0.id]));
    }
}

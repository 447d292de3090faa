//! The compare-and-swap on extents: pure decisions over what was read (design D4).
//!
//! Invariant LOG-5 rests on them: the extents of a partition cover `[log_start, committed_end)`
//! without gap or overlap.

use std::collections::BTreeMap;

use common::PartitionKey;

use crate::{
    error::{Error, Result},
    model::{Extent, ObjectRow, ObjectState},
    request::{ExtentOutcome, L1Commit},
    rows::Position,
};

/// What an L0 commit comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct L0Plan {
    /// One per requested extent, in the order of the request.
    pub(crate) outcomes: Vec<ExtentOutcome>,
    /// The extents that are accepted, in the order of the store.
    pub(crate) accepted: Vec<Extent>,
    /// The committed end offsets that they lead to.
    pub(crate) ends: BTreeMap<PartitionKey, i64>,
}

/// Decides each extent on its own: its epoch must be current, and it must begin where the
/// partition's committed extents end.
pub(crate) fn plan_l0(
    extents: &[Extent],
    mut positions: BTreeMap<PartitionKey, Position>,
) -> L0Plan {
    let mut plan = L0Plan { outcomes: Vec::new(), accepted: Vec::new(), ends: BTreeMap::default() };
    for extent in extents {
        let outcome = judge(extent, positions.get(&extent.key));
        if outcome.is_committed() {
            plan.accepted.push(*extent);
            plan.ends.insert(extent.key, extent.end_offset);
            let moved = |position: &mut Position| position.committed_end_offset = extent.end_offset;
            positions.entry(extent.key).and_modify(moved);
        }
        plan.outcomes.push(outcome);
    }
    sort(&mut plan.accepted);
    plan
}

/// The outcomes of a commit that has already happened, for a caller that did not learn them:
/// what the object holds was committed; nothing else is, whatever would be accepted today.
pub(crate) fn recall_l0(
    extents: &[Extent],
    stored: &[Extent],
    positions: &BTreeMap<PartitionKey, Position>,
) -> Vec<ExtentOutcome> {
    let recall = |extent: &Extent| {
        if stored.contains(extent) {
            return ExtentOutcome::Committed;
        }
        let position = positions.get(&extent.key);
        match (judge(extent, position), position) {
            (ExtentOutcome::Committed, Some(position)) => {
                ExtentOutcome::OffsetMismatch { expected: position.committed_end_offset }
            }
            (outcome, _) => outcome,
        }
    };
    extents.iter().map(recall).collect()
}

fn judge(extent: &Extent, position: Option<&Position>) -> ExtentOutcome {
    match position {
        None => ExtentOutcome::UnknownPartition,
        Some(at) if at.leader_epoch != extent.leader_epoch => {
            ExtentOutcome::StaleEpoch { current: at.leader_epoch }
        }
        Some(at) if at.committed_end_offset != extent.base_offset => {
            ExtentOutcome::OffsetMismatch { expected: at.committed_end_offset }
        }
        Some(_) => ExtentOutcome::Committed,
    }
}

/// Fails where an extent is empty or negative: such a thing is never written.
pub(crate) fn validate(extent: &Extent) -> Result<()> {
    if extent.base_offset < 0 || extent.end_offset <= extent.base_offset {
        return Err(Error::InvalidRequest(format!(
            "extent {}..{} of partition {}",
            extent.base_offset, extent.end_offset, extent.key
        )));
    }
    Ok(())
}

/// Fails where a compaction's inputs or outputs are not contiguous, or do not cover the same
/// offsets from the log start offset on.
pub(crate) fn validate_l1(commit: &L1Commit, log_start_offset: i64) -> Result<()> {
    let invalid = |what: &str| {
        Err(Error::InvalidRequest(format!("compaction of partition {}: {what}", commit.key)))
    };
    let input_ranges = commit.inputs.iter().map(|input| (input.base_offset, input.end_offset));
    let Some((base_offset, end_offset)) = contiguous(input_ranges) else {
        return invalid("its inputs are empty or not contiguous");
    };
    for output in &commit.outputs {
        validate(&output.extent)?;
        if output.extent.key != commit.key || output.extent.leader_epoch != commit.leader_epoch {
            return invalid("an output is of another partition or leader epoch");
        }
    }
    if commit.outputs.is_empty() {
        let gone = end_offset <= log_start_offset;
        return if gone { Ok(()) } else { invalid("it has no output") };
    }
    let output_ranges =
        commit.outputs.iter().map(|output| (output.extent.base_offset, output.extent.end_offset));
    let Some((output_base, output_end)) = contiguous(output_ranges) else {
        return invalid("its outputs are not contiguous");
    };
    let covers = output_base >= base_offset
        && output_base <= base_offset.max(log_start_offset)
        && output_end == end_offset;
    if covers { Ok(()) } else { invalid("its outputs do not cover its inputs") }
}

/// The whole range of ascending ranges that touch each other; `None` where they do not.
fn contiguous(ranges: impl Iterator<Item = (i64, i64)>) -> Option<(i64, i64)> {
    let mut whole: Option<(i64, i64)> = None;
    for (base, end) in ranges {
        let start = match whole {
            Some((start, previous_end)) if previous_end == base => start,
            Some(_) => return None,
            None => base,
        };
        whole = Some((start, end));
    }
    whole
}

/// Drops extents from an object; without any it is dead. Returns whether it changed.
pub(crate) fn remove(row: &mut ObjectRow, goes: impl Fn(&Extent) -> bool) -> bool {
    let before = row.extents.len();
    row.extents.retain(|extent| !goes(extent));
    if row.extents.is_empty() {
        row.state = ObjectState::Dead;
    }
    row.extents.len() != before
}

/// The order of extents in the store: by partition, then by offset.
pub(crate) fn sort(extents: &mut [Extent]) {
    extents.sort_by_key(|extent| (extent.key, extent.base_offset));
}

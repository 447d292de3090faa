//! All members subscribe to the same topics: everybody keeps what it has up to its quota, and what
//! is left fills those below theirs.

use std::collections::{BTreeMap, BTreeSet};

use common::TopicId;

use super::super::{AssignorError, GroupSpec, MemberSpec, Partitions};

pub(in super::super) fn assign(
    spec: &GroupSpec,
) -> Result<BTreeMap<String, Partitions>, AssignorError> {
    let Some(topics) = spec.members.values().next().map(|member| &*member.topics) else {
        return Ok(BTreeMap::new());
    };
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }

    let mut total = 0;
    for topic in topics {
        total += count(spec.partitions(*topic)?);
    }
    let mut quotas = Quotas::new(total, spec.members.len());
    let mut unassigned = unassigned(spec, topics.iter().copied())?;
    let mut target = BTreeMap::new();
    let mut unfilled = Vec::new();
    for (member_id, member) in &spec.members {
        let (kept, room) = keep(spec, member, topics, &mut quotas, &mut unassigned);
        if room > 0 {
            unfilled.push((member_id, room));
        }
        target.insert(member_id.clone(), kept);
    }

    let mut next = unassigned.into_iter();
    for (member_id, room) in unfilled {
        let assignment: &mut Partitions = target.entry(member_id.clone()).or_default();
        for (topic, partition) in next.by_ref().take(room) {
            assignment.entry(topic).or_default().insert(partition);
        }
    }
    if next.next().is_some() {
        return Err(AssignorError::Unassigned);
    }
    Ok(target)
}

fn count(partitions: i32) -> usize {
    usize::try_from(partitions).unwrap_or(0)
}

fn unassigned(
    spec: &GroupSpec,
    topics: impl Iterator<Item = TopicId>,
) -> Result<Vec<(TopicId, i32)>, AssignorError> {
    let mut owned: BTreeMap<TopicId, Vec<bool>> = BTreeMap::new();
    for topic in topics {
        owned.insert(topic, vec![false; count(spec.partitions(topic)?)]);
    }
    for member in spec.members.values() {
        for (topic, partitions) in member.assigned.iter() {
            let Some(flags) = owned.get_mut(topic) else { continue };
            for partition in partitions {
                let index = usize::try_from(*partition).unwrap_or(usize::MAX);
                if let Some(flag) = flags.get_mut(index) {
                    *flag = true;
                }
            }
        }
    }
    let free = owned.into_iter().flat_map(|(topic, flags)| {
        (0..).zip(flags).filter(|(_, taken)| !taken).map(move |(partition, _)| (topic, partition))
    });
    Ok(free.collect())
}

/// How many partitions a member gets: the minimum, and one more for so many of them.
struct Quotas {
    minimum: usize,
    extra: usize,
    members_left: usize,
}

impl Quotas {
    fn new(partitions: usize, members: usize) -> Self {
        Self { minimum: partitions / members, extra: partitions % members, members_left: members }
    }
}

/// What a member keeps, and how much more it takes. What exceeds its quota is unassigned.
fn keep(
    spec: &GroupSpec,
    member: &MemberSpec,
    topics: &BTreeSet<TopicId>,
    quotas: &mut Quotas,
    unassigned: &mut Vec<(TopicId, i32)>,
) -> (Partitions, usize) {
    let mut has_extra = quotas.extra > 0;
    let mut room = quotas.minimum + usize::from(has_extra);
    let mut kept = Partitions::new();
    for (topic, partitions) in member.assigned.iter() {
        if !topics.contains(topic) {
            continue;
        }
        let exist = 0..spec.partition_counts.get(topic).copied().unwrap_or(0);
        for partition in partitions.iter().filter(|partition| exist.contains(partition)) {
            if room > 0 {
                room -= 1;
                kept.entry(*topic).or_default().insert(*partition);
            } else {
                unassigned.push((*topic, *partition));
            }
        }
    }
    // An extra partition that this member would have to be given is left to a member that may
    // have it already, unless all who are left must take one.
    if room > 0 && has_extra && quotas.members_left > quotas.extra {
        room -= 1;
        has_extra = false;
    }
    if has_extra {
        quotas.extra -= 1;
    }
    quotas.members_left -= 1;
    (kept, room)
}

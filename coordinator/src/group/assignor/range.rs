//! The range assignor: members in one fixed order, static members first, each taking the next
//! range of every topic it subscribes to. The order makes it sticky, and topics with as many
//! partitions and the same subscribers co-partitioned.

use std::collections::BTreeMap;

use common::TopicId;

use super::{AssignorError, GroupSpec, MemberSpec, Partitions};

/// What is left of a topic.
struct Ranges {
    partitions: i32,
    quota: i32,
    extra: i32,
    next: i32,
}

impl Ranges {
    fn new(partitions: i32, subscribers: i32) -> Self {
        let subscribers = subscribers.max(1);
        Self {
            partitions,
            quota: partitions / subscribers,
            extra: partitions % subscribers,
            next: 0,
        }
    }

    fn take(&mut self) -> std::ops::Range<i32> {
        let mut quota = self.quota;
        if self.extra > 0 {
            self.extra -= 1;
            quota += 1;
        }
        let start = self.next;
        self.next = (start + quota).min(self.partitions);
        start..self.next
    }
}

pub(super) fn assign(spec: &GroupSpec) -> Result<BTreeMap<String, Partitions>, AssignorError> {
    let mut subscribers: BTreeMap<TopicId, i32> = BTreeMap::new();
    for member in spec.members.values() {
        for topic in member.topics.iter() {
            *subscribers.entry(*topic).or_default() += 1;
        }
    }
    let mut topics = BTreeMap::new();
    for (topic, count) in subscribers {
        topics.insert(topic, Ranges::new(spec.partitions(topic)?, count));
    }

    let mut target = BTreeMap::new();
    for (member_id, member) in ordered(spec) {
        let mut assignment = Partitions::new();
        for topic in member.topics.iter() {
            let range = topics.get_mut(topic).ok_or(AssignorError::UnknownTopic(*topic))?.take();
            if !range.is_empty() {
                assignment.insert(*topic, range.collect());
            }
        }
        target.insert(member_id.clone(), assignment);
    }
    Ok(target)
}

/// Static members by instance id, which outlives their member id, then the others by member id.
fn ordered(spec: &GroupSpec) -> Vec<(&String, &MemberSpec)> {
    let mut members: Vec<_> = spec.members.iter().collect();
    members.sort_by_key(|(member_id, member)| {
        (member.instance_id.is_none(), member.instance_id.as_ref(), *member_id)
    });
    members
}

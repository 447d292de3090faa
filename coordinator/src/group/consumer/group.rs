//! A consumer group: its members, its target, and the books that operations look things up in, all
//! of them a function of the records, so that nothing is scanned at a heartbeat.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::TopicId;
use tracing::error;

use super::{
    super::assignor::{Partitions, SubscriptionType},
    member::{ConsumerMember, Owned},
    subscription::{SubscribedTopics, count_names, count_one, count_regex, subscription_type},
};

/// The group epoch and the assignment epoch before the first change.
const FIRST_EPOCH: i32 = 1;
/// The assignment epoch of a group whose target was deleted.
pub(crate) const NO_ASSIGNMENT_EPOCH: i32 = -1;

/// The topics that a regular expression matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResolvedRegex {
    pub(crate) topics: BTreeSet<String>,
    /// The version of the topic image that it was resolved against.
    pub(crate) version: i64,
    pub(crate) timestamp_ms: i64,
}

/// A consumer group.
#[derive(Debug, Clone)]
pub struct ConsumerGroup {
    pub(crate) group_id: String,
    pub(crate) epoch: i32,
    pub(crate) metadata_hash: i64,
    pub(crate) assignment_epoch: i32,
    /// When the target was computed, Unix milliseconds; 0 where nobody knows.
    pub(crate) assignment_timestamp_ms: i64,
    /// Written by Kafka before 4.1; deleted at the next occasion.
    pub(crate) has_partition_metadata: bool,
    members: BTreeMap<String, ConsumerMember>,
    target: BTreeMap<String, Arc<Partitions>>,
    resolved: BTreeMap<String, ResolvedRegex>,
    /// Instance id to member id.
    static_members: BTreeMap<String, String>,
    server_assignors: BTreeMap<String, usize>,
    topics: SubscribedTopics,
    /// Regular expressions by number of members.
    regexes: BTreeMap<String, usize>,
    /// Members that speak the classic protocol, and how many of them support each protocol.
    classic_members: usize,
    classic_protocols: BTreeMap<String, usize>,
    /// Who holds each partition: assigned to it, or not yet given up by it.
    holders: BTreeMap<TopicId, BTreeMap<i32, String>>,
    /// Soft: the image version that the metadata hash was last computed from.
    pub(crate) hashed_version: Option<u64>,
    /// Soft: the image version that the regular expressions were last resolved against.
    pub(crate) resolved_version: Option<u64>,
}

impl ConsumerGroup {
    pub(crate) fn new(group_id: &str) -> Self {
        Self {
            group_id: group_id.to_owned(),
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            assignment_epoch: FIRST_EPOCH,
            assignment_timestamp_ms: 0,
            has_partition_metadata: false,
            members: BTreeMap::new(),
            target: BTreeMap::new(),
            resolved: BTreeMap::new(),
            static_members: BTreeMap::new(),
            server_assignors: BTreeMap::new(),
            topics: SubscribedTopics::new(),
            regexes: BTreeMap::new(),
            classic_members: 0,
            classic_protocols: BTreeMap::new(),
            holders: BTreeMap::new(),
            hashed_version: None,
            resolved_version: None,
        }
    }

    pub(crate) fn members(&self) -> &BTreeMap<String, ConsumerMember> {
        &self.members
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&ConsumerMember> {
        self.members.get(member_id)
    }

    pub(crate) fn static_member_id(&self, instance_id: &str) -> Option<&str> {
        self.static_members.get(instance_id).map(String::as_str)
    }

    pub(crate) fn static_member(&self, instance_id: &str) -> Option<&ConsumerMember> {
        self.member(self.static_member_id(instance_id)?)
    }

    pub(crate) fn classic_members(&self) -> usize {
        self.classic_members
    }

    pub(crate) fn topics(&self) -> &SubscribedTopics {
        &self.topics
    }

    /// Regular expressions by number of members.
    pub(crate) fn regexes(&self) -> &BTreeMap<String, usize> {
        &self.regexes
    }

    pub(crate) fn resolved(&self) -> &BTreeMap<String, ResolvedRegex> {
        &self.resolved
    }

    pub(crate) fn targets(&self) -> &BTreeMap<String, Arc<Partitions>> {
        &self.target
    }

    /// What a member is to own. A static member under a new id has what it had under the old one.
    pub(crate) fn target_of(&self, member_id: &str, instance_id: Option<&str>) -> Arc<Partitions> {
        let target_id = match instance_id {
            None => Some(member_id),
            Some(instance_id) => self.static_member_id(instance_id),
        };
        target_id.and_then(|id| self.target.get(id)).cloned().unwrap_or_default()
    }

    /// Whether a member holds the partition.
    pub(crate) fn is_held(&self, topic: TopicId, partition: i32) -> bool {
        self.holder(topic, partition).is_some()
    }

    pub(crate) fn holder(&self, topic: TopicId, partition: i32) -> Option<&str> {
        self.holders.get(&topic)?.get(&partition).map(String::as_str)
    }

    pub(crate) fn subscription_type(&self) -> SubscriptionType {
        subscription_type(&self.regexes, &self.topics, self.members.len())
    }

    /// The assignor that most members ask for, as it would be after a change of one of them.
    pub(crate) fn preferred_assignor(
        &self,
        old: Option<&ConsumerMember>,
        new: Option<&ConsumerMember>,
    ) -> Option<String> {
        let mut counts = self.server_assignors.clone();
        count_assignor(&mut counts, old, false);
        count_assignor(&mut counts, new, true);
        let mut preferred: Option<(String, usize)> = None;
        for (name, count) in counts {
            if preferred.as_ref().is_none_or(|(_, most)| count > *most) {
                preferred = Some((name, count));
            }
        }
        preferred.map(|(name, _)| name)
    }

    /// Whether a member of the classic protocol with these protocols fits in: one of them is
    /// supported by all members of that protocol.
    pub(crate) fn supports_classic_protocols<'a>(
        &self,
        mut protocols: impl Iterator<Item = &'a str>,
    ) -> bool {
        if self.members.is_empty() {
            return protocols.next().is_some();
        }
        protocols.any(|name| {
            self.classic_protocols.get(name).copied().unwrap_or(0) == self.classic_members
        })
    }

    /// Adds or replaces a member.
    pub(crate) fn update_member(&mut self, member: ConsumerMember) {
        if let Some(old) = self.members.remove(&member.member_id) {
            self.count_member(&old, false);
            self.let_go(&old.member_id, &old.assigned);
            self.let_go(&old.member_id, &old.pending_revocation);
        }
        self.count_member(&member, true);
        self.hold(&member.member_id, &member.assigned);
        self.hold(&member.member_id, &member.pending_revocation);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.member_id.clone());
        }
        self.members.insert(member.member_id.clone(), member);
    }

    /// Forgets a member.
    pub(crate) fn remove_member(&mut self, member_id: &str) {
        let Some(old) = self.members.remove(member_id) else { return };
        self.count_member(&old, false);
        self.let_go(member_id, &old.assigned);
        self.let_go(member_id, &old.pending_revocation);
        if let Some(instance_id) = &old.instance_id
            && self.static_member_id(instance_id) == Some(member_id)
        {
            self.static_members.remove(instance_id);
        }
    }

    pub(crate) fn update_target(&mut self, member_id: &str, target: Partitions) {
        self.target.insert(member_id.to_owned(), Arc::new(target));
    }

    pub(crate) fn remove_target(&mut self, member_id: &str) {
        self.target.remove(member_id);
    }

    pub(crate) fn update_resolved(&mut self, regex: &str, resolved: ResolvedRegex) {
        self.remove_resolved(regex);
        count_regex(&mut self.topics, resolved.topics.iter(), true);
        self.resolved.insert(regex.to_owned(), resolved);
    }

    pub(crate) fn remove_resolved(&mut self, regex: &str) {
        if let Some(old) = self.resolved.remove(regex) {
            count_regex(&mut self.topics, old.topics.iter(), false);
        }
    }

    fn count_member(&mut self, member: &ConsumerMember, add: bool) {
        count_names(&mut self.topics, member.topic_names.iter(), add);
        count_assignor(&mut self.server_assignors, Some(member), add);
        if let Some(regex) = member.regex() {
            count_one(&mut self.regexes, regex, add);
        }
        if let Some(classic) = &member.classic {
            self.classic_members =
                if add { self.classic_members + 1 } else { self.classic_members.saturating_sub(1) };
            for protocol in &classic.supported_protocols {
                count_one(&mut self.classic_protocols, &protocol.name, add);
            }
        }
    }

    fn hold(&mut self, member_id: &str, partitions: &Owned) {
        for (topic, of) in partitions {
            let holders = self.holders.entry(*topic).or_default();
            for partition in of.keys() {
                let former = holders.insert(*partition, member_id.to_owned());
                if let Some(former) = former.filter(|former| former != member_id) {
                    // GRP-1. A log that says so was written by somebody else, or lost records.
                    error!(
                        group = %self.group_id, %topic, partition, %member_id, %former,
                        "a partition is assigned to two members at once"
                    );
                }
            }
        }
    }

    fn let_go(&mut self, member_id: &str, partitions: &Owned) {
        for (topic, of) in partitions {
            let Some(holders) = self.holders.get_mut(topic) else { continue };
            for partition in of.keys() {
                if holders.get(partition).is_some_and(|holder| holder == member_id) {
                    holders.remove(partition);
                }
            }
            if holders.is_empty() {
                self.holders.remove(topic);
            }
        }
    }
}

fn count_assignor(
    counts: &mut BTreeMap<String, usize>,
    member: Option<&ConsumerMember>,
    add: bool,
) {
    if let Some(name) = member.and_then(|member| member.server_assignor.as_deref()) {
        count_one(counts, name, add);
    }
}

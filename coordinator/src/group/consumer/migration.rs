//! From one protocol to the other with members at work: a classic group of consumers becomes a
//! consumer group when a member of the new protocol joins, and a classic group again when the last
//! one leaves. Empty groups change their kind without further ado.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{
    ErrorCode,
    coordinator_records::{
        consumer_group_member_metadata::{ClassicMemberMetadata, ClassicProtocol},
        consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition},
        decode_assignment, decode_subscription, encode_assignment,
    },
};
use tracing::{info, warn};

use super::{
    group::ConsumerGroup,
    member::{ConsumerMember, MemberState, Owned},
    metadata_hash::group_hash,
    records::RecordsOf,
    timers::{ConsumerTimer, set_member_timer},
};
use crate::{
    group::{
        Group, GroupContext, GroupError, GroupRecord, GroupShard,
        assignor::Partitions,
        classic::{ClassicGroup, MemberDetails, Protocol, Turn},
    },
    topics::TopicImage,
};

/// The newest version of the embedded protocol's assignment.
const ASSIGNMENT_VERSION_MAX: i16 = 3;

/// The group that a heartbeat is about.
pub(crate) enum Entry {
    /// It is there.
    Present,
    /// It is not, or is an empty classic group.
    New(Box<ConsumerGroup>),
    /// It is made of a classic group with members.
    Upgraded(Box<ConsumerGroup>),
}

impl GroupShard {
    /// Finds the group, or makes it for a member that joins; the records are those that turn the
    /// classic group that it was into what it is.
    pub(crate) fn enter_consumer_group(
        &self,
        group_id: &str,
        joins: bool,
        topics: &dyn TopicImage,
        records: &mut Vec<GroupRecord>,
    ) -> Result<Entry, GroupError> {
        let classic = match self.groups.get(group_id) {
            Some(Group::Consumer(_)) => return Ok(Entry::Present),
            Some(Group::Classic(classic)) if joins => classic,
            None if joins => return Ok(Entry::New(Box::new(ConsumerGroup::new(group_id)))),
            _ => return self.consumer_group(group_id).map(|_| Entry::Present),
        };
        classic.tombstones(group_id, records);
        if classic.is_empty() {
            info!(group = %group_id, "an empty classic group becomes a consumer group");
            return Ok(Entry::New(Box::new(ConsumerGroup::new(group_id))));
        }
        self.check_upgrade(group_id, classic)?;
        let group = from_classic(group_id, classic, topics)?;
        group.create(records);
        info!(group = %group_id, members = group.member_count(), "upgraded to a consumer group");
        Ok(Entry::Upgraded(Box::new(group)))
    }

    /// The group itself.
    pub(crate) fn entered<'a>(
        &'a self,
        entry: &'a Entry,
        group_id: &str,
    ) -> Result<&'a ConsumerGroup, GroupError> {
        match entry {
            Entry::Present => self.consumer_group(group_id),
            Entry::New(group) | Entry::Upgraded(group) => Ok(group),
        }
    }

    /// The heartbeat is accepted: what waits in the classic group is sent to join anew, and its
    /// members' sessions go on in the consumer group.
    pub(crate) fn complete_entry(
        &mut self,
        entry: Entry,
        group_id: &str,
        context: &mut GroupContext<'_>,
    ) {
        let upgraded = match entry {
            Entry::Present => return,
            Entry::New(_) => None,
            Entry::Upgraded(group) => Some(group),
        };
        let mut turn = Turn::new(context, &self.config);
        if let Some(Group::Classic(classic)) = self.groups.get_mut(group_id) {
            classic.refuse_waiting(&mut turn, ErrorCode::RebalanceInProgress);
            classic.cancel_timers(group_id, turn.context);
        }
        for member in upgraded.iter().flat_map(|group| group.members().values()) {
            let timeout_ms = member.classic_session_timeout_ms().unwrap_or(0);
            let of = (group_id, member.member_id.as_str());
            set_member_timer(context, ConsumerTimer::Session, of, timeout_ms);
        }
    }

    fn check_upgrade(&self, group_id: &str, classic: &ClassicGroup) -> Result<(), GroupError> {
        let reason = if !self.config.consumer_migration_policy.allows_upgrade() {
            "online upgrade is disabled"
        } else if !classic.uses_consumer_protocol() {
            "the group does not use the consumer embedded protocol"
        } else if classic.member_count() > self.config.consumer_group_size_max {
            "the group size exceeds the consumer group maximum size"
        } else {
            return Ok(());
        };
        Err(cannot_upgrade(group_id, reason))
    }

    /// Whether the group without these members has classic members only and may be one of theirs.
    pub(crate) fn downgrades_without(&self, group: &ConsumerGroup, leaving: &[String]) -> bool {
        let classic_leaving = leaving
            .iter()
            .filter_map(|member_id| group.member(member_id))
            .filter(|member| member.uses_classic_protocol())
            .count();
        let remaining = group.member_count().saturating_sub(leaving.len());
        remaining > 0
            && group.classic_members().saturating_sub(classic_leaving) == remaining
            && self.may_downgrade(group, remaining)
    }

    /// Whether the group has classic members only, once this static member has taken the place of
    /// the one that it succeeds, and may be one of theirs.
    pub(crate) fn downgrades_with_successor(
        &self,
        group: &ConsumerGroup,
        existing: &ConsumerMember,
    ) -> bool {
        let members = group.member_count();
        !existing.uses_classic_protocol()
            && group.classic_members() + 1 == members
            && self.may_downgrade(group, members)
    }

    fn may_downgrade(&self, group: &ConsumerGroup, members: usize) -> bool {
        let reason = if !self.config.consumer_migration_policy.allows_downgrade() {
            "online downgrade is disabled"
        } else if members > self.config.classic_group_size_max {
            "the group is larger than group.max.size"
        } else {
            return true;
        };
        info!(group = %group.group_id, reason, "the consumer group is not downgraded");
        false
    }

    /// The last members of the consumer protocol go, and the others rebalance as a classic group.
    pub(crate) fn downgrade_without(
        &mut self,
        context: &mut GroupContext<'_>,
        group_id: &str,
        leaving: &[String],
    ) -> Result<Vec<GroupRecord>, GroupError> {
        let topics = self.topics();
        let group = self.consumer_group(group_id)?;
        let staying = group.members().values().filter(|of| !leaving.contains(&of.member_id));
        let members: Vec<_> = staying.map(|member| (member, member.member_id.as_str())).collect();
        let classic = to_classic(group, &members, topics.as_ref(), context.now_ms)?;
        let mut records = Vec::new();
        group.tombstones(group_id, &mut records);
        let reason = "downgraded because the last member of the consumer protocol left";
        records.extend(self.become_classic(context, classic, Some(reason)));
        Ok(records)
    }

    /// A static member of the classic protocol takes the place of the last member of the consumer
    /// protocol. The group rebalances only if its assignment is not up to date.
    pub(crate) fn downgrade_with_successor(
        &mut self,
        context: &mut GroupContext<'_>,
        group_id: &str,
        (existing_id, successor): (&str, &ConsumerMember),
        rebalance: bool,
    ) -> Result<Vec<GroupRecord>, GroupError> {
        let topics = self.topics();
        let group = self.consumer_group(group_id)?;
        let others = group.members().values().filter(|of| of.member_id != existing_id);
        let mut members: Vec<_> = others.map(|of| (of, of.member_id.as_str())).collect();
        members.push((successor, existing_id));
        let classic = to_classic(group, &members, topics.as_ref(), context.now_ms)?;
        let mut records = Vec::new();
        group.tombstones(group_id, &mut records);
        let reason = rebalance.then_some("downgraded with a stale assignment");
        records.extend(self.become_classic(context, classic, reason));
        Ok(records)
    }

    /// Puts the classic group in the consumer group's place.
    fn become_classic(
        &mut self,
        context: &mut GroupContext<'_>,
        mut classic: ClassicGroup,
        rebalance: Option<&str>,
    ) -> Vec<GroupRecord> {
        let group_id = classic.group_id().to_owned();
        let config = Arc::clone(&self.config);
        let mut turn = Turn::new(context, &config);
        turn.records.push(classic.record());
        if let Some(former) = self.groups.get(&group_id) {
            former.cancel_timers(&group_id, turn.context);
        }
        classic.start_sessions(&mut turn);
        if let Some(reason) = rebalance {
            classic.prepare_rebalance(&mut turn, reason);
        }
        let records = turn.records;
        info!(group = %group_id, members = classic.member_count(), "downgraded to a classic group");
        self.groups.insert(group_id, Group::Classic(classic));
        records
    }
}

impl ConsumerGroup {
    /// The records that make the group, in Kafka's order.
    fn create(&self, records: &mut Vec<GroupRecord>) {
        let of = RecordsOf(&self.group_id);
        records.extend(self.members().values().map(|member| of.member(member)));
        records.push(of.epoch(self.epoch, self.metadata_hash));
        for member_id in self.members().keys() {
            records.push(of.target(member_id, &self.target_of(member_id, None)));
        }
        records.push(of.target_epoch(self.assignment_epoch, self.assignment_timestamp_ms));
        records.extend(self.members().values().map(|member| of.current(member)));
    }
}

fn cannot_upgrade(group_id: &str, reason: &str) -> GroupError {
    warn!(group = %group_id, reason, "the classic group is not upgraded");
    let text =
        format!("Cannot upgrade classic group {group_id} to consumer group because {reason}.");
    GroupError::new(ErrorCode::GroupIdNotFound, text)
}

/// The consumer group that a classic group with members becomes: all of them stable in its
/// generation, with what they were last assigned. The member that joins starts the next rebalance.
fn from_classic(
    group_id: &str,
    classic: &ClassicGroup,
    topics: &dyn TopicImage,
) -> Result<ConsumerGroup, GroupError> {
    let mut group = ConsumerGroup::new(group_id);
    group.epoch = classic.generation_id();
    group.assignment_epoch = classic.generation_id();
    for (member_id, details) in classic.members() {
        let target = assigned_to(group_id, details, topics)?;
        for (topic, partitions) in &target {
            if partitions.iter().any(|partition| group.is_held(*topic, *partition)) {
                return Err(cannot_upgrade(group_id, "a partition is assigned to two members"));
            }
        }
        let member = consumer_member(group_id, classic, (member_id, details), &target)?;
        group.update_target(member_id, target);
        group.update_member(member);
    }
    group.metadata_hash = group_hash(group.topics().keys(), topics);
    Ok(group)
}

fn consumer_member(
    group_id: &str,
    classic: &ClassicGroup,
    (member_id, details): (&str, &MemberDetails),
    target: &Partitions,
) -> Result<ConsumerMember, GroupError> {
    let malformed = || cannot_upgrade(group_id, "the embedded consumer protocol is malformed");
    // Before its first generation a group has settled on no protocol.
    let metadata = match classic.protocol_name() {
        Some(name) => details.metadata(name),
        None => details.protocols.first().map(|protocol| &protocol.metadata),
    };
    let metadata = metadata.ok_or_else(malformed)?;
    let (_, subscription) = decode_subscription(metadata).map_err(|_| malformed())?;
    let epoch = classic.generation_id();
    let owned: Owned = target
        .iter()
        .map(|(topic, of)| (*topic, of.iter().map(|partition| (*partition, epoch)).collect()))
        .collect();
    let mut member = ConsumerMember::new(member_id);
    member.epoch = epoch;
    member.previous_epoch = epoch;
    member.state = MemberState::Stable;
    member.instance_id.clone_from(&details.instance_id);
    member.rack_id = subscription.rack_id.filter(|rack| !rack.is_empty());
    member.rebalance_timeout_ms = details.rebalance_timeout_ms;
    member.client_id.clone_from(&details.client_id);
    member.client_host.clone_from(&details.client_host);
    member.topic_names = Arc::new(subscription.topics.into_iter().collect());
    member.assigned = Arc::new(owned);
    let protocols = details.protocols.iter().map(|protocol| ClassicProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
    });
    member.classic = Some(Arc::new(ClassicMemberMetadata {
        session_timeout_ms: details.session_timeout_ms,
        supported_protocols: protocols.collect(),
    }));
    Ok(member)
}

/// What a classic member was last assigned, by topic id. Data of an assignor of the client's own
/// cannot be kept.
fn assigned_to(
    group_id: &str,
    details: &MemberDetails,
    topics: &dyn TopicImage,
) -> Result<Partitions, GroupError> {
    let mut target = Partitions::new();
    if details.assignment.is_empty() {
        return Ok(target);
    }
    let (_, assignment) = decode_assignment(&details.assignment)
        .map_err(|_| cannot_upgrade(group_id, "the embedded consumer protocol is malformed"))?;
    if assignment.user_data.is_some_and(|data| !data.is_empty()) {
        let why = "an unsupported custom assignor is in use. Please refer to the documentation or \
                   switch to a default assignor before re-attempting the upgrade";
        return Err(cannot_upgrade(group_id, why));
    }
    for of in assignment.assigned_partitions {
        if let Some(topic) = topics.by_name(&of.topic)
            && !of.partitions.is_empty()
        {
            target.insert(topic.id, of.partitions.into_iter().collect());
        }
    }
    Ok(target)
}

/// The classic group that a consumer group with these members becomes: stable in the group's epoch,
/// each with the target of the id behind it.
fn to_classic(
    group: &ConsumerGroup,
    members: &[(&ConsumerMember, &str)],
    topics: &dyn TopicImage,
    now_ms: i64,
) -> Result<ClassicGroup, GroupError> {
    let malformed = || {
        let text = format!("Cannot downgrade the consumer group {}.", group.group_id);
        GroupError::new(ErrorCode::GroupIdNotFound, text)
    };
    let mut details = Vec::with_capacity(members.len());
    for (member, _) in members {
        let classic = member.classic.as_deref().ok_or_else(malformed)?;
        details.push((member.member_id.clone(), member_details(member, classic)));
    }
    let mut classic = ClassicGroup::stable(&group.group_id, group.epoch, details, now_ms);
    for (member, target_id) in members {
        let target = group.target_of(target_id, None);
        let protocol = classic.protocol_name().unwrap_or_default();
        let own = member.classic.iter().flat_map(|classic| &classic.supported_protocols);
        let metadata = own.filter(|own| own.name == protocol).map(|own| &own.metadata).next();
        let assignment = embedded_assignment(&target, metadata, topics).ok_or_else(malformed)?;
        classic.set_assignment(&member.member_id, assignment);
    }
    Ok(classic)
}

fn member_details(member: &ConsumerMember, classic: &ClassicMemberMetadata) -> MemberDetails {
    let protocols = classic.supported_protocols.iter().map(|protocol| Protocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
    });
    MemberDetails {
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocols: protocols.collect(),
        assignment: Bytes::new(),
    }
}

/// Partitions as a classic member understands them, in the version of its own metadata.
pub(crate) fn embedded_assignment(
    target: &Partitions,
    metadata: Option<&Bytes>,
    topics: &dyn TopicImage,
) -> Option<Bytes> {
    let (version, _) = decode_subscription(metadata?).ok()?;
    let assigned = target.iter().filter_map(|(topic, partitions)| {
        Some(TopicPartition {
            topic: topics.by_id(*topic)?.name,
            partitions: partitions.iter().copied().collect(),
        })
    });
    let assignment =
        ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), user_data: None };
    encode_assignment(&assignment, version.clamp(0, ASSIGNMENT_VERSION_MAX)).ok()
}

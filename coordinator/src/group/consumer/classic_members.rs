//! Members of the classic protocol in a consumer group: JoinGroup is their heartbeat with a
//! subscription, SyncGroup gives them what they are assigned, and Heartbeat tells them to join again
//! whenever there is something to give up or to take.

use std::{collections::BTreeSet, sync::Arc};

use common::TopicId;
use protocol::{
    ErrorCode,
    coordinator_records::{
        consumer_group_member_metadata::{ClassicMemberMetadata, ClassicProtocol},
        consumer_protocol_subscription::ConsumerProtocolSubscription,
        decode_subscription,
    },
    messages::{
        heartbeat::HeartbeatRequest,
        join_group::{JoinGroupRequest, JoinGroupResponse},
        leave_group::MemberIdentity,
        sync_group::{SyncGroupRequest, SyncGroupResponse},
    },
};
use tracing::info;

use super::{
    CONSUMER_PROTOCOL_TYPE,
    change::{Change, RegexChange},
    group::ConsumerGroup,
    heartbeat::{
        check_fits, check_size, dynamic_member, joining_static_member, known_static_member,
        unknown_member,
    },
    member::{ConsumerMember, MemberState},
    migration::embedded_assignment,
    reconcile::Reported,
    timers::{ConsumerTimer, cancel_member_timer, set_member_timer, set_member_timer_if_absent},
};
use crate::{
    group::{
        Group, GroupContext, GroupError, GroupOutcome, GroupRecord, GroupShard,
        assignor::Partitions, classic::Join, config::MigrationPolicy,
    },
    topics::TopicImage,
};

/// The first version whose dynamic members ask for an id before they join (KIP-394).
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;

impl GroupShard {
    /// Whether requests of the classic protocol come to a consumer group. An empty one is nobody's:
    /// it may become a classic group.
    pub(crate) fn is_live_consumer_group(&self, group_id: &str) -> bool {
        matches!(self.groups.get(group_id), Some(Group::Consumer(group)) if !group.is_empty())
    }

    /// JoinGroup to a consumer group with members. Nobody waits for the others here: the answer is
    /// ready at once.
    pub(crate) fn consumer_group_join(
        &mut self,
        context: &mut GroupContext<'_>,
        join: Join,
    ) -> GroupOutcome<()> {
        let (records, response) = match self.join_as_classic(context, &join) {
            Ok(joined) => joined,
            // Kafka does not repeat the member's id here.
            Err(error) => {
                let response =
                    JoinGroupResponse { error_code: error.code.code(), ..Default::default() };
                (Vec::new(), response)
            }
        };
        context.answer(join.waiter, response);
        GroupOutcome::write(records, ())
    }

    fn join_as_classic(
        &mut self,
        context: &mut GroupContext<'_>,
        join: &Join,
    ) -> Result<(Vec<GroupRecord>, JoinGroupResponse), GroupError> {
        let request = &join.request;
        let group_id = &request.group_id;
        let settings = self.consumer_settings(group_id);
        let topics = self.topics();
        let group = self.consumer_group(group_id)?;
        if self.config.consumer_migration_policy == MigrationPolicy::Disabled {
            return Err(ErrorCode::InconsistentGroupProtocol.into());
        }
        let unknown = request.member_id.is_empty();
        let member_id =
            if unknown { context.rng.uuid().to_string() } else { request.member_id.clone() };
        check_size(group, &member_id, &settings)?;
        check_protocols(group, request)?;
        let instance_id = request.group_instance_id.as_deref();
        if unknown && instance_id.is_none() && join.version >= MEMBER_ID_REQUIRED_SINCE {
            let response = JoinGroupResponse {
                error_code: ErrorCode::MemberIdRequired.code(),
                member_id,
                ..Default::default()
            };
            return Ok((Vec::new(), response));
        }

        let mut records = Vec::new();
        let existing = instance_id.and_then(|instance_id| group.static_member(instance_id));
        let old = match instance_id {
            None => dynamic_member(group, &member_id, true)?,
            Some(_) if unknown => joining_static_member(group, &member_id, existing, &mut records),
            Some(instance_id) => known_static_member(existing, &member_id, instance_id)?.clone(),
        };
        let downgrade = existing.filter(|existing| self.downgrades_with_successor(group, existing));
        let downgrade = downgrade.map(|existing| existing.member_id.clone());

        let subscription = subscription(request)?;
        let reported = reported(&subscription, topics.as_ref());
        let new = described(&old, join, subscription);
        let mut change = Change {
            group,
            settings: &settings,
            topics: topics.as_ref(),
            now_ms: context.now_ms,
            records,
            hashed: false,
            resolve_regexes: false,
        };
        let names_changed = change.write_member(&old, &new);
        let regex_change = change.update_regexes(&old, &new)?;
        let bump = names_changed || regex_change != RegexChange::None;
        let mut assign = (group.epoch, group.subscription_type());
        if bump || change.metadata_is_stale() {
            assign = change.update_metadata(bump, &old, &new);
        }

        // A group that becomes a classic one with a stale assignment rebalances as such.
        let stale = group.assignment_epoch < assign.0;
        let new = if downgrade.is_none() {
            let target = change.update_target(assign, &old, &new)?;
            change.reconcile(new, &target, bump, Some(&reported))?
        } else if stale {
            new
        } else {
            let target = group.target_of(&new.member_id, new.instance_id.as_deref());
            change.reconcile(new, &(group.assignment_epoch, target), bump, Some(&reported))?
        };
        let Change { mut records, hashed, resolve_regexes, .. } = change;
        check_fits(context, group_id, &records)?;
        let of = (group_id.as_str(), new.member_id.as_str());
        cancel_member_timer(context, ConsumerTimer::Join, of);
        if let Some(existing_id) = downgrade {
            // What the member has become is in the classic group's record alone: its own records
            // would bring a consumer group back over the classic one, and end it again.
            let pair = (existing_id.as_str(), &new);
            records = self.downgrade_with_successor(context, group_id, pair, stale)?;
        } else {
            self.note_hashed(group_id, hashed, topics.version());
            if resolve_regexes {
                self.schedule_regexes(context, group_id);
            }
            let sync_timeout_ms = new.rebalance_timeout_ms;
            set_member_timer(context, ConsumerTimer::Session, of, request.session_timeout_ms);
            set_member_timer(context, ConsumerTimer::Sync, of, sync_timeout_ms);
        }
        info!(group = %group_id, member_id = %new.member_id, epoch = new.epoch, "classic member joins");
        Ok((records, joined(&new)))
    }

    /// SyncGroup to a consumer group.
    pub(crate) fn consumer_group_sync(
        &mut self,
        context: &mut GroupContext<'_>,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let topics = self.topics();
        let group = self.consumer_group(&request.group_id).map_err(|error| error.code)?;
        let instance_id = request.group_instance_id.as_deref();
        let member = classic_member(group, &request.member_id, instance_id)?;
        if member.epoch != request.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let protocol = protocol_name(member);
        let differs =
            |asked: &Option<String>, own: &str| asked.as_ref().is_some_and(|asked| asked != own);
        if differs(&request.protocol_type, CONSUMER_PROTOCOL_TYPE)
            || differs(&request.protocol_name, protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let of = (request.group_id.as_str(), member.member_id.as_str());
        // A member that has joined with something to give up does so first.
        if group.assignment_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions
        {
            set_member_timer_if_absent(
                context,
                ConsumerTimer::Join,
                of,
                member.rebalance_timeout_ms,
            );
            return Err(ErrorCode::RebalanceInProgress);
        }
        let response = SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment: assignment(member, topics.as_ref()).ok_or(ErrorCode::UnknownServerError)?,
            ..Default::default()
        };
        cancel_member_timer(context, ConsumerTimer::Sync, of);
        restart_session(context, &request.group_id, member);
        Ok(response)
    }

    /// Heartbeat to a consumer group.
    pub(crate) fn consumer_group_classic_heartbeat(
        &mut self,
        context: &mut GroupContext<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let group = self.consumer_group(&request.group_id).map_err(|error| error.code)?;
        let instance_id = request.group_instance_id.as_deref();
        let member = classic_member(group, &request.member_id, instance_id)?;
        if member.epoch != request.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        restart_session(context, &request.group_id, member);
        let rejoins = member.epoch < group.assignment_epoch
            || match member.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !group.waits_for_others(member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        if !rejoins {
            return Ok(());
        }
        let of = (request.group_id.as_str(), member.member_id.as_str());
        let timeout_ms = member.rebalance_timeout_ms;
        set_member_timer_if_absent(context, ConsumerTimer::Join, of, timeout_ms);
        Err(ErrorCode::RebalanceInProgress)
    }

    /// LeaveGroup to a consumer group: the records, and what each of those who leave is told.
    pub(crate) fn consumer_group_classic_leave(
        &mut self,
        context: &mut GroupContext<'_>,
        group_id: &str,
        leaving: &[MemberIdentity],
    ) -> (Vec<GroupRecord>, Vec<Result<(), ErrorCode>>) {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else {
            return (Vec::new(), vec![Err(ErrorCode::UnknownMemberId); leaving.len()]);
        };
        let mut valid = BTreeSet::new();
        let mut results = Vec::with_capacity(leaving.len());
        for identity in leaving {
            let member_id = identity.member_id.as_str();
            let found = match identity.group_instance_id.as_deref() {
                None => group.member(member_id).ok_or(ErrorCode::UnknownMemberId),
                // An administrator names the instance only.
                Some(instance_id) if member_id.is_empty() => {
                    group.static_member(instance_id).ok_or(ErrorCode::UnknownMemberId)
                }
                Some(instance_id) => {
                    known_static_member(group.static_member(instance_id), member_id, instance_id)
                        .map_err(|error| error.code)
                }
            };
            results.push(found.map(|member| {
                valid.insert(member.member_id.clone());
            }));
        }
        let valid: Vec<_> = valid.into_iter().collect();
        match self.fence_members(context, group_id, &valid) {
            Ok(records) => (records, results),
            Err(error) => (Vec::new(), vec![Err(error.code); leaving.len()]),
        }
    }
}

impl ConsumerGroup {
    /// Whether all that a member still has to get is in other hands.
    fn waits_for_others(&self, member: &ConsumerMember) -> bool {
        self.target_of(&member.member_id, None).iter().any(|(topic, partitions)| {
            let assigned = member.assigned.get(topic);
            partitions.iter().any(|partition| {
                !assigned.is_some_and(|of| of.contains_key(partition))
                    && self.is_held(*topic, *partition)
            })
        })
    }
}

fn check_protocols(group: &ConsumerGroup, request: &JoinGroupRequest) -> Result<(), GroupError> {
    let names = request.protocols.iter().map(|protocol| protocol.name.as_str());
    if request.protocol_type == CONSUMER_PROTOCOL_TYPE && group.supports_classic_protocols(names) {
        return Ok(());
    }
    Err(ErrorCode::InconsistentGroupProtocol.into())
}

fn subscription(request: &JoinGroupRequest) -> Result<ConsumerProtocolSubscription, GroupError> {
    let malformed = || GroupError::new(ErrorCode::UnknownServerError, "malformed subscription");
    let first = request.protocols.first().ok_or_else(malformed)?;
    decode_subscription(&first.metadata)
        .map(|(_, subscription)| subscription)
        .map_err(|_| malformed())
}

fn reported(subscription: &ConsumerProtocolSubscription, topics: &dyn TopicImage) -> Reported {
    let owned = subscription
        .owned_partitions
        .iter()
        .filter_map(|of| topics.by_name(&of.topic).map(|topic| (topic.id, of.partitions.clone())));
    owned.collect::<Vec<(TopicId, Vec<i32>)>>()
}

/// The member as it describes itself when it joins.
fn described(
    old: &ConsumerMember,
    join: &Join,
    subscription: ConsumerProtocolSubscription,
) -> ConsumerMember {
    let request = &join.request;
    let mut member = old.clone();
    if request.group_instance_id.is_some() {
        member.instance_id.clone_from(&request.group_instance_id);
    }
    if let Some(rack) = subscription.rack_id.filter(|rack| !rack.is_empty()) {
        member.rack_id = Some(rack);
    }
    let rebalance_timeout_ms = join.rebalance_timeout_ms();
    if rebalance_timeout_ms != -1 {
        member.rebalance_timeout_ms = rebalance_timeout_ms;
    }
    member.topic_names = Arc::new(subscription.topics.into_iter().collect());
    member.topic_regex = Some(String::new());
    member.client_id.clone_from(&join.client_id);
    member.client_host.clone_from(&join.client_host);
    let protocols = request.protocols.iter().map(|protocol| ClassicProtocol {
        name: protocol.name.clone(),
        metadata: bytes::Bytes::copy_from_slice(&protocol.metadata),
    });
    member.classic = Some(Arc::new(ClassicMemberMetadata {
        session_timeout_ms: request.session_timeout_ms,
        supported_protocols: protocols.collect(),
    }));
    member
}

/// Nobody leads: the coordinator assigns.
fn joined(member: &ConsumerMember) -> JoinGroupResponse {
    JoinGroupResponse {
        member_id: member.member_id.clone(),
        generation_id: member.epoch,
        protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
        protocol_name: Some(protocol_name(member).to_owned()),
        ..Default::default()
    }
}

fn protocol_name(member: &ConsumerMember) -> &str {
    let first = member.classic.iter().flat_map(|classic| &classic.supported_protocols).next();
    first.map(|protocol| protocol.name.as_str()).unwrap_or_default()
}

fn assignment(member: &ConsumerMember, topics: &dyn TopicImage) -> Option<bytes::Bytes> {
    let first = member.classic.iter().flat_map(|classic| &classic.supported_protocols).next()?;
    let assigned: Partitions = member
        .assigned
        .iter()
        .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
        .collect();
    embedded_assignment(&assigned, Some(&first.metadata), topics)
}

/// The member that a request of the classic protocol is of.
fn classic_member<'g>(
    group: &'g ConsumerGroup,
    member_id: &str,
    instance_id: Option<&str>,
) -> Result<&'g ConsumerMember, ErrorCode> {
    let found = match instance_id {
        None => group.member(member_id).ok_or_else(|| unknown_member(group, member_id)),
        Some(instance_id) => {
            known_static_member(group.static_member(instance_id), member_id, instance_id)
        }
    };
    match found {
        Ok(member) if member.uses_classic_protocol() => Ok(member),
        Ok(_) => Err(ErrorCode::UnknownMemberId),
        Err(error) => Err(error.code),
    }
}

fn restart_session(context: &mut GroupContext<'_>, group_id: &str, member: &ConsumerMember) {
    let of = (group_id, member.member_id.as_str());
    let timeout_ms = member.classic_session_timeout_ms().unwrap_or(0);
    set_member_timer(context, ConsumerTimer::Session, of, timeout_ms);
}

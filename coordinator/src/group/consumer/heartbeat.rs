//! ConsumerGroupHeartbeat: how a member joins, stays and hears what it owns.

use common::TopicId;
use protocol::{
    ErrorCode,
    messages::consumer_group_heartbeat::{
        Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        TopicPartitionsResponse,
    },
};
use tracing::{info, warn};

use super::{
    change::{Change, RegexChange},
    group::ConsumerGroup,
    member::{ConsumerMember, JOIN_EPOCH, LEAVE_EPOCH, Owned, STATIC_LEAVE_EPOCH, is_subset},
    reconcile::Reported,
    records::RecordsOf,
    settings::ConsumerSettings,
    timers::{ConsumerTimer, follow_step, set_member_timer},
};
use crate::group::{
    GroupConfig, GroupContext, GroupError, GroupOutcome, GroupRecord, GroupShard,
    assignor::Assignor,
};

/// The first version whose clients make their own member id.
const MEMBER_ID_BY_CLIENT_SINCE: i16 = 1;

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
pub struct ClientIdentity<'a> {
    /// `client.id`.
    pub client_id: &'a str,
    /// The address as Kafka writes it: a slash and the address.
    pub client_host: &'a str,
}

impl GroupShard {
    /// ConsumerGroupHeartbeat.
    pub fn consumer_group_heartbeat(
        &mut self,
        context: &mut GroupContext<'_>,
        client: ClientIdentity<'_>,
        request: &ConsumerGroupHeartbeatRequest,
        version: i16,
    ) -> GroupOutcome<ConsumerGroupHeartbeatResponse> {
        let result =
            validate(request, version, &self.config).and_then(|()| match request.member_epoch {
                LEAVE_EPOCH | STATIC_LEAVE_EPOCH => self.consumer_group_leave(context, request),
                _ => self.beat(context, client, request),
            });
        match result {
            Ok(outcome) => outcome,
            Err(error) => GroupOutcome::read(refused(&error)),
        }
    }

    fn beat(
        &mut self,
        context: &mut GroupContext<'_>,
        client: ClientIdentity<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<GroupOutcome<ConsumerGroupHeartbeatResponse>, GroupError> {
        let group_id = &request.group_id;
        let settings = self.consumer_settings(group_id);
        let topics = self.topics();
        let joins = request.member_epoch == JOIN_EPOCH;
        let mut records = Vec::new();
        let entry = self.enter_consumer_group(group_id, joins, topics.as_ref(), &mut records)?;
        let group = self.entered(&entry, group_id)?;
        let member_id = match request.member_id.as_str() {
            "" => context.rng.uuid().to_string(),
            id => id.to_owned(),
        };
        check_size(group, &request.member_id, &settings)?;

        let reported = request.topic_partitions.as_ref().map(|topics| {
            topics.iter().map(|of| (TopicId(of.topic_id), of.partitions.clone())).collect()
        });
        let claim = Claim { member_id: &member_id, epoch: request.member_epoch, reported };
        let old = match request.instance_id.as_deref() {
            None => claim.dynamic_member(group, joins)?,
            Some(instance_id) => claim.static_member(group, instance_id, joins, &mut records)?,
        };
        let mut new = old.clone();
        update_from_request(&mut new, client, request);

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
        let subscription_changed = names_changed || regex_change != RegexChange::None;
        // A regular expression that is not resolved yet changes nothing: once it is, the group is
        // assigned anew.
        let bump = names_changed || regex_change == RegexChange::Resolved;
        let mut assign = (group.epoch, group.subscription_type());
        if bump || change.metadata_is_stale() {
            assign = change.update_metadata(bump, &old, &new);
        }
        let target = change.update_target(assign, &old, &new)?;
        let before = new.clone();
        let new = change.reconcile(new, &target, subscription_changed, claim.reported.as_ref())?;

        let response = respond(request, &old, &new, settings.heartbeat_interval_ms);
        let Change { records, hashed, resolve_regexes, .. } = change;
        check_fits(context, group_id, &records)?;
        let moved = new != before;
        self.complete_entry(entry, group_id, context);
        self.note_hashed(group_id, hashed, topics.version());
        if moved {
            follow_step(context, group_id, &new);
        }
        if resolve_regexes {
            self.schedule_regexes(context, group_id);
        }
        set_member_timer(
            context,
            ConsumerTimer::Session,
            (group_id, &new.member_id),
            settings.session_timeout_ms,
        );
        Ok(GroupOutcome::write(records, response))
    }

    /// The group's settings.
    pub(crate) fn consumer_settings(&self, group_id: &str) -> ConsumerSettings {
        ConsumerSettings::new(&self.config, self.overrides(group_id))
    }
}

/// The checks that need no group.
fn validate(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    config: &GroupConfig,
) -> Result<(), GroupError> {
    let invalid = |text: &str| Err(GroupError::new(ErrorCode::InvalidRequest, text));
    let is_blank = |text: &str| text.trim().is_empty();
    let epoch = request.member_epoch;
    let needs_id = version >= MEMBER_ID_BY_CLIENT_SINCE || epoch > 0 || epoch == LEAVE_EPOCH;
    if needs_id && is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        JOIN_EPOCH => {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request.topic_partitions.as_ref().is_none_or(|topics| !topics.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none()
            {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                     (re-)joining.",
                );
            }
        }
        STATIC_LEAVE_EPOCH if request.instance_id.is_none() => {
            return invalid("InstanceId can't be null.");
        }
        ..STATIC_LEAVE_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    match request.server_assignor.as_deref() {
        Some(name) if !is_supported(name, config) => {
            let text = format!(
                "ServerAssignor {name} is not supported. Supported assignors: {}.",
                config.consumer_assignors.join(", ")
            );
            Err(GroupError::new(ErrorCode::UnsupportedAssignor, text))
        }
        _ => Ok(()),
    }
}

fn is_supported(name: &str, config: &GroupConfig) -> bool {
    Assignor::by_name(name).is_some() && config.consumer_assignors.iter().any(|own| own == name)
}

/// Refuses a new member where the group is full.
pub(crate) fn check_size(
    group: &ConsumerGroup,
    member_id: &str,
    settings: &ConsumerSettings,
) -> Result<(), GroupError> {
    let max = settings.group_size_max;
    if group.members().len() < max || (!member_id.is_empty() && group.has_member(member_id)) {
        return Ok(());
    }
    let text = format!("The consumer group has reached its maximum capacity of {max} members.");
    Err(GroupError::new(ErrorCode::GroupMaxSizeReached, text))
}

/// Refuses an operation whose records the log would refuse, before it has changed anything.
pub(crate) fn check_fits(
    context: &GroupContext<'_>,
    group_id: &str,
    records: &[GroupRecord],
) -> Result<(), GroupError> {
    if context.fits(records) {
        return Ok(());
    }
    warn!(group = %group_id, records = records.len(), "too much for one batch of the log");
    Err(ErrorCode::UnknownServerError.into())
}

/// Who a heartbeat claims to be.
struct Claim<'a> {
    member_id: &'a str,
    epoch: i32,
    reported: Option<Reported>,
}

impl Claim<'_> {
    fn dynamic_member(
        &self,
        group: &ConsumerGroup,
        joins: bool,
    ) -> Result<ConsumerMember, GroupError> {
        let member = dynamic_member(group, self.member_id, joins)?;
        self.check_epoch(&member)?;
        Ok(member)
    }

    fn static_member(
        &self,
        group: &ConsumerGroup,
        instance_id: &str,
        joins: bool,
        records: &mut Vec<GroupRecord>,
    ) -> Result<ConsumerMember, GroupError> {
        let existing = group.static_member(instance_id);
        if joins {
            if let Some(existing) = existing
                && !existing.uses_classic_protocol()
                && existing.epoch != STATIC_LEAVE_EPOCH
            {
                return Err(unreleased(existing, self.member_id, instance_id));
            }
            return Ok(joining_static_member(group, self.member_id, existing, records));
        }
        let existing = known_static_member(existing, self.member_id, instance_id)?;
        self.check_epoch(existing)?;
        Ok(existing.clone())
    }

    /// A member may only speak in its present epoch, or in the one before where the answer that told
    /// it of the present one was lost: then it has nothing that it should not have.
    fn check_epoch(&self, member: &ConsumerMember) -> Result<(), GroupError> {
        if self.epoch == JOIN_EPOCH || self.epoch == member.epoch {
            return Ok(());
        }
        let fenced = |relation: &str| {
            let text = format!(
                "The consumer group member has a {relation} member epoch ({}) than the one known \
                 by the group coordinator ({}). The member must abandon all its partitions and \
                 rejoin.",
                self.epoch, member.epoch
            );
            Err(GroupError::new(ErrorCode::FencedMemberEpoch, text))
        };
        if self.epoch > member.epoch {
            return fenced("greater");
        }
        let lost_answer = self.epoch == member.previous_epoch
            && self.reported.as_ref().is_some_and(|of| is_subset(of, &member.assigned));
        if lost_answer { Ok(()) } else { fenced("smaller") }
    }
}

/// The member with this id, or a new one.
pub(crate) fn dynamic_member(
    group: &ConsumerGroup,
    member_id: &str,
    joins: bool,
) -> Result<ConsumerMember, GroupError> {
    match group.member(member_id) {
        Some(member) => Ok(member.clone()),
        None if joins => Ok(ConsumerMember::new(member_id)),
        None => Err(unknown_member(group, member_id)),
    }
}

pub(crate) fn unknown_member(group: &ConsumerGroup, member_id: &str) -> GroupError {
    let text = format!("Member {member_id} is not a member of group {}.", group.group_id);
    GroupError::new(ErrorCode::UnknownMemberId, text)
}

/// A static member that joins: a new one, or the successor of the one with its instance id, whose
/// place it takes.
pub(crate) fn joining_static_member(
    group: &ConsumerGroup,
    member_id: &str,
    existing: Option<&ConsumerMember>,
    records: &mut Vec<GroupRecord>,
) -> ConsumerMember {
    let Some(existing) = existing else {
        return group.member(member_id).cloned().unwrap_or_else(|| ConsumerMember::new(member_id));
    };
    let mut member = existing.clone();
    member.member_id = member_id.to_owned();
    member.epoch = JOIN_EPOCH;
    member.previous_epoch = JOIN_EPOCH;
    let of = RecordsOf(&group.group_id);
    of.remove_member(records, &existing.member_id);
    records.push(of.member(&member));
    records.push(of.target(member_id, &group.target_of(&existing.member_id, None)));
    records.push(of.current(&member));
    info!(group = %group.group_id, former = %existing.member_id, %member_id, "static member is back");
    member
}

/// The static member with this instance id, if it is this member.
pub(crate) fn known_static_member<'g>(
    existing: Option<&'g ConsumerMember>,
    member_id: &str,
    instance_id: &str,
) -> Result<&'g ConsumerMember, GroupError> {
    let Some(existing) = existing else {
        let text = format!("Instance id {instance_id} is unknown.");
        return Err(GroupError::new(ErrorCode::UnknownMemberId, text));
    };
    if existing.member_id == member_id {
        return Ok(existing);
    }
    let text = format!(
        "Static member {member_id} with instance id {instance_id} was fenced by member {}.",
        existing.member_id
    );
    Err(GroupError::new(ErrorCode::FencedInstanceId, text))
}

fn unreleased(existing: &ConsumerMember, member_id: &str, instance_id: &str) -> GroupError {
    let text = format!(
        "Static member {member_id} with instance id {instance_id} cannot join the group because \
         the instance id is owned by {} member.",
        existing.member_id
    );
    GroupError::new(ErrorCode::UnreleasedInstanceId, text)
}

/// What a request leaves out stays as it was.
fn update_from_request(
    member: &mut ConsumerMember,
    client: ClientIdentity<'_>,
    request: &ConsumerGroupHeartbeatRequest,
) {
    if request.instance_id.is_some() {
        member.instance_id.clone_from(&request.instance_id);
    }
    if request.rack_id.is_some() {
        member.rack_id.clone_from(&request.rack_id);
    }
    if request.rebalance_timeout_ms != -1 {
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if request.server_assignor.is_some() {
        member.server_assignor.clone_from(&request.server_assignor);
    }
    if let Some(names) = &request.subscribed_topic_names {
        member.topic_names = std::sync::Arc::new(names.iter().cloned().collect());
    }
    if request.subscribed_topic_regex.is_some() {
        member.topic_regex.clone_from(&request.subscribed_topic_regex);
    }
    client.client_id.clone_into(&mut member.client_id);
    client.client_host.clone_into(&mut member.client_host);
    member.classic = None;
}

/// The assignment is told to who joins, who says everything (because an answer was lost), and where
/// it has changed.
fn respond(
    request: &ConsumerGroupHeartbeatRequest,
    old: &ConsumerMember,
    new: &ConsumerMember,
    heartbeat_interval_ms: i32,
) -> ConsumerGroupHeartbeatResponse {
    let is_full = request.rebalance_timeout_ms != -1
        && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
        && request.topic_partitions.is_some();
    let told = request.member_epoch == JOIN_EPOCH || is_full || old.assigned != new.assigned;
    ConsumerGroupHeartbeatResponse {
        member_id: Some(new.member_id.clone()),
        member_epoch: new.epoch,
        heartbeat_interval_ms,
        assignment: told.then(|| assignment(&new.assigned)),
        ..Default::default()
    }
}

fn assignment(assigned: &Owned) -> Assignment {
    let topics = assigned.iter().map(|(topic, partitions)| TopicPartitionsResponse {
        topic_id: topic.0,
        partitions: partitions.keys().copied().collect(),
    });
    Assignment { topic_partitions: topics.collect() }
}

fn refused(error: &GroupError) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: error.code.code(),
        error_message: Some(
            error.message.clone().unwrap_or_else(|| error.code.message().to_owned()),
        ),
        ..Default::default()
    }
}

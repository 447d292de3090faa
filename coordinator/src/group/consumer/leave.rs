//! How members go: they leave, are fenced, or their time is up. The last member of the consumer
//! protocol in a group of classic members takes the group's protocol with it.

use protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use std::{collections::BTreeMap, sync::Arc};
use tracing::info;

use super::{
    change::Change,
    group::ConsumerGroup,
    heartbeat::{known_static_member, unknown_member},
    member::{ConsumerMember, MemberState, STATIC_LEAVE_EPOCH},
    records::RecordsOf,
    subscription::{count_names, count_regex},
    timers::{ConsumerTimer, cancel_member_timers},
};
use crate::group::{Group, GroupContext, GroupError, GroupOutcome, GroupRecord, GroupShard};

impl GroupShard {
    /// A heartbeat with which a member leaves.
    pub(crate) fn consumer_group_leave(
        &mut self,
        context: &mut GroupContext<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<GroupOutcome<ConsumerGroupHeartbeatResponse>, GroupError> {
        let group = self.consumer_group(&request.group_id)?;
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..Default::default()
        };
        let member = match request.instance_id.as_deref() {
            None => group
                .member(&request.member_id)
                .ok_or_else(|| unknown_member(group, &request.member_id))?,
            Some(instance_id) => known_static_member(
                group.static_member(instance_id),
                &request.member_id,
                instance_id,
            )?,
        };
        info!(
            group = %group.group_id, member_id = %member.member_id, epoch = request.member_epoch,
            "member leaves"
        );
        if request.instance_id.is_some() && request.member_epoch == STATIC_LEAVE_EPOCH {
            let record = RecordsOf(&group.group_id).current(&away(member));
            return Ok(GroupOutcome::write(vec![record], response));
        }
        let leaving = vec![member.member_id.clone()];
        let records = self.fence_members(context, &request.group_id, &leaving)?;
        Ok(GroupOutcome::write(records, response))
    }

    /// A timer of a consumer group has run out.
    pub(crate) fn consumer_expired(
        &mut self,
        timer: ConsumerTimer,
        context: &mut GroupContext<'_>,
    ) -> GroupOutcome<()> {
        let records = match timer {
            ConsumerTimer::Session(group_id, member_id) => {
                self.fence(context, &group_id, &member_id, "its session ended", |_| true)
            }
            ConsumerTimer::Rebalance(group_id, member_id) => self.fence(
                context,
                &group_id,
                &member_id,
                "it did not give up its partitions in time",
                |member| {
                    member.state == MemberState::UnrevokedPartitions
                        && member.epoch != STATIC_LEAVE_EPOCH
                },
            ),
            ConsumerTimer::Join(group_id, member_id) => {
                self.fence(context, &group_id, &member_id, "it did not join in time", |_| true)
            }
            ConsumerTimer::Sync(group_id, member_id) => {
                self.fence(context, &group_id, &member_id, "it did not sync in time", |_| true)
            }
            ConsumerTimer::ResolveRegexes(group_id) => self.resolve_regexes(context, &group_id),
        };
        GroupOutcome::write(records, ())
    }

    /// Removes a member whose time is up, if it and its group are still there.
    fn fence(
        &mut self,
        context: &mut GroupContext<'_>,
        group_id: &str,
        member_id: &str,
        reason: &str,
        applies: impl Fn(&ConsumerMember) -> bool,
    ) -> Vec<GroupRecord> {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else { return Vec::new() };
        if !group.member(member_id).is_some_and(applies) {
            return Vec::new();
        }
        info!(group = %group_id, %member_id, reason, "member is fenced");
        let fenced = vec![member_id.to_owned()];
        // The group was there a moment ago.
        self.fence_members(context, group_id, &fenced).unwrap_or_default()
    }

    /// The records that remove members, all of them of the group.
    pub(crate) fn fence_members(
        &mut self,
        context: &mut GroupContext<'_>,
        group_id: &str,
        member_ids: &[String],
    ) -> Result<Vec<GroupRecord>, GroupError> {
        if member_ids.is_empty() {
            return Ok(Vec::new());
        }
        let topics = self.topics();
        let settings = self.consumer_settings(group_id);
        let group = self.consumer_group(group_id)?;
        if self.downgrades_without(group, member_ids) {
            return self.downgrade_without(context, group_id, member_ids);
        }
        let mut change = Change {
            group,
            settings: &settings,
            topics: topics.as_ref(),
            now_ms: context.now_ms,
            records: Vec::new(),
            hashed: false,
            resolve_regexes: false,
        };
        change.remove_members(member_ids);
        let records = change.records;
        for member_id in member_ids {
            cancel_member_timers(context, group_id, member_id);
        }
        Ok(records)
    }

    /// The consumer group with this id.
    pub(crate) fn consumer_group(&self, group_id: &str) -> Result<&ConsumerGroup, GroupError> {
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) => Ok(group),
            Some(Group::Classic(_)) => Err(GroupError::new(
                protocol::ErrorCode::GroupIdNotFound,
                format!("Group {group_id} is not a consumer group."),
            )),
            None => Err(GroupError::not_found(group_id)),
        }
    }
}

impl Change<'_> {
    /// Removes members, and the regular expressions that nobody else subscribes to; the group is
    /// assigned anew.
    fn remove_members(&mut self, member_ids: &[String]) {
        let group = self.group;
        let mut subscribed = group.topics().clone();
        let mut regexes: BTreeMap<&str, usize> = BTreeMap::new();
        for member_id in member_ids {
            self.of().remove_member(&mut self.records, member_id);
            let Some(member) = group.member(member_id) else { continue };
            count_names(&mut subscribed, member.topic_names.iter(), false);
            if let Some(regex) = member.regex() {
                *regexes.entry(regex).or_default() += 1;
            }
        }
        for (regex, count) in regexes {
            if group.regexes().get(regex) != Some(&count) {
                continue;
            }
            self.records.push(self.of().regex_tombstone(regex));
            if let Some(resolved) = group.resolved().get(regex) {
                count_regex(&mut subscribed, resolved.topics.iter(), false);
            }
        }
        self.bump_epoch(true, &subscribed);
    }
}

/// A static member that wants to come back: it keeps its place, and whoever has its instance id then
/// gets its partitions as if it had always had them.
fn away(member: &ConsumerMember) -> ConsumerMember {
    let mut away = member.clone();
    away.epoch = STATIC_LEAVE_EPOCH;
    away.pending_revocation = Arc::default();
    for partitions in Arc::make_mut(&mut away.assigned).values_mut() {
        for epoch in partitions.values_mut() {
            *epoch = 0;
        }
    }
    away
}

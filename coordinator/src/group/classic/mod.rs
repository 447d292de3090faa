//! Groups of the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), and those that only
//! keep offsets for clients without membership.
//!
//! ```text
//!   member                          group                                   log
//!     │ JoinGroup (v4: twice)         │ all joined, or time is up: generation + 1
//!     │◄── generation, leader, roster─┤
//!     │ SyncGroup (leader: assignment)│──── GroupMetadata ────────────────►│
//!     │◄── assignment ────────────────┤◄─── durable, replayed: Stable ─────┤
//!     │ Heartbeat … LeaveGroup        │
//! ```
//!
//! `group` keeps the books, `rebalance` the timers and the way between generations; one file per
//! request (`join`, `sync`, `heartbeat`, `leave`) has that request's rules; `replay` is what records
//! do; `offsets` what the group says to those who commit or delete offsets.

#[cfg(test)]
mod books;
mod convert;
mod describe;
mod group;
mod heartbeat;
mod join;
mod leave;
mod member;
mod offsets;
mod protocols;
mod rebalance;
mod replay;
mod state;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::{
        heartbeat::HeartbeatRequest,
        leave_group::{LeaveGroupRequest, LeaveGroupResponse},
        sync_group::{SyncGroupRequest, SyncGroupResponse},
    },
};
use tokio::sync::oneshot;

pub use self::{
    group::ClassicGroup,
    join::{Join, validate as validate_join},
    member::MemberDetails,
    protocols::Protocol,
    state::State,
    subscription::CONSUMER_PROTOCOL_TYPE,
    sync::validate as validate_sync,
    turn::{Turn, join_error, sync_error},
};
use super::{
    kind::Group,
    shard::{GroupContext, GroupOutcome, GroupShard},
};

/// The timers of classic groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClassicTimer {
    /// A member, or one that was given an id, has not been heard of for its session timeout.
    Session {
        /// The group.
        group_id: String,
        /// The member.
        member_id: String,
    },
    /// A rebalance has waited long enough for joins.
    Join {
        /// The group.
        group_id: String,
    },
    /// A generation has waited long enough for its members to take their assignment.
    Sync {
        /// The group.
        group_id: String,
    },
}

impl ClassicTimer {
    fn group_id(&self) -> &str {
        match self {
            Self::Session { group_id, .. } | Self::Join { group_id } | Self::Sync { group_id } => {
                group_id
            }
        }
    }
}

impl GroupShard {
    /// JoinGroup. The answer goes to the join's own waiter, at once or when the others have come.
    pub fn join_group(&mut self, context: &mut GroupContext<'_>, join: Join) -> GroupOutcome<()> {
        if self.is_live_consumer_group(&join.request.group_id) {
            return self.consumer_group_join(context, join);
        }
        let config = Arc::clone(&self.config);
        let mut turn = Turn::new(context, &config);
        match self.groups.get_mut(&join.request.group_id) {
            Some(Group::Classic(group)) => group.join(&mut turn, join),
            Some(Group::Consumer(_)) | None => self.found(&mut turn, join),
        }
        GroupOutcome::write(turn.records, ())
    }

    /// The first member of a group that does not exist, or that is an empty one of KIP-848. Only a
    /// join that is accepted leaves a group behind.
    fn found(&mut self, turn: &mut Turn<'_, '_>, join: Join) {
        if !join.request.member_id.is_empty() {
            turn.refuse_join(join.waiter, &join.request.member_id, ErrorCode::UnknownMemberId);
            return;
        }
        let group_id = join.request.group_id.clone();
        let mut group = ClassicGroup::new(&group_id, turn.context.now_ms);
        let record = group.record();
        group.join(turn, join);
        if group.is_untouched() {
            return;
        }
        if let Some(former) = self.groups.insert(group_id.clone(), Group::Classic(group)) {
            former.cancel_timers(&group_id, turn.context);
            former.tombstones(&group_id, &mut turn.records);
        }
        turn.records.push(record);
    }

    /// SyncGroup. The answer goes to the waiter, at once or when the leader has assigned.
    pub fn sync_group(
        &mut self,
        context: &mut GroupContext<'_>,
        request: &SyncGroupRequest,
        waiter: oneshot::Sender<SyncGroupResponse>,
    ) -> GroupOutcome<()> {
        if self.is_live_consumer_group(&request.group_id) {
            let response = self.consumer_group_sync(context, request);
            context.answer(waiter, response.unwrap_or_else(sync_error));
            return GroupOutcome::read(());
        }
        let config = Arc::clone(&self.config);
        let mut turn = Turn::new(context, &config);
        match self.groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => group.sync(&mut turn, request, waiter),
            Some(Group::Consumer(_)) | None => turn.refuse_sync(waiter, ErrorCode::UnknownMemberId),
        }
        GroupOutcome::write(turn.records, ())
    }

    /// Heartbeat.
    pub fn heartbeat(
        &mut self,
        context: &mut GroupContext<'_>,
        request: &HeartbeatRequest,
    ) -> GroupOutcome<Result<(), ErrorCode>> {
        if self.is_live_consumer_group(&request.group_id) {
            return GroupOutcome::read(self.consumer_group_classic_heartbeat(context, request));
        }
        let config = Arc::clone(&self.config);
        let mut turn = Turn::new(context, &config);
        let result = match self.groups.get(&request.group_id) {
            Some(Group::Classic(group)) => group.heartbeat(&mut turn, request),
            Some(Group::Consumer(_)) | None => Err(ErrorCode::UnknownMemberId),
        };
        GroupOutcome::read(result)
    }

    /// LeaveGroup.
    pub fn leave_group(
        &mut self,
        context: &mut GroupContext<'_>,
        request: &LeaveGroupRequest,
        version: i16,
    ) -> GroupOutcome<LeaveGroupResponse> {
        let leaving = leave::leaving(request, version);
        if self.is_live_consumer_group(&request.group_id) {
            let (records, results) =
                self.consumer_group_classic_leave(context, &request.group_id, &leaving);
            let responses = leaving.iter().zip(results);
            let responses = responses.map(|(member, result)| leave::response(member, result));
            return GroupOutcome::write(records, leave::left(responses.collect(), version));
        }
        let config = Arc::clone(&self.config);
        let mut turn = Turn::new(context, &config);
        let responses = match self.groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => group.leave(&mut turn, &leaving),
            Some(Group::Consumer(_)) | None => {
                let unknown = || Err(ErrorCode::UnknownMemberId);
                leaving.iter().map(|member| leave::response(member, unknown())).collect()
            }
        };
        GroupOutcome::write(turn.records, leave::left(responses, version))
    }

    /// A member commits offsets: that keeps its session, if the group is stable or rebalances.
    pub fn keep_classic_session(
        &mut self,
        group_id: &str,
        member_id: &str,
        context: &mut GroupContext<'_>,
    ) {
        let Some(Group::Classic(group)) = self.groups.get(group_id) else { return };
        if matches!(group.state(), State::Stable | State::PreparingRebalance) {
            group.hear_of(&mut Turn::new(context, &self.config), member_id);
        }
    }

    pub(crate) fn classic_loaded(&mut self, context: &mut GroupContext<'_>) {
        let mut turn = Turn::new(context, &self.config);
        for group in self.groups.values_mut() {
            if let Group::Classic(group) = group {
                group.loaded(&mut turn);
            }
        }
    }

    pub(crate) fn classic_expired(
        &mut self,
        timer: &ClassicTimer,
        context: &mut GroupContext<'_>,
    ) -> GroupOutcome<()> {
        let mut turn = Turn::new(context, &self.config);
        if let Some(Group::Classic(group)) = self.groups.get_mut(timer.group_id()) {
            match timer {
                ClassicTimer::Session { member_id, .. } => {
                    group.session_expired(&mut turn, member_id)
                }
                ClassicTimer::Join { .. } => group.join_expired(&mut turn),
                ClassicTimer::Sync { .. } => group.sync_expired(&mut turn),
            }
        }
        GroupOutcome::write(turn.records, ())
    }

    pub(crate) fn classic_unloaded(&mut self, error: ErrorCode) {
        for group in self.groups.values_mut() {
            let Group::Classic(group) = group else { continue };
            for waiters in group.take_waiters() {
                // Whoever waited may have gone.
                if let Some(waiter) = waiters.joining {
                    let _ = waiter.send(join_error(&waiters.member_id, error));
                }
                if let Some(waiter) = waiters.syncing {
                    let _ = waiter.send(sync_error(error));
                }
            }
        }
    }
}

//! The way from one generation to the next.
//!
//! ```text
//!           first member                      all joined, or time is up
//!   Empty ───────────────► PreparingRebalance ──────────────────────────► CompletingRebalance
//!     ▲                       ▲   │      ▲                                   │        │
//!     └── nobody joined ──────┼───┘      └── member comes, changes, ─────────┘        │
//!                             │              leaves, is late to sync                  │
//!                             └────────────────────────────── Stable ◄────────────────┘
//!                                                                    leader's assignment
//! ```
//!
//! Three timers drive what no request does: a member's session, the wait for joins and the wait
//! for syncs. Each has at most one deadline.

use std::{cmp, time::Duration};

use protocol::{ErrorCode, messages::join_group::JoinGroupResponse};
use tracing::{debug, info, warn};

use super::{
    ClassicTimer,
    group::{ClassicGroup, InitialJoin},
    member::Member,
    state::State,
    turn::{Turn, session_timer},
};
use crate::group::GroupTimer;

impl ClassicGroup {
    /// Begins a rebalance, or looks whether the one that is being prepared is complete.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_, '_>, reason: &str) {
        if self.state.can_rebalance() {
            self.prepare_rebalance(turn, reason);
        } else {
            self.complete_if_all_joined(turn);
        }
    }

    /// Asks all members to join again.
    pub fn prepare_rebalance(&mut self, turn: &mut Turn<'_, '_>, reason: &str) {
        if self.state == State::CompletingRebalance {
            self.send_back_syncing(turn);
        }
        self.pending_syncs.clear();
        turn.context.cancel_timer(&self.sync_timer());
        let initial = self.state == State::Empty;
        self.enter(State::PreparingRebalance, turn.context.now_ms);
        info!(group = %self.group_id, generation = self.generation_id, reason, "preparing rebalance");
        if initial {
            self.wait_for_first_members(turn);
        } else if self.all_joined() {
            self.complete_join(turn);
        } else {
            turn.context.set_timer(self.join_timer(), self.rebalance_timeout());
        }
    }

    /// Ends the wait for joins where nobody is missing. The first rebalance of a group always
    /// waits its time.
    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_, '_>) {
        let waits = self.state == State::PreparingRebalance && self.initial_join.is_none();
        if waits && self.all_joined() {
            self.complete_join(turn);
        }
    }

    /// The wait for joins is over.
    pub fn join_expired(&mut self, turn: &mut Turn<'_, '_>) {
        if self.state != State::PreparingRebalance {
            return;
        }
        match self.initial_join {
            Some(initial) if initial.member_added && !initial.remaining.is_zero() => {
                let delay =
                    cmp::min(turn.config.classic_initial_rebalance_delay, initial.remaining);
                let remaining = initial.remaining.saturating_sub(initial.delay);
                self.initial_join = Some(InitialJoin { delay, remaining, member_added: false });
                turn.context.set_timer(self.join_timer(), delay);
            }
            _ => self.complete_join(turn),
        }
    }

    fn wait_for_first_members(&mut self, turn: &mut Turn<'_, '_>) {
        let delay = turn.config.classic_initial_rebalance_delay;
        let remaining = self.rebalance_timeout().saturating_sub(delay);
        self.initial_join = Some(InitialJoin { delay, remaining, member_added: false });
        turn.context.set_timer(self.join_timer(), delay);
    }

    /// The next generation: of those who joined, and of static members, who may be away.
    pub(super) fn complete_join(&mut self, turn: &mut Turn<'_, '_>) {
        turn.context.cancel_timer(&self.join_timer());
        self.remove_absent(turn);
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members, and none of them came. Their sessions decide.
            warn!(group = %self.group_id, "rebalance cannot complete because no member joined");
            self.initial_join = None;
            turn.context.set_timer(self.join_timer(), self.rebalance_timeout());
            return;
        }
        self.initial_join = None;
        self.generation_id = self.generation_id.saturating_add(1);
        self.pending_syncs.clear();
        if self.members.is_empty() {
            self.become_empty(turn);
        } else {
            self.start_generation(turn);
        }
    }

    /// Removes the dynamic members that did not join.
    fn remove_absent(&mut self, turn: &mut Turn<'_, '_>) {
        let absent = self
            .members
            .iter()
            .filter(|(_, member)| !member.is_joining() && member.details.instance_id.is_none());
        let absent: Vec<String> = absent.map(|(id, _)| id.clone()).collect();
        for member_id in &absent {
            self.dismiss(turn, member_id, ErrorCode::UnknownMemberId);
        }
        if !absent.is_empty() {
            info!(group = %self.group_id, members = ?absent, "removed members that did not join");
        }
    }

    /// Keeps the leader where it joined, else the first member that did leads. False where none
    /// did.
    fn elect_joined_leader(&mut self) -> bool {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(Member::is_joining) {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.is_joining());
        let Some(elected) = joined.map(|(id, _)| id.clone()) else { return false };
        info!(group = %self.group_id, former = ?self.leader, %elected, "new leader");
        self.leader = Some(elected);
        true
    }

    fn become_empty(&mut self, turn: &mut Turn<'_, '_>) {
        self.protocol_name = None;
        self.subscribed_topics = self.read_subscriptions();
        self.enter(State::Empty, turn.context.now_ms);
        info!(group = %self.group_id, generation = self.generation_id, "group is empty");
        turn.records.push(self.record());
    }

    fn start_generation(&mut self, turn: &mut Turn<'_, '_>) {
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.read_subscriptions();
        self.enter(State::CompletingRebalance, turn.context.now_ms);
        info!(
            group = %self.group_id,
            generation = self.generation_id,
            members = self.members.len(),
            protocol = self.protocol_name.as_deref().unwrap_or_default(),
            "new generation",
        );
        let members: Vec<String> = self.members.keys().cloned().collect();
        for member_id in members {
            let waiter = self.take_join(&member_id);
            if let Some(waiter) = waiter {
                turn.context.answer(waiter, self.joined(&member_id));
            }
            if let Some(member) = self.members.get_mut(&member_id) {
                member.new = false;
                let timeout = member.details.session_timeout();
                turn.start_session(&self.group_id, &member_id, timeout);
            }
            self.pending_syncs.insert(member_id);
        }
        turn.context.set_timer(self.sync_timer(), self.rebalance_timeout());
    }

    /// The answer to a join of the present generation. The leader is told about all members.
    pub(super) fn joined(&self, member_id: &str) -> JoinGroupResponse {
        JoinGroupResponse {
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            members: if self.is_leader(member_id) { self.roster() } else { Vec::new() },
            ..Default::default()
        }
    }

    /// Members that wait for an assignment will not get it: they are to join again.
    fn send_back_syncing(&mut self, turn: &mut Turn<'_, '_>) {
        let mut sent_back = Vec::new();
        for (member_id, member) in &mut self.members {
            member.details.assignment.clear();
            if let Some(waiter) = member.take_sync() {
                turn.refuse_sync(waiter, ErrorCode::RebalanceInProgress);
                sent_back.push((member_id.clone(), member.details.session_timeout()));
            }
        }
        // While it waited, its silence was excused; from now on it is not.
        for (member_id, timeout) in sent_back {
            turn.start_session(&self.group_id, &member_id, timeout);
        }
    }

    /// The wait for syncs is over: members that never asked for their assignment are gone.
    pub fn sync_expired(&mut self, turn: &mut Turn<'_, '_>) {
        let assigns = matches!(self.state, State::CompletingRebalance | State::Stable);
        if !assigns || self.pending_syncs.is_empty() {
            return;
        }
        let late: Vec<String> = self.pending_syncs.iter().cloned().collect();
        for member_id in &late {
            self.dismiss(turn, member_id, ErrorCode::UnknownMemberId);
        }
        self.prepare_rebalance(turn, &format!("members {late:?} did not sync in time"));
    }

    /// A member has not been heard of for its session timeout.
    pub fn session_expired(&mut self, turn: &mut Turn<'_, '_>, member_id: &str) {
        if self.pending_joins.remove(member_id) {
            debug!(group = %self.group_id, member_id, "pending member did not come back");
            self.complete_without(turn);
            return;
        }
        let Some(member) = self.members.get(member_id) else { return };
        if member.waits() {
            return;
        }
        info!(group = %self.group_id, member_id, "member's session ended");
        self.dismiss(turn, member_id, ErrorCode::UnknownMemberId);
        if self.state == State::PreparingRebalance {
            self.complete_without(turn);
        } else {
            self.rebalance_or_complete(turn, &format!("session of {member_id} ended"));
        }
    }

    /// Somebody that a rebalance may have waited for is gone for good. Unlike a member that leaves,
    /// this may end a group's first rebalance early, as in Kafka.
    fn complete_without(&mut self, turn: &mut Turn<'_, '_>) {
        if self.state == State::PreparingRebalance && self.all_joined() {
            self.complete_join(turn);
        }
    }

    /// Removes a member, answers what waits of it and forgets its session.
    pub(super) fn dismiss(&mut self, turn: &mut Turn<'_, '_>, member_id: &str, error: ErrorCode) {
        turn.end_session(&self.group_id, member_id);
        if let Some(member) = self.remove(member_id) {
            // The client may still be there, and shall start afresh.
            let shown = if error == ErrorCode::UnknownMemberId { "" } else { member_id };
            turn.dismiss(member, shown, error);
        }
    }

    /// Gives every member a fresh session: nobody knows when it was last heard of.
    pub fn start_sessions(&self, turn: &mut Turn<'_, '_>) {
        for (member_id, member) in &self.members {
            turn.start_session(&self.group_id, member_id, member.details.session_timeout());
        }
    }

    /// Called once the group is loaded.
    pub fn loaded(&mut self, turn: &mut Turn<'_, '_>) {
        self.start_sessions(turn);
        if self.members.len() > turn.config.classic_group_size_max {
            self.prepare_rebalance(turn, "the loaded group is over group.max.size");
        }
    }

    /// Answers every waiting request, because the group becomes one of another kind.
    pub fn refuse_waiting(&mut self, turn: &mut Turn<'_, '_>, error: ErrorCode) {
        for waiters in self.take_waiters() {
            turn.refuse(waiters, error);
        }
    }

    /// Every timer that the group may have set.
    pub(super) fn timers(&self) -> impl Iterator<Item = GroupTimer> {
        let members = self.members.keys().chain(&self.pending_joins);
        let sessions = members.map(|member_id| session_timer(&self.group_id, member_id));
        sessions.chain([self.join_timer(), self.sync_timer()])
    }

    pub(super) fn join_timer(&self) -> GroupTimer {
        GroupTimer::Classic(ClassicTimer::Join { group_id: self.group_id.clone() })
    }

    pub(super) fn sync_timer(&self) -> GroupTimer {
        GroupTimer::Classic(ClassicTimer::Sync { group_id: self.group_id.clone() })
    }

    /// Restarts a member's session with a timeout of its own.
    pub(super) fn hear_of(&self, turn: &mut Turn<'_, '_>, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            let timeout: Duration = member.details.session_timeout();
            turn.start_session(&self.group_id, member_id, timeout);
        }
    }
}

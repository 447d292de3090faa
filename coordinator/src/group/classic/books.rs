//! What must hold of a group's books after every operation, for tests.

#![allow(clippy::expect_used)]

use super::{ClassicTimer, group::ClassicGroup, state::State, turn::session_timer};
use crate::{group::GroupTimer, shard::Timers};

impl ClassicGroup {
    /// Checks the group against itself and against its timers: nobody waits for what never comes.
    pub(in crate::group::classic) fn check_books(&self, timers: &Timers<GroupTimer>) {
        let joining = self.members.values().filter(|member| member.is_joining()).count();
        assert_eq!(self.joining(), joining, "joins that wait");
        for (member_id, member) in &self.members {
            assert!(!self.pending_joins.contains(member_id), "member or pending, not both");
            if let Some(instance_id) = &member.details.instance_id {
                assert_eq!(self.member_of_instance(instance_id), Some(member_id.as_str()));
            }
            let session = timers.deadline(&session_timer(&self.group_id, member_id));
            assert!(session.is_some() || member.waits(), "{member_id} is watched by nobody");
            assert!(!member.is_syncing() || self.state == State::CompletingRebalance);
            assert!(!member.is_joining() || self.state == State::PreparingRebalance);
        }
        for member_id in &self.pending_joins {
            let session = timers.deadline(&session_timer(&self.group_id, member_id));
            assert!(session.is_some(), "pending member {member_id} is watched by nobody");
        }
        assert!(self.pending_syncs.iter().all(|member_id| self.has_member(member_id)));
        let group_id = self.group_id.clone();
        let join = timers
            .deadline(&GroupTimer::Classic(ClassicTimer::Join { group_id: group_id.clone() }));
        let sync = timers.deadline(&GroupTimer::Classic(ClassicTimer::Sync { group_id }));
        assert_eq!(join.is_some(), self.state == State::PreparingRebalance, "the wait for joins");
        assert_eq!(sync.is_some(), !self.pending_syncs.is_empty(), "the wait for syncs");
        assert!(self.initial_join.is_none() || self.state == State::PreparingRebalance);
        match self.state {
            State::Empty => assert!(self.members.is_empty() && self.leader.is_none()),
            State::PreparingRebalance => {}
            State::CompletingRebalance | State::Stable => {
                let leader = self.leader.as_ref().expect("a leader");
                assert!(self.has_member(leader), "the leader is a member");
                assert!(self.protocol_name.is_some(), "a protocol");
            }
        }
        if self.state == State::CompletingRebalance {
            let leader = self.leader.as_ref().expect("a leader");
            assert!(self.pending_syncs.contains(leader), "the leader has yet to assign");
        }
    }
}

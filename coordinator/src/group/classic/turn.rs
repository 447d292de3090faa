//! One operation on a group: what it may reach, and what it leaves behind.

use std::time::Duration;

use protocol::{
    ErrorCode,
    messages::{join_group::JoinGroupResponse, sync_group::SyncGroupResponse},
};
use tokio::sync::oneshot;

use super::{ClassicTimer, group::Waiters, member::Member};
use crate::group::{GroupConfig, GroupContext, GroupRecord, GroupTimer};

/// An operation in progress.
#[derive(Debug)]
pub struct Turn<'a, 'c> {
    /// Time, randomness, timers and answers.
    pub context: &'a mut GroupContext<'c>,
    /// The settings in force.
    pub config: &'a GroupConfig,
    /// What the operation appends.
    pub records: Vec<GroupRecord>,
}

impl<'a, 'c> Turn<'a, 'c> {
    /// Begins an operation.
    pub fn new(context: &'a mut GroupContext<'c>, config: &'a GroupConfig) -> Self {
        Self { context, config, records: Vec::new() }
    }

    /// Gives a member until then to be heard of again.
    pub(super) fn start_session(&mut self, group_id: &str, member_id: &str, timeout: Duration) {
        self.context.set_timer(session_timer(group_id, member_id), timeout);
    }

    pub(super) fn end_session(&mut self, group_id: &str, member_id: &str) {
        self.context.cancel_timer(&session_timer(group_id, member_id));
    }

    /// Answers what waits of a member that is gone.
    pub(super) fn dismiss(&mut self, mut member: Member, member_id: &str, error: ErrorCode) {
        let waiters = Waiters {
            member_id: member_id.to_owned(),
            joining: member.take_join(),
            syncing: member.take_sync(),
        };
        self.refuse(waiters, error);
    }

    /// Answers a member's waiting requests with an error.
    pub(super) fn refuse(&mut self, waiters: Waiters, error: ErrorCode) {
        if let Some(waiter) = waiters.joining {
            self.refuse_join(waiter, &waiters.member_id, error);
        }
        if let Some(waiter) = waiters.syncing {
            self.refuse_sync(waiter, error);
        }
    }

    pub(super) fn refuse_join(
        &mut self,
        waiter: oneshot::Sender<JoinGroupResponse>,
        member_id: &str,
        error: ErrorCode,
    ) {
        self.context.answer(waiter, join_error(member_id, error));
    }

    pub(super) fn refuse_sync(
        &mut self,
        waiter: oneshot::Sender<SyncGroupResponse>,
        error: ErrorCode,
    ) {
        self.context.answer(waiter, sync_error(error));
    }
}

pub(super) fn session_timer(group_id: &str, member_id: &str) -> GroupTimer {
    let (group_id, member_id) = (group_id.to_owned(), member_id.to_owned());
    GroupTimer::Classic(ClassicTimer::Session { group_id, member_id })
}

/// The JoinGroup answer that only says why.
#[must_use]
pub fn join_error(member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.code(),
        member_id: member_id.to_owned(),
        ..Default::default()
    }
}

/// The SyncGroup answer that only says why.
#[must_use]
pub fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), ..Default::default() }
}

//! Deadlines of members: each is set by key and moved in logarithmic time.

use std::time::Duration;

use super::member::{ConsumerMember, MemberState};
use crate::group::{GroupContext, GroupTimer};

/// The timers of consumer groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsumerTimer {
    /// A member was not heard of.
    Session(String, String),
    /// A member did not give up its partitions.
    Rebalance(String, String),
    /// A member of the classic protocol was told to join and did not.
    Join(String, String),
    /// A member of the classic protocol joined and did not ask for its assignment.
    Sync(String, String),
    /// The regular expressions of a group are to be resolved.
    ResolveRegexes(String),
}

type MemberTimer = fn(String, String) -> ConsumerTimer;

/// Of each member.
const MEMBER_TIMERS: [MemberTimer; 4] =
    [ConsumerTimer::Session, ConsumerTimer::Rebalance, ConsumerTimer::Join, ConsumerTimer::Sync];

fn key(timer: MemberTimer, group_id: &str, member_id: &str) -> GroupTimer {
    GroupTimer::Consumer(timer(group_id.to_owned(), member_id.to_owned()))
}

fn millis(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}

/// Sets a member's timer, or moves it.
pub(crate) fn set_member_timer(
    context: &mut GroupContext<'_>,
    timer: MemberTimer,
    (group_id, member_id): (&str, &str),
    timeout_ms: i32,
) {
    context.set_timer(key(timer, group_id, member_id), millis(timeout_ms));
}

/// Sets a member's timer unless it runs.
pub(crate) fn set_member_timer_if_absent(
    context: &mut GroupContext<'_>,
    timer: MemberTimer,
    (group_id, member_id): (&str, &str),
    timeout_ms: i32,
) {
    let key = key(timer, group_id, member_id);
    if !context.has_timer(&key) {
        context.set_timer(key, millis(timeout_ms));
    }
}

pub(crate) fn cancel_member_timer(
    context: &mut GroupContext<'_>,
    timer: MemberTimer,
    (group_id, member_id): (&str, &str),
) {
    context.cancel_timer(&key(timer, group_id, member_id));
}

/// Cancels all of a member's timers.
pub(crate) fn cancel_member_timers(
    context: &mut GroupContext<'_>,
    group_id: &str,
    member_id: &str,
) {
    for timer in MEMBER_TIMERS {
        context.cancel_timer(&key(timer, group_id, member_id));
    }
}

/// After a step of a member that speaks the consumer protocol: while it has partitions to give up,
/// the rest of the group waits for it, but not for ever.
pub(crate) fn follow_step(context: &mut GroupContext<'_>, group_id: &str, member: &ConsumerMember) {
    if member.uses_classic_protocol() {
        return;
    }
    let of = (group_id, member.member_id.as_str());
    if member.state == MemberState::UnrevokedPartitions {
        set_member_timer(context, ConsumerTimer::Rebalance, of, member.rebalance_timeout_ms);
    } else {
        cancel_member_timer(context, ConsumerTimer::Rebalance, of);
    }
}

//! One step of a member towards its target: first it gives up what the target does not give it, then
//! it goes to the target's epoch and takes what is free, then it waits for the rest.
//!
//! ```text
//!                 has to give up            given up
//!   Stable ────────────────────► Unrevoked ──────────┐
//!     ▲  └────────── nothing to give up ──────────┐  │
//!     │                                           ▼  ▼
//!     └────────────── all taken ──────────────  target's epoch
//!                                                  │    ▲
//!                                  some not free   ▼    │ next heartbeat
//!                                               Unreleased
//! ```
//!
//! This is what keeps GRP-1: a partition is taken only when nobody holds it, and it is held until the
//! member that has it reports that it does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::TopicId;
use protocol::ErrorCode;

use super::{
    super::{assignor::Partitions, error::GroupError},
    member::{ConsumerMember, MemberState, Owned},
};

/// What a member reports to own.
pub(crate) type Reported = Vec<(TopicId, Vec<i32>)>;

/// What a step depends on beside the member.
pub(crate) struct Step<'a> {
    /// The epoch of the target assignment.
    pub(crate) target_epoch: i32,
    /// The member's part of it.
    pub(crate) target: &'a Partitions,
    /// The topics that it subscribes to now: others are given up, whatever the target says.
    pub(crate) subscribed: &'a BTreeSet<TopicId>,
    /// Whether its subscription has just changed.
    pub(crate) subscription_changed: bool,
    /// What it reports to own, if it does.
    pub(crate) reported: Option<&'a Reported>,
    /// Whether some member holds a partition.
    pub(crate) is_held: &'a dyn Fn(TopicId, i32) -> bool,
}

impl Step<'_> {
    /// The member after the step; the same where it cannot move.
    pub(crate) fn apply(&self, member: &ConsumerMember) -> Result<ConsumerMember, GroupError> {
        match member.state {
            MemberState::Stable if member.epoch != self.target_epoch => {
                Ok(self.next(member, member.epoch))
            }
            MemberState::UnrevokedPartitions if !self.reports(&member.pending_revocation) => {
                Ok(self.next(member, member.epoch))
            }
            MemberState::Stable | MemberState::UnrevokedPartitions => {
                if self.subscription_changed {
                    Ok(self.without_unsubscribed(member))
                } else {
                    Ok(member.clone())
                }
            }
            MemberState::UnreleasedPartitions => Ok(self.next(member, member.epoch)),
            MemberState::Unknown => {
                if self.reported.is_some_and(Vec::is_empty) {
                    return Ok(self.next(member, self.target_epoch));
                }
                Err(GroupError::new(
                    ErrorCode::FencedMemberEpoch,
                    "The consumer group member is in a unknown state. The member must abandon all \
                     its partitions and rejoin.",
                ))
            }
        }
    }

    /// Whether the member still has any of these; who does not say may have all of them.
    fn reports(&self, revoked: &Owned) -> bool {
        let Some(reported) = self.reported else { return true };
        reported.iter().any(|(topic, partitions)| {
            revoked
                .get(topic)
                .is_some_and(|of| partitions.iter().any(|partition| of.contains_key(partition)))
        })
    }

    /// The target has not changed, the subscription has: only what is no longer subscribed goes.
    fn without_unsubscribed(&self, member: &ConsumerMember) -> ConsumerMember {
        let (kept, gone): (Owned, Owned) = member
            .assigned
            .iter()
            .map(|(topic, partitions)| (*topic, partitions.clone()))
            .partition(|(topic, _)| self.subscribed.contains(topic));
        if gone.is_empty() {
            return member.clone();
        }
        let mut pending = (*member.pending_revocation).clone();
        for (topic, partitions) in gone {
            pending.entry(topic).or_default().extend(partitions);
        }
        let mut next = member.clone();
        next.advance_to(member.epoch);
        next.assigned = Arc::new(kept);
        if self.reports(&pending) {
            next.state = MemberState::UnrevokedPartitions;
            next.pending_revocation = Arc::new(pending);
        }
        next
    }

    fn next(&self, member: &ConsumerMember, epoch: i32) -> ConsumerMember {
        let mut split = Split::default();
        let topics: BTreeSet<_> =
            self.target.keys().chain(member.assigned.keys()).copied().collect();
        for topic in topics {
            self.split(member, topic, &mut split);
        }

        let mut next = member.clone();
        if !split.revoked.is_empty() && self.reports(&split.revoked) {
            next.state = MemberState::UnrevokedPartitions;
            next.advance_to(epoch);
            next.pending_revocation = Arc::new(split.revoked);
        } else {
            next.state = if split.unreleased {
                MemberState::UnreleasedPartitions
            } else {
                MemberState::Stable
            };
            next.advance_to(self.target_epoch);
            for (topic, partitions) in split.taken {
                let kept: &mut BTreeMap<_, _> = split.kept.entry(topic).or_default();
                kept.extend(partitions.into_iter().map(|partition| (partition, self.target_epoch)));
            }
            next.pending_revocation = Arc::default();
        }
        next.assigned = Arc::new(split.kept);
        next
    }

    /// What of a topic the member keeps, gives up, takes and waits for.
    fn split(&self, member: &ConsumerMember, topic: TopicId, split: &mut Split) {
        let nothing = BTreeSet::new();
        let target = match self.target.get(&topic) {
            Some(target) if self.subscribed.contains(&topic) => target,
            _ => &nothing,
        };
        let none = BTreeMap::new();
        let assigned = member.assigned.get(&topic).unwrap_or(&none);
        let pending = member.pending_revocation.get(&topic).unwrap_or(&none);
        for (partition, epoch) in assigned {
            let side =
                if target.contains(partition) { &mut split.kept } else { &mut split.revoked };
            side.entry(topic).or_default().insert(*partition, *epoch);
        }
        for partition in target.iter().filter(|partition| !assigned.contains_key(partition)) {
            // What is held by this member itself, because it was to give it up, is free for it.
            if (self.is_held)(topic, *partition) && !pending.contains_key(partition) {
                split.unreleased = true;
            } else {
                split.taken.entry(topic).or_default().insert(*partition);
            }
        }
    }
}

#[derive(Default)]
struct Split {
    kept: Owned,
    revoked: Owned,
    taken: Partitions,
    unreleased: bool,
}

#[cfg(test)]
mod tests;

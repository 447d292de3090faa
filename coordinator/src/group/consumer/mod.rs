//! Groups of KIP-848's protocol: the coordinator assigns, and members follow at their own pace.
//!
//! ```text
//!   ConsumerGroupHeartbeat ─► change: member ─► group epoch ─► target ─► one step of the member
//!                                                                          (reconcile)
//!   JoinGroup, SyncGroup … ─► classic_members: the same for members of the classic protocol
//!   timers ────────────────► leave: fenced members;  regexes: what expressions match
//! ```
//!
//! `group` and `member` are the state, `replay` what records do to it, `records` how they are made.
//! `migration` turns classic groups into these and back. `answers` and `describe` are for the
//! questions of others.

mod answers;
mod change;
mod classic_members;
mod describe;
mod group;
mod heartbeat;
mod leave;
mod member;
mod metadata_hash;
mod migration;
mod reconcile;
mod records;
mod regex;
mod regexes;
mod replay;
mod settings;
mod subscription;
#[cfg(test)]
mod tests;
mod timers;

use protocol::ErrorCode;

use super::shard::{GroupContext, GroupShard};

pub use self::{
    describe::undescribed_consumer_group,
    group::ConsumerGroup,
    heartbeat::ClientIdentity,
    settings::{GroupOverrides, GroupOverridesSource, NoOverrides},
    timers::ConsumerTimer,
};
use self::{member::MemberState, timers::set_member_timer};
use super::kind::Group;

/// The protocol type of consumers.
pub(crate) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

impl GroupShard {
    /// All members get a fresh session: nobody knows when they were last heard of.
    pub(crate) fn consumer_loaded(&mut self, context: &mut GroupContext<'_>) {
        for (group_id, group) in &self.groups {
            let Group::Consumer(group) = group else { continue };
            let session_timeout_ms = self.consumer_settings(group_id).session_timeout_ms;
            for (member_id, member) in group.members() {
                let of = (group_id.as_str(), member_id.as_str());
                let session_timeout_ms =
                    member.classic_session_timeout_ms().unwrap_or(session_timeout_ms);
                set_member_timer(context, ConsumerTimer::Session, of, session_timeout_ms);
                if member.state == MemberState::UnrevokedPartitions {
                    let timeout_ms = member.rebalance_timeout_ms;
                    set_member_timer(context, ConsumerTimer::Rebalance, of, timeout_ms);
                }
            }
        }
    }

    /// Nobody waits in a consumer group: every request is answered at once.
    #[allow(clippy::unused_self, reason = "the counterpart of a part that has waiters")]
    pub(crate) fn consumer_unloaded(&mut self, _error: ErrorCode) {}
}

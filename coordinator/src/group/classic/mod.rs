//! Groups of the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), and those that only
//! keep offsets for consumers without membership.

mod replay;

use protocol::{ErrorCode, coordinator_records::group_metadata::GroupMetadataKey};

use super::{
    error::GroupError,
    kind::{CommitIdentity, CommitPartitionValidator, OffsetExpiration},
    records::GroupRecord,
    shard::{GroupContext, GroupOutcome, GroupShard},
};

/// The timers of classic groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClassicTimer {}

/// A classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    protocol_type: Option<String>,
    /// When the state last changed, Unix milliseconds, if the log says so.
    state_timestamp_ms: Option<i64>,
}

impl ClassicGroup {
    /// A group without members, as a commit of offsets from outside any group makes it.
    pub(crate) fn simple() -> Self {
        Self { protocol_type: None, state_timestamp_ms: None }
    }

    pub(crate) fn state_name(&self) -> &'static str {
        "Empty"
    }

    pub(crate) fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        true
    }

    pub(crate) fn member_count(&self) -> usize {
        0
    }

    pub(crate) fn has_member(&self, _member_id: &str) -> bool {
        false
    }

    pub(crate) fn is_subscribed_to(&self, _topic: &str) -> bool {
        false
    }

    pub(crate) fn validate_offset_commit(
        &self,
        identity: CommitIdentity<'_>,
    ) -> Result<Option<CommitPartitionValidator<'_>>, ErrorCode> {
        if identity.generation_or_epoch < 0 {
            return Ok(None);
        }
        Err(ErrorCode::UnknownMemberId)
    }

    pub(crate) fn validate_offset_fetch(
        &self,
        _member_id: Option<&str>,
        _member_epoch: i32,
    ) -> Result<(), ErrorCode> {
        Ok(())
    }

    pub(crate) fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        Ok(())
    }

    pub(crate) fn validate_delete(&self) -> Result<(), GroupError> {
        Ok(())
    }

    pub(crate) fn offset_expiration(&self) -> OffsetExpiration {
        match (&self.protocol_type, self.state_timestamp_ms) {
            (Some(_), Some(since)) => OffsetExpiration::Since(since),
            _ => OffsetExpiration::SinceCommit,
        }
    }

    pub(crate) fn tombstones(&self, group_id: &str, records: &mut Vec<GroupRecord>) {
        let key = GroupMetadataKey { group: group_id.to_owned() };
        records.push(GroupRecord::GroupMetadata(key, None));
    }

    pub(crate) fn cancel_timers(&self, _group_id: &str, _context: &mut GroupContext<'_>) {}
}

impl GroupShard {
    /// A member commits offsets: that keeps its session, if the group is stable or rebalances.
    pub fn keep_classic_session(
        &mut self,
        _group_id: &str,
        _member_id: &str,
        _context: &mut GroupContext<'_>,
    ) {
    }

    pub(crate) fn classic_loaded(&mut self, _context: &mut GroupContext<'_>) {}

    pub(crate) fn classic_expired(
        &mut self,
        timer: ClassicTimer,
        _context: &mut GroupContext<'_>,
    ) -> GroupOutcome<()> {
        match timer {}
    }

    pub(crate) fn classic_unloaded(&mut self, _error: ErrorCode) {}
}

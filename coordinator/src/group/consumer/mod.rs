//! Groups of KIP-848's protocol.

mod replay;

use protocol::{ErrorCode, coordinator_records::consumer_group_metadata::ConsumerGroupMetadataKey};

use super::{
    error::GroupError,
    kind::{CommitIdentity, CommitPartitionValidator, OffsetExpiration},
    records::GroupRecord,
    shard::{GroupContext, GroupOutcome, GroupShard},
};

/// The timers of consumer groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsumerTimer {}

/// A consumer group.
#[derive(Debug)]
pub struct ConsumerGroup {
    /// The group epoch.
    pub epoch: i32,
}

impl ConsumerGroup {
    pub(crate) fn state_name(&self) -> &'static str {
        "Empty"
    }

    pub(crate) fn protocol_type(&self) -> &str {
        "consumer"
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
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), ErrorCode> {
        if member_id.is_none() && member_epoch < 0 {
            return Ok(());
        }
        Err(ErrorCode::UnknownMemberId)
    }

    pub(crate) fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        Ok(())
    }

    pub(crate) fn validate_delete(&self) -> Result<(), GroupError> {
        Ok(())
    }

    pub(crate) fn offset_expiration(&self) -> OffsetExpiration {
        OffsetExpiration::SinceCommit
    }

    pub(crate) fn tombstones(&self, group_id: &str, records: &mut Vec<GroupRecord>) {
        let key = ConsumerGroupMetadataKey { group_id: group_id.to_owned() };
        records.push(GroupRecord::ConsumerGroupMetadata(key, None));
    }

    pub(crate) fn cancel_timers(&self, _group_id: &str, _context: &mut GroupContext<'_>) {}
}

impl GroupShard {
    pub(crate) fn consumer_loaded(&mut self, _context: &mut GroupContext<'_>) {}

    pub(crate) fn consumer_expired(
        &mut self,
        timer: ConsumerTimer,
        _context: &mut GroupContext<'_>,
    ) -> GroupOutcome<()> {
        match timer {}
    }

    pub(crate) fn consumer_unloaded(&mut self, _error: ErrorCode) {}

    /// The topics have changed: groups that subscribe to them look again at their next heartbeat.
    pub fn consumer_topics_changed(&mut self) {}
}

//! What a classic group says to those who commit, read or delete its offsets, or delete the group.

use protocol::ErrorCode;

use super::{group::ClassicGroup, state::State};
use crate::group::{
    CommitIdentity, CommitPartitionValidator, GroupContext, GroupError, GroupRecord,
    OffsetExpiration,
};

impl ClassicGroup {
    /// Whether this member, or nobody's member, may commit offsets now. There is nothing to look at
    /// per partition.
    pub(crate) fn validate_offset_commit(
        &self,
        identity: CommitIdentity<'_>,
    ) -> Result<Option<CommitPartitionValidator<'_>>, ErrorCode> {
        let generation = identity.generation_or_epoch;
        // An administrator, or a client that manages its partitions itself.
        if generation < 0 && self.is_empty() {
            return Ok(None);
        }
        let names_member = !identity.member_id.is_empty() || identity.group_instance_id.is_some();
        if generation >= 0 || names_member {
            self.validate_member(identity.member_id, identity.group_instance_id)?;
            if generation != self.generation_id() {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !identity.transactional {
            // A group with members takes offsets from them alone. Producers of old clients may not
            // say who they are.
            return Err(ErrorCode::UnknownMemberId);
        }
        if !identity.transactional && self.state() == State::CompletingRebalance {
            // The generation is the right one, but nobody owns anything in it yet.
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(None)
    }

    pub(crate) fn validate_offset_fetch(
        &self,
        _member_id: Option<&str>,
        _member_epoch: i32,
    ) -> Result<(), ErrorCode> {
        Ok(())
    }

    /// Offsets of consumers may be deleted topic by topic while there are members; what others mean
    /// by theirs is not known.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        if self.is_empty() || self.uses_consumer_protocol() {
            Ok(())
        } else {
            Err(ErrorCode::NonEmptyGroup)
        }
    }

    pub(crate) fn validate_delete(&self) -> Result<(), GroupError> {
        if self.is_empty() { Ok(()) } else { Err(ErrorCode::NonEmptyGroup.into()) }
    }

    /// Whether a member subscribes to the topic. While that is not known, consumers count as
    /// subscribed to every topic.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// From when on the retention of committed offsets counts: since the group became empty; for
    /// consumers at work, since the commit; never while members come and go.
    pub(crate) fn offset_expiration(&self) -> OffsetExpiration {
        let knows_topics = self.uses_consumer_protocol() && self.subscribed_topics.is_some();
        if self.protocol_type.is_none() {
            OffsetExpiration::SinceCommit
        } else if self.is_empty() {
            self.state_timestamp_ms.map_or(OffsetExpiration::SinceCommit, OffsetExpiration::Since)
        } else if knows_topics && self.state() == State::Stable {
            OffsetExpiration::SinceCommit
        } else {
            OffsetExpiration::Never
        }
    }

    pub(crate) fn tombstones(&self, _: &str, records: &mut Vec<GroupRecord>) {
        records.push(self.tombstone());
    }

    pub(crate) fn cancel_timers(&self, _: &str, context: &mut GroupContext<'_>) {
        for timer in self.timers() {
            context.cancel_timer(&timer);
        }
    }
}

//! What a consumer group answers to questions that concern every kind of group.

use common::TopicId;
use protocol::ErrorCode;
use uuid::Uuid;

use super::{
    group::ConsumerGroup, member::ConsumerMember, records::RecordsOf, timers::cancel_member_timers,
};
use crate::group::{
    CommitIdentity, CommitPartitionValidator, GroupContext, GroupError, GroupRecord,
    OffsetExpiration,
};

/// The first version of OffsetCommit that carries a member epoch.
const OFFSET_COMMIT_WITH_MEMBER_EPOCH: i16 = 9;

impl ConsumerGroup {
    pub(crate) fn state_name(&self) -> &'static str {
        if self.members().is_empty() {
            "Empty"
        } else if self.epoch > self.assignment_epoch {
            "Assigning"
        } else if self.members().values().all(|of| of.is_reconciled_to(self.assignment_epoch)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub(crate) fn protocol_type(&self) -> &str {
        super::CONSUMER_PROTOCOL_TYPE
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members().len()
    }

    pub(crate) fn has_member(&self, member_id: &str) -> bool {
        self.members().contains_key(member_id)
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.topics().contains_key(topic)
    }

    /// A member commits in its epoch, or in an older one for partitions that it has had since.
    pub(crate) fn validate_offset_commit(
        &self,
        identity: CommitIdentity<'_>,
    ) -> Result<Option<CommitPartitionValidator<'_>>, ErrorCode> {
        let epoch = identity.generation_or_epoch;
        // Tools and consumers without membership, while nobody is in the group.
        if epoch < 0 && self.is_empty() {
            return Ok(None);
        }
        let anonymous =
            epoch == -1 && identity.member_id.is_empty() && identity.group_instance_id.is_none();
        if identity.transactional && anonymous {
            return Ok(None);
        }
        let member = self.member(identity.member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if !identity.transactional
            && !member.uses_classic_protocol()
            && identity.api_version < OFFSET_COMMIT_WITH_MEMBER_EPOCH
        {
            return Err(ErrorCode::UnsupportedVersion);
        }
        match epoch.cmp(&member.epoch) {
            std::cmp::Ordering::Equal => Ok(None),
            std::cmp::Ordering::Greater => Err(stale(member)),
            std::cmp::Ordering::Less => {
                Ok(Some(Box::new(move |_: &str, topic_id: Uuid, partition: i32| {
                    let assigned = member.assignment_epoch(TopicId(topic_id), partition);
                    match assigned {
                        Some(assigned) if epoch >= assigned => Ok(()),
                        _ => Err(stale(member)),
                    }
                })))
            }
        }
    }

    pub(crate) fn validate_offset_fetch(
        &self,
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), ErrorCode> {
        // A tool, or a client that does not say who it is.
        if member_id.is_none() && member_epoch < 0 {
            return Ok(());
        }
        let member = member_id.and_then(|id| self.member(id)).ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch == member_epoch { Ok(()) } else { Err(stale(member)) }
    }

    #[allow(clippy::unused_self, reason = "the same question to every kind of group")]
    pub(crate) fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        Ok(())
    }

    pub(crate) fn validate_delete(&self) -> Result<(), GroupError> {
        if self.is_empty() { Ok(()) } else { Err(ErrorCode::NonEmptyGroup.into()) }
    }

    #[allow(clippy::unused_self, reason = "the same question to every kind of group")]
    pub(crate) fn offset_expiration(&self) -> OffsetExpiration {
        OffsetExpiration::SinceCommit
    }

    /// The tombstones of the whole group, in Kafka's order.
    pub(crate) fn tombstones(&self, group_id: &str, records: &mut Vec<GroupRecord>) {
        let of = RecordsOf(group_id);
        records.extend(self.members().keys().map(|id| of.current_tombstone(id)));
        records.extend(self.members().keys().map(|id| of.target_tombstone(id)));
        records.push(of.target_epoch_tombstone());
        records.extend(self.members().keys().map(|id| of.member_tombstone(id)));
        records.extend(self.resolved().keys().map(|regex| of.regex_tombstone(regex)));
        records.push(of.partition_metadata_tombstone());
        records.push(of.epoch_tombstone());
    }

    pub(crate) fn cancel_timers(&self, group_id: &str, context: &mut GroupContext<'_>) {
        for member_id in self.members().keys() {
            cancel_member_timers(context, group_id, member_id);
        }
    }
}

/// What a member with a wrong epoch is told, in the words of its protocol.
fn stale(member: &ConsumerMember) -> ErrorCode {
    if member.uses_classic_protocol() {
        ErrorCode::IllegalGeneration
    } else {
        ErrorCode::StaleMemberEpoch
    }
}

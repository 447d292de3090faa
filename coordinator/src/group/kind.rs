//! What every kind of group answers to: the questions that offsets and the admin operations ask.

use protocol::ErrorCode;
use uuid::Uuid;

use super::{
    classic::ClassicGroup, consumer::ConsumerGroup, error::GroupError, records::GroupRecord,
    shard::GroupContext,
};

/// A group of either protocol.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives in a map and is not moved about")]
pub enum Group {
    /// The classic protocol, or offsets without members.
    Classic(ClassicGroup),
    /// KIP-848.
    Consumer(ConsumerGroup),
}

/// Who commits offsets.
#[derive(Debug, Clone, Copy)]
pub struct CommitIdentity<'a> {
    /// The member, empty if the committer is none.
    pub member_id: &'a str,
    /// The static member.
    pub group_instance_id: Option<&'a str>,
    /// The generation of a classic group, the member epoch of a consumer group; -1 for none.
    pub generation_or_epoch: i32,
    /// Whether the offsets belong to a transaction.
    pub transactional: bool,
    /// The version of the request.
    pub api_version: i16,
}

/// Says whether the member may commit for a partition: topic name, topic id (nil if unknown), index.
pub type CommitPartitionValidator<'a> = Box<dyn Fn(&str, Uuid, i32) -> Result<(), ErrorCode> + 'a>;

/// From when on the retention of a group's committed offsets counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetExpiration {
    /// Nothing expires.
    Never,
    /// From each offset's commit.
    SinceCommit,
    /// From this Unix time in milliseconds, when the group became empty.
    Since(i64),
}

/// Calls the same method of whichever group it is.
macro_rules! each {
    ($group:expr, $inner:ident => $call:expr) => {
        match $group {
            Group::Classic($inner) => $call,
            Group::Consumer($inner) => $call,
        }
    };
}

impl Group {
    /// Kafka's name of the type, as ListGroups has it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    /// Kafka's name of the state, such as `Stable`.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        each!(self, group => group.state_name())
    }

    /// The protocol type, empty for offsets without members.
    #[must_use]
    pub fn protocol_type(&self) -> &str {
        each!(self, group => group.protocol_type())
    }

    /// Whether the group is in state `Empty`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        each!(self, group => group.is_empty())
    }

    /// How many members there are.
    #[must_use]
    pub fn member_count(&self) -> usize {
        each!(self, group => group.member_count())
    }

    /// Whether there is such a member.
    #[must_use]
    pub fn has_member(&self, member_id: &str) -> bool {
        each!(self, group => group.has_member(member_id))
    }

    /// Whether members subscribe to the topic.
    #[must_use]
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        each!(self, group => group.is_subscribed_to(topic))
    }

    /// Whether this member may commit offsets now; `None` of a validator: for every partition.
    ///
    /// # Errors
    /// Kafka's code for who may not.
    pub fn validate_offset_commit(
        &self,
        identity: CommitIdentity<'_>,
    ) -> Result<Option<CommitPartitionValidator<'_>>, ErrorCode> {
        each!(self, group => group.validate_offset_commit(identity))
    }

    /// Whether this member may fetch offsets (OffsetFetch since v9).
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND` for a dead group, and the codes of members that are unknown or stale.
    pub fn validate_offset_fetch(
        &self,
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), ErrorCode> {
        each!(self, group => group.validate_offset_fetch(member_id, member_epoch))
    }

    /// Whether OffsetDelete may touch the group.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`.
    pub fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        each!(self, group => group.validate_offset_delete())
    }

    /// Whether DeleteGroups may delete the group.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`.
    pub fn validate_delete(&self) -> Result<(), GroupError> {
        each!(self, group => group.validate_delete())
    }

    /// From when on the retention of committed offsets counts.
    #[must_use]
    pub fn offset_expiration(&self) -> OffsetExpiration {
        each!(self, group => group.offset_expiration())
    }

    /// Adds the tombstones that delete the group (not its offsets).
    pub fn tombstones(&self, group_id: &str, records: &mut Vec<GroupRecord>) {
        each!(self, group => group.tombstones(group_id, records));
    }

    /// Cancels the timers of the group and of its members.
    pub fn cancel_timers(&self, group_id: &str, context: &mut GroupContext<'_>) {
        each!(self, group => group.cancel_timers(group_id, context));
    }
}

//! The state of one partition of `__consumer_offsets`: groups and offsets.
//!
//! Here is only who is asked; what the answer is stands with the owners: `offsets`, `classic`,
//! `consumer`.

use std::{collections::BTreeMap, sync::Arc};

use common::ProducerId;
use protocol::ErrorCode;

use super::{
    classic::ClassicTimer,
    config::GroupConfig,
    consumer::{ConsumerTimer, GroupOverrides, GroupOverridesSource, NoOverrides},
    kind::Group,
    offsets::Offsets,
    records::GroupRecord,
};
use crate::{
    shard::{Context, Outcome, Replayed, Shard},
    topics::{TopicImage, TopicSource},
};

/// What group operations are given.
pub type GroupContext<'a> = Context<'a, GroupTimer>;
/// What group operations decide.
pub type GroupOutcome<R> = Outcome<R, GroupRecord>;

/// The timers of a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupTimer {
    /// It is time to look for expired offsets and empty groups.
    OffsetRetention,
    /// Of the classic protocol.
    Classic(ClassicTimer),
    /// Of KIP-848.
    Consumer(ConsumerTimer),
}

/// The groups whose ids hash to one partition, and their offsets.
#[derive(Debug)]
pub struct GroupShard {
    pub(crate) config: Arc<GroupConfig>,
    topics: TopicSource,
    overrides: Arc<dyn GroupOverridesSource>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) offsets: Offsets,
}

impl GroupShard {
    /// A shard before its log is replayed.
    #[must_use]
    pub fn new(config: Arc<GroupConfig>, topics: TopicSource) -> Self {
        Self {
            config,
            topics,
            overrides: Arc::new(NoOverrides),
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
        }
    }

    /// The same with settings of single groups.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Arc<dyn GroupOverridesSource>) -> Self {
        self.overrides = overrides;
        self
    }

    /// What is set for one group.
    pub(crate) fn overrides(&self, group_id: &str) -> GroupOverrides {
        self.overrides.overrides(group_id)
    }

    /// The topics as they are now.
    #[must_use]
    pub fn topics(&self) -> Arc<dyn TopicImage> {
        self.topics.current()
    }

    /// The group with this id.
    #[must_use]
    pub fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id)
    }
}

impl Shard for GroupShard {
    type Record = GroupRecord;
    type Timer = GroupTimer;

    fn replay(&mut self, at: Replayed, record: GroupRecord) {
        match record {
            GroupRecord::LegacyOffsetCommit(key, value) => {
                self.replay_legacy_offset_commit(at, key, value);
            }
            GroupRecord::OffsetCommit(key, value) => self.replay_offset_commit(at, key, value),
            GroupRecord::GroupMetadata(key, value) => self.replay_group_metadata(at, key, value),
            GroupRecord::ConsumerGroupMetadata(key, value) => {
                self.replay_consumer_group_metadata(at, &key, value);
            }
            GroupRecord::ConsumerGroupPartitionMetadata(key, value) => {
                self.replay_consumer_group_partition_metadata(at, &key, value.as_ref());
            }
            GroupRecord::ConsumerGroupMemberMetadata(key, value) => {
                self.replay_consumer_group_member_metadata(at, &key, value);
            }
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, value) => {
                self.replay_consumer_group_target_assignment_metadata(at, &key, value);
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember(key, value) => {
                self.replay_consumer_group_target_assignment_member(at, &key, value);
            }
            GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value) => {
                self.replay_consumer_group_current_member_assignment(at, &key, value);
            }
            GroupRecord::ConsumerGroupRegularExpression(key, value) => {
                self.replay_consumer_group_regular_expression(at, &key, value);
            }
        }
    }

    fn replay_marker(&mut self, producer_id: ProducerId, _producer_epoch: i16, committed: bool) {
        self.offsets.complete_transaction(producer_id, committed);
    }

    fn loaded(&mut self, context: &mut GroupContext<'_>) {
        self.schedule_offset_retention(context);
        self.classic_loaded(context);
        self.consumer_loaded(context);
    }

    fn expired(&mut self, timer: GroupTimer, context: &mut GroupContext<'_>) -> GroupOutcome<()> {
        match timer {
            GroupTimer::OffsetRetention => self.expire_offsets(context),
            GroupTimer::Classic(timer) => self.classic_expired(&timer, context),
            GroupTimer::Consumer(timer) => self.consumer_expired(timer, context),
        }
    }

    fn unloaded(&mut self, error: ErrorCode) {
        self.classic_unloaded(error);
        self.consumer_unloaded(error);
    }
}

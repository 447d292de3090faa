//! Hard state of consumer groups: what their records do.
//!
//! A group comes with its first record and goes with the tombstone of its epoch. Tombstones never
//! touch a classic group: it has taken the place of the consumer group that they are of. What a
//! compacted log has lost is not missed: a record says all there is to say about its key.

use common::TopicId;
use protocol::coordinator_records::{
    consumer_group_current_member_assignment::{
        ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
    },
    consumer_group_member_metadata::{
        ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue,
    },
    consumer_group_metadata::{ConsumerGroupMetadataKey, ConsumerGroupMetadataValue},
    consumer_group_partition_metadata::{
        ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue,
    },
    consumer_group_regular_expression::{
        ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    },
    consumer_group_target_assignment_member::{
        ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
    },
    consumer_group_target_assignment_metadata::{
        ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
    },
};
use std::sync::Arc;
use tracing::warn;

use super::{
    group::{ConsumerGroup, NO_ASSIGNMENT_EPOCH, ResolvedRegex},
    member::{ConsumerMember, LEAVE_EPOCH},
};
use crate::{
    group::{Group, GroupShard},
    shard::Replayed,
};

impl GroupShard {
    /// Applies a record with a value to its group: made where there is none, and in the place of a
    /// classic group that only held offsets, which has no record of its own.
    fn replay_to_group(&mut self, group_id: &str, apply: impl FnOnce(&mut ConsumerGroup)) {
        match self.groups.get_mut(group_id) {
            Some(Group::Consumer(group)) => apply(group),
            other => {
                if other.is_some_and(|group| !group.is_empty()) {
                    warn!(group = %group_id, "a consumer group takes the place of a classic one");
                }
                let mut group = ConsumerGroup::new(group_id);
                apply(&mut group);
                self.groups.insert(group_id.to_owned(), Group::Consumer(group));
            }
        }
    }

    fn replayed_tombstone(&mut self, group_id: &str) -> Option<&mut ConsumerGroup> {
        match self.groups.get_mut(group_id) {
            Some(Group::Consumer(group)) => Some(group),
            Some(Group::Classic(_)) | None => None,
        }
    }

    pub(crate) fn replay_consumer_group_metadata(
        &mut self,
        _at: Replayed,
        key: &ConsumerGroupMetadataKey,
        value: Option<ConsumerGroupMetadataValue>,
    ) {
        match value {
            Some(value) => {
                self.replay_to_group(&key.group_id, |group| {
                    group.epoch = value.epoch;
                    group.metadata_hash = value.metadata_hash;
                });
            }
            None if self.replayed_tombstone(&key.group_id).is_some() => {
                self.groups.remove(&key.group_id);
            }
            None => {}
        }
    }

    pub(crate) fn replay_consumer_group_partition_metadata(
        &mut self,
        _at: Replayed,
        key: &ConsumerGroupPartitionMetadataKey,
        value: Option<&ConsumerGroupPartitionMetadataValue>,
    ) {
        match value {
            Some(_) => {
                self.replay_to_group(&key.group_id, |group| group.has_partition_metadata = true);
            }
            None => {
                if let Some(group) = self.replayed_tombstone(&key.group_id) {
                    group.has_partition_metadata = false;
                }
            }
        }
    }

    pub(crate) fn replay_consumer_group_member_metadata(
        &mut self,
        _at: Replayed,
        key: &ConsumerGroupMemberMetadataKey,
        value: Option<ConsumerGroupMemberMetadataValue>,
    ) {
        match value {
            Some(value) => {
                self.replay_to_group(&key.group_id, |group| {
                    let mut member = member(group, &key.member_id);
                    member.describe(value);
                    group.update_member(member);
                });
            }
            None => {
                if let Some(group) = self.replayed_tombstone(&key.group_id) {
                    group.remove_member(&key.member_id);
                }
            }
        }
    }

    pub(crate) fn replay_consumer_group_target_assignment_metadata(
        &mut self,
        _at: Replayed,
        key: &ConsumerGroupTargetAssignmentMetadataKey,
        value: Option<ConsumerGroupTargetAssignmentMetadataValue>,
    ) {
        match value {
            Some(value) => {
                self.replay_to_group(&key.group_id, |group| {
                    group.assignment_epoch = value.assignment_epoch;
                    group.assignment_timestamp_ms = value.assignment_timestamp;
                });
            }
            None => {
                if let Some(group) = self.replayed_tombstone(&key.group_id) {
                    group.assignment_epoch = NO_ASSIGNMENT_EPOCH;
                    group.assignment_timestamp_ms = 0;
                }
            }
        }
    }

    pub(crate) fn replay_consumer_group_target_assignment_member(
        &mut self,
        _at: Replayed,
        key: &ConsumerGroupTargetAssignmentMemberKey,
        value: Option<ConsumerGroupTargetAssignmentMemberValue>,
    ) {
        match value {
            Some(value) => {
                let target = value.topic_partitions.into_iter();
                let target =
                    target.map(|of| (TopicId(of.topic_id), of.partitions.into_iter().collect()));
                let target = target.collect();
                self.replay_to_group(&key.group_id, |group| {
                    group.update_target(&key.member_id, target);
                });
            }
            None => {
                if let Some(group) = self.replayed_tombstone(&key.group_id) {
                    group.remove_target(&key.member_id);
                }
            }
        }
    }

    pub(crate) fn replay_consumer_group_current_member_assignment(
        &mut self,
        _at: Replayed,
        key: &ConsumerGroupCurrentMemberAssignmentKey,
        value: Option<ConsumerGroupCurrentMemberAssignmentValue>,
    ) {
        match value {
            Some(value) => {
                self.replay_to_group(&key.group_id, |group| {
                    let mut member = member(group, &key.member_id);
                    member.settle(&value);
                    group.update_member(member);
                });
            }
            None => {
                let Some(group) = self.replayed_tombstone(&key.group_id) else { return };
                let Some(mut member) = group.member(&key.member_id).cloned() else { return };
                member.epoch = LEAVE_EPOCH;
                member.previous_epoch = LEAVE_EPOCH;
                member.assigned = Arc::default();
                member.pending_revocation = Arc::default();
                group.update_member(member);
            }
        }
    }

    pub(crate) fn replay_consumer_group_regular_expression(
        &mut self,
        _at: Replayed,
        key: &ConsumerGroupRegularExpressionKey,
        value: Option<ConsumerGroupRegularExpressionValue>,
    ) {
        match value {
            Some(value) => {
                let resolved = ResolvedRegex {
                    topics: value.topics.into_iter().collect(),
                    version: value.version,
                    timestamp_ms: value.timestamp,
                };
                self.replay_to_group(&key.group_id, |group| {
                    group.update_resolved(&key.regular_expression, resolved);
                });
            }
            None => {
                if let Some(group) = self.replayed_tombstone(&key.group_id) {
                    group.remove_resolved(&key.regular_expression);
                }
            }
        }
    }
}

fn member(group: &ConsumerGroup, member_id: &str) -> ConsumerMember {
    group.member(member_id).cloned().unwrap_or_else(|| ConsumerMember::new(member_id))
}

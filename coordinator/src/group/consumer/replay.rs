//! Hard state of consumer groups: what their records do.

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

use super::ConsumerGroup;
use crate::{
    group::{Group, GroupShard},
    shard::Replayed,
};

impl GroupShard {
    pub(crate) fn replay_consumer_group_metadata(
        &mut self,
        _at: Replayed,
        key: ConsumerGroupMetadataKey,
        value: Option<ConsumerGroupMetadataValue>,
    ) {
        match value {
            Some(value) => {
                let group = ConsumerGroup { epoch: value.epoch };
                self.groups.insert(key.group_id, Group::Consumer(group));
            }
            None => {
                self.groups.remove(&key.group_id);
            }
        }
    }

    pub(crate) fn replay_consumer_group_partition_metadata(
        &mut self,
        _at: Replayed,
        _key: ConsumerGroupPartitionMetadataKey,
        _value: Option<ConsumerGroupPartitionMetadataValue>,
    ) {
    }

    pub(crate) fn replay_consumer_group_member_metadata(
        &mut self,
        _at: Replayed,
        _key: ConsumerGroupMemberMetadataKey,
        _value: Option<ConsumerGroupMemberMetadataValue>,
    ) {
    }

    pub(crate) fn replay_consumer_group_target_assignment_metadata(
        &mut self,
        _at: Replayed,
        _key: ConsumerGroupTargetAssignmentMetadataKey,
        _value: Option<ConsumerGroupTargetAssignmentMetadataValue>,
    ) {
    }

    pub(crate) fn replay_consumer_group_target_assignment_member(
        &mut self,
        _at: Replayed,
        _key: ConsumerGroupTargetAssignmentMemberKey,
        _value: Option<ConsumerGroupTargetAssignmentMemberValue>,
    ) {
    }

    pub(crate) fn replay_consumer_group_current_member_assignment(
        &mut self,
        _at: Replayed,
        _key: ConsumerGroupCurrentMemberAssignmentKey,
        _value: Option<ConsumerGroupCurrentMemberAssignmentValue>,
    ) {
    }

    pub(crate) fn replay_consumer_group_regular_expression(
        &mut self,
        _at: Replayed,
        _key: ConsumerGroupRegularExpressionKey,
        _value: Option<ConsumerGroupRegularExpressionValue>,
    ) {
    }
}

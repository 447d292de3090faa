//! The records of a consumer group, as Kafka writes them. Lists that Kafka takes from hash maps are
//! ascending here.

use protocol::coordinator_records::{
    consumer_group_current_member_assignment::{
        ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
        TopicPartitions,
    },
    consumer_group_member_metadata::{
        ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue,
    },
    consumer_group_metadata::{ConsumerGroupMetadataKey, ConsumerGroupMetadataValue},
    consumer_group_partition_metadata::ConsumerGroupPartitionMetadataKey,
    consumer_group_regular_expression::{
        ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    },
    consumer_group_target_assignment_member::{
        ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
        TopicPartition,
    },
    consumer_group_target_assignment_metadata::{
        ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
    },
};

use super::{
    super::{assignor::Partitions, records::GroupRecord},
    group::ResolvedRegex,
    member::{ConsumerMember, Owned},
};

/// Makes the records of one group.
#[derive(Clone, Copy)]
pub(crate) struct RecordsOf<'a>(pub(crate) &'a str);

impl RecordsOf<'_> {
    fn group(self) -> String {
        self.0.to_owned()
    }

    pub(crate) fn epoch(self, epoch: i32, metadata_hash: i64) -> GroupRecord {
        GroupRecord::ConsumerGroupMetadata(
            ConsumerGroupMetadataKey { group_id: self.group() },
            Some(ConsumerGroupMetadataValue { epoch, metadata_hash }),
        )
    }

    pub(crate) fn epoch_tombstone(self) -> GroupRecord {
        let key = ConsumerGroupMetadataKey { group_id: self.group() };
        GroupRecord::ConsumerGroupMetadata(key, None)
    }

    pub(crate) fn partition_metadata_tombstone(self) -> GroupRecord {
        let key = ConsumerGroupPartitionMetadataKey { group_id: self.group() };
        GroupRecord::ConsumerGroupPartitionMetadata(key, None)
    }

    pub(crate) fn member(self, member: &ConsumerMember) -> GroupRecord {
        let value = ConsumerGroupMemberMetadataValue {
            instance_id: member.instance_id.clone(),
            rack_id: member.rack_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            subscribed_topic_names: member.topic_names.iter().cloned().collect(),
            subscribed_topic_regex: member.topic_regex.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            server_assignor: member.server_assignor.clone(),
            classic_member_metadata: member.classic.as_deref().cloned(),
        };
        GroupRecord::ConsumerGroupMemberMetadata(self.member_key(&member.member_id), Some(value))
    }

    pub(crate) fn member_tombstone(self, member_id: &str) -> GroupRecord {
        GroupRecord::ConsumerGroupMemberMetadata(self.member_key(member_id), None)
    }

    fn member_key(self, member_id: &str) -> ConsumerGroupMemberMetadataKey {
        ConsumerGroupMemberMetadataKey { group_id: self.group(), member_id: member_id.to_owned() }
    }

    pub(crate) fn target(self, member_id: &str, target: &Partitions) -> GroupRecord {
        let topics = target.iter().map(|(topic, partitions)| TopicPartition {
            topic_id: topic.0,
            partitions: partitions.iter().copied().collect(),
        });
        let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() };
        GroupRecord::ConsumerGroupTargetAssignmentMember(self.target_key(member_id), Some(value))
    }

    pub(crate) fn target_tombstone(self, member_id: &str) -> GroupRecord {
        GroupRecord::ConsumerGroupTargetAssignmentMember(self.target_key(member_id), None)
    }

    fn target_key(self, member_id: &str) -> ConsumerGroupTargetAssignmentMemberKey {
        ConsumerGroupTargetAssignmentMemberKey {
            group_id: self.group(),
            member_id: member_id.to_owned(),
        }
    }

    pub(crate) fn target_epoch(self, epoch: i32, timestamp_ms: i64) -> GroupRecord {
        GroupRecord::ConsumerGroupTargetAssignmentMetadata(
            ConsumerGroupTargetAssignmentMetadataKey { group_id: self.group() },
            Some(ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: epoch,
                assignment_timestamp: timestamp_ms,
            }),
        )
    }

    pub(crate) fn target_epoch_tombstone(self) -> GroupRecord {
        let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: self.group() };
        GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, None)
    }

    pub(crate) fn current(self, member: &ConsumerMember) -> GroupRecord {
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: member.epoch,
            previous_member_epoch: member.previous_epoch,
            state: member.state.code(),
            assigned_partitions: topic_partitions(&member.assigned),
            partitions_pending_revocation: topic_partitions(&member.pending_revocation),
        };
        GroupRecord::ConsumerGroupCurrentMemberAssignment(
            self.current_key(&member.member_id),
            Some(value),
        )
    }

    pub(crate) fn current_tombstone(self, member_id: &str) -> GroupRecord {
        GroupRecord::ConsumerGroupCurrentMemberAssignment(self.current_key(member_id), None)
    }

    fn current_key(self, member_id: &str) -> ConsumerGroupCurrentMemberAssignmentKey {
        ConsumerGroupCurrentMemberAssignmentKey {
            group_id: self.group(),
            member_id: member_id.to_owned(),
        }
    }

    pub(crate) fn regex(self, regex: &str, resolved: &ResolvedRegex) -> GroupRecord {
        let value = ConsumerGroupRegularExpressionValue {
            topics: resolved.topics.iter().cloned().collect(),
            version: resolved.version,
            timestamp: resolved.timestamp_ms,
        };
        GroupRecord::ConsumerGroupRegularExpression(self.regex_key(regex), Some(value))
    }

    pub(crate) fn regex_tombstone(self, regex: &str) -> GroupRecord {
        GroupRecord::ConsumerGroupRegularExpression(self.regex_key(regex), None)
    }

    fn regex_key(self, regex: &str) -> ConsumerGroupRegularExpressionKey {
        ConsumerGroupRegularExpressionKey {
            group_id: self.group(),
            regular_expression: regex.to_owned(),
        }
    }

    /// The tombstones of a member. Their order matters: a member without assignment can go.
    pub(crate) fn remove_member(self, records: &mut Vec<GroupRecord>, member_id: &str) {
        records.push(self.current_tombstone(member_id));
        records.push(self.target_tombstone(member_id));
        records.push(self.member_tombstone(member_id));
    }
}

fn topic_partitions(owned: &Owned) -> Vec<TopicPartitions> {
    let topics = owned.iter().map(|(topic, partitions)| TopicPartitions {
        topic_id: topic.0,
        partitions: partitions.keys().copied().collect(),
        assignment_epochs: Some(partitions.values().copied().collect()),
    });
    topics.collect()
}

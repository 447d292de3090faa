//! The records of `__consumer_offsets`, each in the version that Apache Kafka 4.3 writes.
//!
//! Records of share and streams groups, and of later releases, are of no known type here: they are
//! skipped at load and stay in the log.

use bytes::Bytes;
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
    group_metadata::{GroupMetadataKey, GroupMetadataValue},
    legacy_offset_commit::{LegacyOffsetCommitKey, LegacyOffsetCommitValue},
    offset_commit::{OffsetCommitKey, OffsetCommitValue},
};

use crate::{
    records::coordinator_records,
    shard::{EncodedRecord, LogRecord, RecordError},
};

coordinator_records! {
    /// A record of `__consumer_offsets`: its key, and its value or a tombstone.
    GroupRecord {
        /// An offset as releases before 0.9 wrote it.
        LegacyOffsetCommit(LegacyOffsetCommitKey, LegacyOffsetCommitValue) in |_| 0,
        /// A committed offset.
        OffsetCommit(OffsetCommitKey, OffsetCommitValue) in offset_commit_version,
        /// A classic group with its members.
        GroupMetadata(GroupMetadataKey, GroupMetadataValue) in |_| 3,
        /// The epoch of a consumer group.
        ConsumerGroupMetadata(ConsumerGroupMetadataKey, ConsumerGroupMetadataValue) in |_| 0,
        /// What a consumer group knew of its topics, up to Kafka 4.0.
        ConsumerGroupPartitionMetadata(
            ConsumerGroupPartitionMetadataKey,
            ConsumerGroupPartitionMetadataValue
        ) in |_| 0,
        /// A member of a consumer group and what it subscribes to.
        ConsumerGroupMemberMetadata(
            ConsumerGroupMemberMetadataKey,
            ConsumerGroupMemberMetadataValue
        ) in |_| 0,
        /// The epoch of a consumer group's target assignment.
        ConsumerGroupTargetAssignmentMetadata(
            ConsumerGroupTargetAssignmentMetadataKey,
            ConsumerGroupTargetAssignmentMetadataValue
        ) in |_| 0,
        /// What a member of a consumer group is to own.
        ConsumerGroupTargetAssignmentMember(
            ConsumerGroupTargetAssignmentMemberKey,
            ConsumerGroupTargetAssignmentMemberValue
        ) in |_| 0,
        /// What a member of a consumer group owns.
        ConsumerGroupCurrentMemberAssignment(
            ConsumerGroupCurrentMemberAssignmentKey,
            ConsumerGroupCurrentMemberAssignmentValue
        ) in |_| 0,
        /// The topics that a regular expression of a consumer group matches.
        ConsumerGroupRegularExpression(
            ConsumerGroupRegularExpressionKey,
            ConsumerGroupRegularExpressionValue
        ) in |_| 0,
    }
}

/// An offset with a deadline of its own has a version of its own: only that one can carry it.
fn offset_commit_version(value: &OffsetCommitValue) -> i16 {
    if value.expire_timestamp == -1 { 4 } else { 1 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn again(record: &GroupRecord) -> GroupRecord {
        let encoded = record.encode().unwrap();
        GroupRecord::decode(&encoded.key, encoded.value.as_ref()).unwrap().unwrap()
    }

    fn commit(value: Option<OffsetCommitValue>) -> GroupRecord {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 };
        GroupRecord::OffsetCommit(key, value)
    }

    #[test]
    fn a_deadline_of_its_own_puts_an_offset_into_version_1() {
        let value = OffsetCommitValue { offset: 7, ..OffsetCommitValue::default() };
        let record = commit(Some(value.clone()));
        assert_eq!(record.encode().unwrap().value.unwrap()[..2], [0, 4]);
        assert_eq!(again(&record), record);
        let record = commit(Some(OffsetCommitValue { expire_timestamp: 9, ..value }));
        assert_eq!(record.encode().unwrap().value.unwrap()[..2], [0, 1]);
        assert_eq!(again(&record), record);
    }

    #[test]
    fn what_apache_kafka_wrote_is_read_and_written_as_it_is() {
        let golden = include_str!("../../testdata/consumer_offsets.txt");
        let records = crate::records::tests::golden::<GroupRecord>(golden);
        let kinds: std::collections::BTreeSet<_> = records.iter().map(kind).collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7, 8]);
    }

    fn kind(record: &GroupRecord) -> i16 {
        crate::records::record_type(&record.encode().unwrap().key).unwrap()
    }

    #[test]
    fn a_tombstone_has_no_value() {
        assert_eq!(commit(None).encode().unwrap().value, None);
        assert_eq!(again(&commit(None)), commit(None));
    }

    #[test]
    fn records_of_unknown_types_are_skipped_and_broken_ones_refused() {
        // ShareGroupMetadata is type 11.
        let share = Bytes::from_static(&[0, 11, 0, 1, b'g']);
        assert_eq!(GroupRecord::decode(&share, None), Ok(None));
        let broken = Bytes::from_static(&[0, 2, 0, 9, b'g']);
        assert_eq!(GroupRecord::decode(&broken, None).unwrap_err().record_type, 2);
        assert_eq!(GroupRecord::decode(&Bytes::new(), None).unwrap_err().record_type, -1);
    }

    #[test]
    fn what_does_not_fit_its_field_is_refused() {
        let metadata = "x".repeat(32_768);
        let value = OffsetCommitValue { metadata, ..OffsetCommitValue::default() };
        assert_eq!(commit(Some(value)).encode().unwrap_err().record_type, 1);
    }
}

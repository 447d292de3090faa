//! OffsetDelete and DeleteGroups: offsets that an administrator wants gone.

use protocol::ErrorCode;

use super::retention::offset_tombstone;
use crate::group::{GroupContext, GroupError, GroupOutcome, GroupRecord, GroupShard};

impl GroupShard {
    /// Deletes the offsets of these partitions, by topic; the codes come in the same order.
    pub fn delete_offsets(
        &self,
        group_id: &str,
        topics: &[(String, Vec<i32>)],
    ) -> GroupOutcome<Result<Vec<ErrorCode>, ErrorCode>> {
        let Some(group) = self.group(group_id) else {
            return GroupOutcome::read(Err(ErrorCode::GroupIdNotFound));
        };
        if let Err(refused) = group.validate_offset_delete() {
            return GroupOutcome::read(Err(refused));
        }
        let (mut records, mut codes) = (Vec::new(), Vec::with_capacity(topics.len()));
        for (topic, partitions) in topics {
            if group.is_subscribed_to(topic) {
                codes.push(ErrorCode::GroupSubscribedToTopic);
                continue;
            }
            codes.push(ErrorCode::None);
            let there = partitions.iter().filter(|partition| {
                self.offsets.committed(group_id, topic, **partition).is_some()
                    || self.offsets.is_pending(group_id, topic, **partition)
            });
            records.extend(there.map(|partition| offset_tombstone(group_id, topic, *partition)));
        }
        GroupOutcome::write(records, Ok(codes))
    }

    /// Deletes a group without members, and its offsets.
    pub fn delete_group(
        &mut self,
        context: &mut GroupContext<'_>,
        group_id: &str,
    ) -> GroupOutcome<Result<(), GroupError>> {
        let Some(group) = self.group(group_id) else {
            return GroupOutcome::read(Err(GroupError::not_found(group_id)));
        };
        if let Err(refused) = group.validate_delete() {
            return GroupOutcome::read(Err(refused));
        }
        let mut records = self.tombstones_of_offsets(group_id);
        group.tombstones(group_id, &mut records);
        group.cancel_timers(group_id, context);
        GroupOutcome::write(records, Ok(()))
    }

    fn tombstones_of_offsets(&self, group_id: &str) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        for (topic, partitions) in self.offsets.of_group(group_id).into_iter().flatten() {
            let partitions = partitions.keys();
            records.extend(partitions.map(|index| offset_tombstone(group_id, topic, *index)));
        }
        for (topic, partition) in self.offsets.pending_partitions(group_id) {
            if self.offsets.committed(group_id, topic, partition).is_none() {
                records.push(offset_tombstone(group_id, topic, partition));
            }
        }
        records
    }
}

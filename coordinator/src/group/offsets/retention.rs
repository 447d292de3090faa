//! Offsets that nobody needs any more: expired, and those of groups that end with them.

use protocol::coordinator_records::offset_commit::OffsetCommitKey;

use super::CommittedOffset;
use crate::group::{
    GroupContext, GroupOutcome, GroupRecord, GroupShard, GroupTimer, OffsetExpiration,
};

/// A tombstone for one partition's offset.
pub(crate) fn offset_tombstone(group: &str, topic: &str, partition: i32) -> GroupRecord {
    let key = OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition };
    GroupRecord::OffsetCommit(key, None)
}

impl GroupShard {
    pub(crate) fn schedule_offset_retention(&self, context: &mut GroupContext<'_>) {
        context
            .set_timer(GroupTimer::OffsetRetention, self.config.offsets_retention_check_interval);
    }

    /// Expires offsets; a group that is left with none and has no members is deleted.
    pub(crate) fn expire_offsets(&mut self, context: &mut GroupContext<'_>) -> GroupOutcome<()> {
        self.schedule_offset_retention(context);
        let mut records = Vec::new();
        for group_id in self.groups.keys() {
            self.expire_offsets_of(group_id, context, &mut records);
        }
        GroupOutcome::write_in_parts(records, ())
    }

    fn expire_offsets_of(
        &self,
        group_id: &str,
        context: &mut GroupContext<'_>,
        records: &mut Vec<GroupRecord>,
    ) {
        let Some(group) = self.groups.get(group_id) else { return };
        let expiration = group.offset_expiration();
        let mut all_expired = !self.offsets.has_pending(group_id);
        for (topic, partitions) in self.offsets.of_group(group_id).into_iter().flatten() {
            let subscribed = group.is_subscribed_to(topic);
            for (partition, offset) in partitions {
                let expires = !subscribed
                    && self.is_expired(expiration, offset, context.now_ms)
                    && !self.offsets.is_pending(group_id, topic, *partition);
                if expires {
                    records.push(offset_tombstone(group_id, topic, *partition));
                }
                all_expired &= expires;
            }
        }
        if all_expired && group.is_empty() {
            group.cancel_timers(group_id, context);
            group.tombstones(group_id, records);
        }
    }

    fn is_expired(
        &self,
        expiration: OffsetExpiration,
        offset: &CommittedOffset,
        now_ms: i64,
    ) -> bool {
        let since = match expiration {
            OffsetExpiration::Never => return false,
            OffsetExpiration::SinceCommit => offset.commit_timestamp_ms,
            OffsetExpiration::Since(since) => since,
        };
        if let Some(expires) = offset.expire_timestamp_ms {
            return now_ms >= expires;
        }
        let retention = i64::try_from(self.config.offsets_retention.as_millis());
        now_ms.saturating_sub(since) >= retention.unwrap_or(i64::MAX)
    }
}

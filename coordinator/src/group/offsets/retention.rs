//! Offsets that nobody needs any more: expired, of topics that are gone, and of groups that end with
//! them.

use protocol::coordinator_records::offset_commit::OffsetCommitKey;
use uuid::Uuid;

use super::CommittedOffset;
use crate::group::{
    GroupContext, GroupOutcome, GroupRecord, GroupShard, GroupTimer, OffsetExpiration,
};

/// A topic that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: Uuid,
}

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
        let topics = self.topics();
        let mut all_expired = !self.offsets.has_pending(group_id);
        for (topic, partitions) in self.offsets.of_group(group_id).into_iter().flatten() {
            let subscribed = group.is_subscribed_to(topic);
            let exists = topics.by_name(topic).map(|topic| topic.id.0);
            for (partition, offset) in partitions {
                let gone =
                    exists.is_none_or(|id| !offset.topic_id.is_nil() && offset.topic_id != id);
                let expired = !subscribed && self.is_expired(expiration, offset, context.now_ms);
                let expires =
                    (gone || expired) && !self.offsets.is_pending(group_id, topic, *partition);
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

    /// The tombstones of all offsets of topics that are gone, those of open transactions included.
    pub(crate) fn tombstones_of_topics(&self, deleted: &[DeletedTopic]) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        let is_of = |topic: &DeletedTopic, offset: &CommittedOffset| {
            offset.topic_id.is_nil() || offset.topic_id == topic.id
        };
        for topic in deleted {
            for (group, topics) in self.offsets.groups() {
                for (partition, offset) in topics.get(&topic.name).into_iter().flatten() {
                    if is_of(topic, offset) {
                        records.push(offset_tombstone(group, &topic.name, *partition));
                    }
                }
            }
            for (group, name, partition, offset) in self.offsets.pending() {
                let written = self.offsets.committed(group, name, partition);
                let written = written.is_some_and(|offset| is_of(topic, offset));
                if name == topic.name && is_of(topic, offset) && !written {
                    records.push(offset_tombstone(group, name, partition));
                }
            }
        }
        records
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

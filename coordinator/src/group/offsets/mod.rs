//! Committed offsets, and those of open transactions.

mod commit;
mod delete;
mod fetch;
mod retention;
mod service;
mod store;

#[cfg(test)]
mod tests;

pub use self::{
    commit::{Commit, CommitCodes, CommitPartition, CommitTopic},
    retention::DeletedTopic,
    store::{CommittedOffset, Offsets},
};

use protocol::coordinator_records::{
    legacy_offset_commit::{LegacyOffsetCommitKey, LegacyOffsetCommitValue},
    offset_commit::{OffsetCommitKey, OffsetCommitValue},
};

use super::{classic::ClassicGroup, kind::Group, shard::GroupShard};
use crate::shard::Replayed;

impl GroupShard {
    pub(crate) fn replay_offset_commit(
        &mut self,
        at: Replayed,
        key: OffsetCommitKey,
        value: Option<OffsetCommitValue>,
    ) {
        let OffsetCommitKey { group, topic, partition } = key;
        let Some(value) = value else {
            self.offsets.remove(&group, &topic, partition);
            return;
        };
        // Offsets of consumers that use no membership need a group all the same.
        if !self.groups.contains_key(&group) {
            self.groups.insert(group.clone(), Group::Classic(ClassicGroup::simple(&group)));
        }
        let offset = CommittedOffset::replayed(at.offset, value);
        match at.transaction {
            Some((producer_id, _)) => {
                self.offsets.insert_pending(producer_id, &group, &topic, partition, offset);
            }
            None => self.offsets.insert(&group, &topic, partition, offset),
        }
    }

    pub(crate) fn replay_legacy_offset_commit(
        &mut self,
        at: Replayed,
        key: LegacyOffsetCommitKey,
        value: Option<LegacyOffsetCommitValue>,
    ) {
        let LegacyOffsetCommitKey { group, topic, partition } = key;
        let value = value.map(|value| OffsetCommitValue {
            offset: value.offset,
            metadata: value.metadata,
            commit_timestamp: value.commit_timestamp,
            ..OffsetCommitValue::default()
        });
        self.replay_offset_commit(at, OffsetCommitKey { group, topic, partition }, value);
    }
}

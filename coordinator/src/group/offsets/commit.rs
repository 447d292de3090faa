//! OffsetCommit and TxnOffsetCommit: who may commit, and what is written.

use protocol::{
    ErrorCode,
    coordinator_records::offset_commit::{OffsetCommitKey, OffsetCommitValue},
};
use uuid::Uuid;

use crate::group::{
    CommitIdentity, CommitPartitionValidator, Group, GroupContext, GroupOutcome, GroupRecord,
    GroupShard, classic::ClassicGroup,
};

/// The first version of OffsetCommit that knows `GROUP_ID_NOT_FOUND`.
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;

/// Offsets to commit. The caller has seen to it that the partitions exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group_id: String,
    /// The member, empty for none.
    pub member_id: String,
    /// The static member.
    pub group_instance_id: Option<String>,
    /// The generation or the member epoch, -1 for none.
    pub generation_or_epoch: i32,
    /// Whether they belong to a transaction.
    pub transactional: bool,
    /// The version of the request.
    pub api_version: i16,
    /// How long the committer wants them kept, if it says so (until v4).
    pub retention_ms: Option<i64>,
    /// The topics.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitTopic {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<CommitPartition>,
}

/// One offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPartition {
    /// The partition.
    pub index: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record read, -1 if unknown.
    pub leader_epoch: i32,
    /// What the committer wants to keep.
    pub metadata: String,
}

/// The codes of a commit's partitions, topic by topic, as they were given.
pub type CommitCodes = Vec<Vec<ErrorCode>>;

impl GroupShard {
    /// Commits offsets.
    pub fn commit_offsets(
        &mut self,
        context: &mut GroupContext<'_>,
        commit: &Commit,
    ) -> GroupOutcome<Result<CommitCodes, ErrorCode>> {
        let group = match self.group(&commit.group_id) {
            Some(group) => Some(group),
            // Whoever commits without a group gets one that keeps offsets only, at replay.
            None if commit.generation_or_epoch < 0 => None,
            None => return GroupOutcome::read(Err(unknown_group(commit))),
        };
        let outcome = match group {
            Some(group) => self.write_offsets(context, group, commit),
            None => {
                let group = Group::Classic(ClassicGroup::simple(&commit.group_id));
                self.write_offsets(context, &group, commit)
            }
        };
        match outcome {
            Ok((records, codes)) => {
                if !commit.transactional {
                    self.keep_classic_session(&commit.group_id, &commit.member_id, context);
                }
                GroupOutcome::write(records, Ok(codes))
            }
            Err(refused) => GroupOutcome::read(Err(refused)),
        }
    }

    fn write_offsets(
        &self,
        context: &GroupContext<'_>,
        group: &Group,
        commit: &Commit,
    ) -> Result<(Vec<GroupRecord>, CommitCodes), ErrorCode> {
        let identity = CommitIdentity {
            member_id: &commit.member_id,
            group_instance_id: commit.group_instance_id.as_deref(),
            generation_or_epoch: commit.generation_or_epoch,
            transactional: commit.transactional,
            api_version: commit.api_version,
        };
        let refusal = |error| in_transaction(commit.transactional, error);
        let validator = group.validate_offset_commit(identity).map_err(refusal)?;
        let mut records = Vec::new();
        let mut codes = Vec::with_capacity(commit.topics.len());
        for topic in &commit.topics {
            let mut topic_codes = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                if !self.metadata_fits(&partition.metadata) {
                    topic_codes.push(ErrorCode::OffsetMetadataTooLarge);
                    continue;
                }
                validate(validator.as_ref(), topic, partition).map_err(refusal)?;
                records.push(record(commit, topic, partition, context.now_ms));
                topic_codes.push(ErrorCode::None);
            }
            codes.push(topic_codes);
        }
        Ok((records, codes))
    }

    /// Kafka counts Java's characters.
    fn metadata_fits(&self, metadata: &str) -> bool {
        let max = self.config.offset_metadata_bytes_max;
        metadata.len() <= max || metadata.encode_utf16().count() <= max
    }
}

fn validate(
    validator: Option<&CommitPartitionValidator<'_>>,
    topic: &CommitTopic,
    partition: &CommitPartition,
) -> Result<(), ErrorCode> {
    match validator {
        Some(validator) => validator(&topic.name, topic.topic_id, partition.index),
        None => Ok(()),
    }
}

fn unknown_group(commit: &Commit) -> ErrorCode {
    if !commit.transactional && commit.api_version >= GROUP_ID_NOT_FOUND_SINCE {
        ErrorCode::GroupIdNotFound
    } else {
        ErrorCode::IllegalGeneration
    }
}

/// Producers know generations only.
fn in_transaction(transactional: bool, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::StaleMemberEpoch if transactional => ErrorCode::IllegalGeneration,
        other => other,
    }
}

fn record(
    commit: &Commit,
    topic: &CommitTopic,
    partition: &CommitPartition,
    now_ms: i64,
) -> GroupRecord {
    let key = OffsetCommitKey {
        group: commit.group_id.clone(),
        topic: topic.name.clone(),
        partition: partition.index,
    };
    let value = OffsetCommitValue {
        offset: partition.offset,
        leader_epoch: partition.leader_epoch.max(-1),
        metadata: partition.metadata.clone(),
        commit_timestamp: now_ms,
        expire_timestamp: commit.retention_ms.map_or(-1, |keep| now_ms.saturating_add(keep)),
        // Those of transactions carry none, as in Kafka.
        topic_id: if commit.transactional { Uuid::nil() } else { topic.topic_id },
    };
    GroupRecord::OffsetCommit(key, Some(value))
}

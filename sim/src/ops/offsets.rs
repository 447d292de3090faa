//! OffsetCommit, OffsetFetch and DeleteGroups: each commit carries its name as metadata, so that a
//! fetch says which one it found.

use std::collections::BTreeMap;

use broker::testing::Client;
use protocol::{
    ErrorCode,
    messages::{
        delete_groups::DeleteGroupsRequest,
        offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        },
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
};

use super::{Lost, call, known, topics::SimTopic, unexpected};
use crate::{
    groups::{Commit, Identity, WriteId},
    history::History,
    invariants::Violation,
};

/// The newest versions that name topics.
const COMMIT_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 9;
const DELETE_VERSION: i16 = 2;

/// The committed offsets, by partition, each with the name of its commit.
pub type Offsets = BTreeMap<i32, Option<(WriteId, i64)>>;

/// Commits offsets. Returns why not, by partition.
///
/// # Errors
/// [`Lost`], also after a violation: then the commit's fate is unknown.
pub async fn commit(
    client: &mut Client,
    history: &History,
    group_id: &str,
    member: &Identity,
    (topic, commit): (&SimTopic, &Commit),
) -> Result<BTreeMap<i32, ErrorCode>, Lost> {
    let partitions =
        commit.offsets.iter().map(|(partition, offset)| OffsetCommitRequestPartition {
            partition_index: *partition,
            committed_offset: *offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(commit.id.to_string()),
        });
    let request = OffsetCommitRequest {
        group_id: group_id.to_owned(),
        generation_id_or_member_epoch: member.epoch,
        member_id: member.member_id.clone(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.name.clone(),
            partitions: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = call(client, &request, COMMIT_VERSION).await?;
    let mut codes = BTreeMap::new();
    for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
        let code = known(history, "OffsetCommit", answer.error_code)?;
        codes.insert(answer.partition_index, code);
    }
    let checked = codes.iter().try_for_each(|(partition, code)| {
        predicted_effect(history, group_id, member, commit, (*partition, *code))
    });
    history.check(checked).ok_or(Lost)?;
    Ok(codes)
}

fn predicted_effect(
    history: &History,
    group_id: &str,
    member: &Identity,
    commit: &Commit,
    (partition, code): (i32, ErrorCode),
) -> Result<(), Violation> {
    use ErrorCode as E;
    let mut groups = history.groups();
    match code {
        E::None => groups.committed(group_id, member, commit, partition),
        E::IllegalGeneration
        | E::UnknownMemberId
        | E::RebalanceInProgress
        | E::StaleMemberEpoch
        | E::FencedMemberEpoch
        | E::GroupIdNotFound
        | E::CoordinatorLoadInProgress => {
            groups.refused(group_id, commit, partition);
            Ok(())
        }
        // It may be in the log.
        E::NotCoordinator | E::CoordinatorNotAvailable | E::RequestTimedOut => Ok(()),
        other => Err(unexpected("OffsetCommit", other)),
    }
}

/// Fetches the offsets of all of a topic's partitions and checks them; `None` where that is not
/// possible now. `member` is who asks, if it is one.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn fetch(
    client: &mut Client,
    history: &History,
    group_id: &str,
    member: Option<&Identity>,
    topic: &SimTopic,
) -> Result<Option<Offsets>, Lost> {
    let since = history.groups().fetching();
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group_id.to_owned(),
            member_id: member.map(|member| member.member_id.clone()),
            member_epoch: member.map_or(-1, |member| member.epoch),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.name.clone(),
                partition_indexes: (0..topic.partitions).collect(),
                ..Default::default()
            }]),
        }],
        require_stable: true,
        ..Default::default()
    };
    let mut response = call(client, &request, FETCH_VERSION).await?;
    let Some(group) = response.groups.pop() else {
        history.violate(Violation::protocol("OffsetFetch has no answer".to_owned()));
        return Err(Lost);
    };
    match known(history, "OffsetFetch", group.error_code)? {
        ErrorCode::None => {}
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::UnknownMemberId
        | ErrorCode::StaleMemberEpoch
        | ErrorCode::GroupIdNotFound => return Ok(None),
        other => {
            history.violate(unexpected("OffsetFetch", other));
            return Err(Lost);
        }
    }
    let mut offsets = Offsets::new();
    for partition in group.topics.iter().flat_map(|topic| &topic.partitions) {
        if known(history, "OffsetFetch", partition.error_code)? != ErrorCode::None {
            return Ok(None);
        }
        let id = partition.metadata.as_deref().and_then(|metadata| metadata.parse().ok());
        let offset = (partition.committed_offset >= 0).then_some(partition.committed_offset);
        let found = offset.map(|offset| (id.unwrap_or_default(), offset));
        let index = partition.partition_index;
        let checked = history.groups().fetched(group_id, index, found, since);
        history.check(checked).ok_or(Lost)?;
        offsets.insert(index, found);
    }
    Ok(Some(offsets))
}

/// Deletes a group; says what was answered.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn delete_group(
    client: &mut Client,
    history: &History,
    group_id: &str,
) -> Result<ErrorCode, Lost> {
    let id = history.groups().deleting(group_id);
    let request = DeleteGroupsRequest { groups_names: vec![group_id.to_owned()] };
    let response = call(client, &request, DELETE_VERSION).await?;
    let Some(answer) = response.results.first() else {
        history.violate(Violation::protocol("DeleteGroups has no answer".to_owned()));
        return Err(Lost);
    };
    let code = known(history, "DeleteGroups", answer.error_code)?;
    history.event(&format!("delete group {group_id}: {}", code.name()));
    let done = match code {
        ErrorCode::None => {
            history.trace.mark("sim: group deleted");
            true
        }
        ErrorCode::NonEmptyGroup
        | ErrorCode::GroupIdNotFound
        | ErrorCode::CoordinatorLoadInProgress => false,
        // It may be in the log.
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::RequestTimedOut => return Ok(code),
        other => {
            history.violate(unexpected("DeleteGroups", other));
            return Err(Lost);
        }
    };
    history.groups().deleted(group_id, id, done);
    Ok(code)
}

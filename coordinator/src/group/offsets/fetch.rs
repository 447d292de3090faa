//! OffsetFetch: what a group has committed.

use std::collections::BTreeMap;

use protocol::{
    ErrorCode,
    messages::offset_fetch::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopics,
    },
};
use uuid::Uuid;

use super::CommittedOffset;
use crate::group::GroupShard;

/// No offset is committed.
const NO_OFFSET: i64 = -1;
/// No leader epoch is known.
const NO_EPOCH: i32 = -1;

impl GroupShard {
    /// The committed offsets that are asked for, or all. With `require_stable`, those that an open
    /// transaction may change are refused.
    ///
    /// # Errors
    /// The codes of members that are unknown or stale. An unknown group has no offsets.
    pub fn fetch_offsets(
        &self,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> Result<Vec<OffsetFetchResponseTopics>, ErrorCode> {
        let group_id = request.group_id.as_str();
        let validated = match self.group(group_id) {
            Some(group) => {
                group.validate_offset_fetch(request.member_id.as_deref(), request.member_epoch)
            }
            None => Err(ErrorCode::GroupIdNotFound),
        };
        let offsets = match validated {
            Ok(()) => self.offsets.of_group(group_id),
            Err(ErrorCode::GroupIdNotFound) => None,
            Err(refused) => return Err(refused),
        };
        let unstable = |topic: &str, partition| {
            require_stable && self.offsets.is_pending(group_id, topic, partition)
        };
        Ok(match &request.topics {
            Some(topics) => {
                topics.iter().map(|topic| asked_for(topic, offsets, &unstable)).collect()
            }
            None => {
                let all = offsets.into_iter().flatten();
                all.map(|(topic, partitions)| committed(topic, partitions, &unstable)).collect()
            }
        })
    }
}

fn asked_for(
    topic: &OffsetFetchRequestTopics,
    offsets: Option<&BTreeMap<String, BTreeMap<i32, CommittedOffset>>>,
    unstable: &dyn Fn(&str, i32) -> bool,
) -> OffsetFetchResponseTopics {
    let found = offsets.and_then(|topics| topics.get(&topic.name));
    let partitions = topic.partition_indexes.iter().map(|index| {
        let offset = found.and_then(|partitions| partitions.get(index));
        // An offset of a topic of the same name that is gone is none of this one.
        let offset = offset.filter(|offset| {
            let (stored, wanted) = (offset.topic_id, topic.topic_id);
            stored.is_nil() || wanted.is_nil() || stored == wanted
        });
        partition(*index, offset, unstable(&topic.name, *index))
    });
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
    }
}

fn committed(
    topic: &str,
    partitions: &BTreeMap<i32, CommittedOffset>,
    unstable: &dyn Fn(&str, i32) -> bool,
) -> OffsetFetchResponseTopics {
    let partitions = partitions
        .iter()
        .map(|(index, offset)| partition(*index, Some(offset), unstable(topic, *index)));
    OffsetFetchResponseTopics {
        name: topic.to_owned(),
        topic_id: Uuid::nil(),
        partitions: partitions.collect(),
    }
}

fn partition(
    partition_index: i32,
    offset: Option<&CommittedOffset>,
    unstable: bool,
) -> OffsetFetchResponsePartitions {
    let error = if unstable { ErrorCode::UnstableOffsetCommit } else { ErrorCode::None };
    let offset = offset.filter(|_| !unstable);
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: offset.map_or(NO_OFFSET, |offset| offset.offset),
        committed_leader_epoch: offset.and_then(|o| o.leader_epoch).unwrap_or(NO_EPOCH),
        metadata: Some(offset.map_or_else(String::new, |offset| offset.metadata.clone())),
        error_code: error.code(),
    }
}

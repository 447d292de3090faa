//! ConsumerGroupDescribe: a group and its members, for tools.

use std::{collections::BTreeMap, sync::Arc};

use common::TopicId;
use protocol::{
    ErrorCode,
    messages::consumer_group_describe::{Assignment, DescribedGroup, Member, TopicPartitions},
};

use super::{group::ConsumerGroup, member::ConsumerMember, settings::ConsumerSettings};
use crate::{
    group::{GroupShard, assignor::Partitions},
    topics::TopicImage,
};

/// "Not asked for": what authorized operations are where nobody computes them.
const NO_AUTHORIZED_OPERATIONS: i32 = i32::MIN;

impl GroupShard {
    /// Describes a group; one that is not a consumer group does not exist here.
    #[must_use]
    pub fn describe_consumer_group(&self, group_id: &str) -> DescribedGroup {
        let topics = self.topics();
        match self.consumer_group(group_id) {
            Ok(group) => describe(group, &self.consumer_settings(group_id), topics.as_ref()),
            Err(error) => DescribedGroup {
                group_id: group_id.to_owned(),
                error_code: error.code.code(),
                error_message: error.message,
                authorized_operations: NO_AUTHORIZED_OPERATIONS,
                ..Default::default()
            },
        }
    }
}

/// A description that only says why there is none.
#[must_use]
pub fn undescribed_consumer_group(group_id: &str, error: ErrorCode) -> DescribedGroup {
    DescribedGroup {
        group_id: group_id.to_owned(),
        error_code: error.code(),
        authorized_operations: NO_AUTHORIZED_OPERATIONS,
        ..Default::default()
    }
}

fn describe(
    group: &ConsumerGroup,
    settings: &ConsumerSettings,
    topics: &dyn TopicImage,
) -> DescribedGroup {
    let assignor = group.preferred_assignor(None, None);
    let members = group.members().values().map(|member| {
        let target = group.targets().get(&member.member_id).cloned().unwrap_or_default();
        describe_member(member, &target, topics)
    });
    DescribedGroup {
        group_id: group.group_id.clone(),
        group_state: group.state_name().to_owned(),
        group_epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: assignor.unwrap_or_else(|| settings.default_assignor.name().to_owned()),
        members: members.collect(),
        authorized_operations: NO_AUTHORIZED_OPERATIONS,
        ..Default::default()
    }
}

fn describe_member(
    member: &ConsumerMember,
    target: &Arc<Partitions>,
    topics: &dyn TopicImage,
) -> Member {
    // What it has not given up yet is still its own.
    let mut assigned: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for (topic, partitions) in member.assigned.iter().chain(member.pending_revocation.iter()) {
        assigned.entry(*topic).or_default().extend(partitions.keys());
    }
    let target = target.iter().map(|(topic, of)| (*topic, of.iter().copied().collect()));
    Member {
        member_id: member.member_id.clone(),
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.topic_names.iter().cloned().collect(),
        subscribed_topic_regex: member.topic_regex.clone(),
        assignment: named(assigned.into_iter(), topics),
        target_assignment: named(target, topics),
        member_type: i8::from(!member.uses_classic_protocol()),
    }
}

/// Partitions with the names of their topics; deleted topics are left out.
fn named(
    partitions: impl Iterator<Item = (TopicId, Vec<i32>)>,
    topics: &dyn TopicImage,
) -> Assignment {
    let named = partitions.filter_map(|(topic, partitions)| {
        let topic = topics.by_id(topic)?;
        Some(TopicPartitions { topic_id: topic.id.0, topic_name: topic.name, partitions })
    });
    Assignment { topic_partitions: named.collect() }
}

//! A member of a consumer group: what it said of itself, where it stands, what it owns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::TopicId;
use protocol::coordinator_records::{
    consumer_group_current_member_assignment::{
        ConsumerGroupCurrentMemberAssignmentValue, TopicPartitions,
    },
    consumer_group_member_metadata::{ClassicMemberMetadata, ConsumerGroupMemberMetadataValue},
};

/// Of a member that joins.
pub(crate) const JOIN_EPOCH: i32 = 0;
/// Of a member that leaves.
pub(crate) const LEAVE_EPOCH: i32 = -1;
/// Of a static member that leaves and wants to come back.
pub(crate) const STATIC_LEAVE_EPOCH: i32 = -2;

/// Partitions with the member epoch that each was assigned in: commits of an older epoch are
/// refused (KIP-1251).
pub(crate) type Owned = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// Where a member stands on its way to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has what its epoch's target gives it.
    Stable,
    /// It has to give up partitions before it may go to the next epoch.
    UnrevokedPartitions,
    /// It is in the target's epoch and waits for partitions that others have not given up.
    UnreleasedPartitions,
    /// Written by a later release.
    Unknown,
}

impl MemberState {
    pub(crate) fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }
}

/// A member. Cheap to clone: a heartbeat makes a new version of it and compares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConsumerMember {
    pub(crate) member_id: String,
    pub(crate) epoch: i32,
    /// The epoch before, which it may still use where an answer was lost.
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) topic_names: Arc<BTreeSet<String>>,
    /// Empty where it has none: Kafka writes both that and null.
    pub(crate) topic_regex: Option<String>,
    pub(crate) server_assignor: Option<String>,
    pub(crate) assigned: Arc<Owned>,
    pub(crate) pending_revocation: Arc<Owned>,
    /// Set where it speaks the classic protocol.
    pub(crate) classic: Option<Arc<ClassicMemberMetadata>>,
}

impl ConsumerMember {
    /// A member that nobody has heard of.
    pub(crate) fn new(member_id: &str) -> Self {
        Self {
            member_id: member_id.to_owned(),
            epoch: JOIN_EPOCH,
            previous_epoch: -1,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            client_id: String::new(),
            client_host: String::new(),
            topic_names: Arc::default(),
            topic_regex: Some(String::new()),
            server_assignor: None,
            assigned: Arc::default(),
            pending_revocation: Arc::default(),
            classic: None,
        }
    }

    /// Its regular expression, where it subscribes by one.
    pub(crate) fn regex(&self) -> Option<&str> {
        self.topic_regex.as_deref().filter(|regex| !regex.is_empty())
    }

    pub(crate) fn uses_classic_protocol(&self) -> bool {
        self.classic.is_some()
    }

    /// The session timeout that a member of the classic protocol brought along.
    pub(crate) fn classic_session_timeout_ms(&self) -> Option<i32> {
        self.classic.as_ref().map(|classic| classic.session_timeout_ms)
    }

    pub(crate) fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }

    /// Goes to an epoch and remembers the one before.
    pub(crate) fn advance_to(&mut self, epoch: i32) {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }

    /// The epoch in which a partition that it still answers for was assigned to it.
    pub(crate) fn assignment_epoch(&self, topic: TopicId, partition: i32) -> Option<i32> {
        let of = |owned: &Owned| owned.get(&topic).and_then(|of| of.get(&partition)).copied();
        of(&self.assigned).or_else(|| of(&self.pending_revocation))
    }

    /// Takes over what a record says of the member itself.
    pub(crate) fn describe(&mut self, value: ConsumerGroupMemberMetadataValue) {
        self.instance_id = value.instance_id;
        self.rack_id = value.rack_id;
        self.client_id = value.client_id;
        self.client_host = value.client_host;
        self.topic_names = Arc::new(value.subscribed_topic_names.into_iter().collect());
        self.topic_regex = value.subscribed_topic_regex;
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.server_assignor = value.server_assignor;
        self.classic = value.classic_member_metadata.map(Arc::new);
    }

    /// Takes over what a record says of its assignment.
    pub(crate) fn settle(&mut self, value: &ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        self.assigned = Arc::new(owned(&value.assigned_partitions, value.member_epoch));
        self.pending_revocation =
            Arc::new(owned(&value.partitions_pending_revocation, value.member_epoch));
    }
}

/// Partitions of a record. Those of releases before 4.3 name no epochs: the member's counts, and
/// never one below 0, which only says that a static member is away.
fn owned(topics: &[TopicPartitions], member_epoch: i32) -> Owned {
    let default_epoch = member_epoch.max(0);
    let mut owned = Owned::new();
    for topic in topics {
        let epochs =
            topic.assignment_epochs.as_ref().filter(|list| list.len() == topic.partitions.len());
        let partitions: &mut BTreeMap<i32, i32> = owned.entry(TopicId(topic.topic_id)).or_default();
        for (index, partition) in topic.partitions.iter().enumerate() {
            let epoch = epochs.and_then(|epochs| epochs.get(index)).copied();
            partitions.insert(*partition, epoch.unwrap_or(default_epoch));
        }
    }
    owned
}

/// Whether partitions that a member reports lie among those it owns.
pub(crate) fn is_subset(reported: &[(TopicId, Vec<i32>)], owned: &Owned) -> bool {
    reported.iter().all(|(topic, partitions)| match owned.get(topic) {
        Some(of) => partitions.iter().all(|partition| of.contains_key(partition)),
        None => false,
    })
}

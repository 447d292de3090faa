//! Server-side assignors: pure functions from members, their subscriptions and the former target to
//! a new target. Kafka 4.3's `uniform` and `range`, with the same balance and stickiness; like
//! them, they do not look at racks.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::TopicId;

/// Partitions by topic; a topic without partitions is left out.
pub type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;

/// Whether all members subscribe to the same topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionType {
    /// They do.
    Homogeneous,
    /// They do not, or it cannot be told cheaply.
    Heterogeneous,
}

/// A member as assignors see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberSpec {
    /// The id of a static member.
    pub instance_id: Option<String>,
    /// The topics that it subscribes to and that exist.
    pub topics: Arc<BTreeSet<TopicId>>,
    /// Its part of the former target.
    pub assigned: Arc<Partitions>,
}

/// What an assignor decides upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec {
    /// The members by id.
    pub members: BTreeMap<String, MemberSpec>,
    /// How their subscriptions relate.
    pub subscription_type: SubscriptionType,
    /// How many partitions each subscribed topic has.
    pub partition_counts: BTreeMap<TopicId, i32>,
}

impl GroupSpec {
    fn partitions(&self, topic: TopicId) -> Result<i32, AssignorError> {
        self.partition_counts.get(&topic).copied().ok_or(AssignorError::UnknownTopic(topic))
    }
}

/// Why there is no assignment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignorError {
    /// A subscription names a topic that the group specification does not describe.
    #[error("members are subscribed to topic {0}, which is not in the topic metadata")]
    UnknownTopic(TopicId),
    /// The quotas did not add up; never happens.
    #[error("partitions were left unassigned")]
    Unassigned,
}

/// A built-in assignor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Spreads partitions evenly over members, moving as few as possible.
    Uniform,
    /// Gives each member a contiguous range of each topic, the same one for topics of one size.
    Range,
}

impl Assignor {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// The name that clients and `group.consumer.assignors` use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// The new target of every member that gets anything.
    ///
    /// # Errors
    /// [`AssignorError`], where the specification contradicts itself.
    pub fn assign(self, spec: &GroupSpec) -> Result<BTreeMap<String, Partitions>, AssignorError> {
        if spec.members.is_empty() {
            return Ok(BTreeMap::new());
        }
        match (self, spec.subscription_type) {
            (Self::Uniform, SubscriptionType::Homogeneous) => uniform::homogeneous::assign(spec),
            (Self::Uniform, SubscriptionType::Heterogeneous) => {
                uniform::heterogeneous::assign(spec)
            }
            (Self::Range, _) => range::assign(spec),
        }
    }
}

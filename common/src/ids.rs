//! Newtypes for identifiers, so that no function takes two bare integers of one type.
//!
//! Offsets stay `i64` and are always named `…_offset`, as in Kafka's own sources.

use std::fmt;

use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

id!(
    /// A topic's identity (KIP-516): survives nothing, is never used twice, outlives no rename.
    TopicId(Uuid)
);
id!(
    /// A broker's `node.id`.
    NodeId(i32)
);
id!(
    /// A producer id of the idempotent protocol (KIP-98); `-1` on the wire means none.
    ProducerId(i64)
);
id!(
    /// The epoch of a partition's lease: Kafka's leader epoch, bumped at each start and take-over.
    LeaderEpoch(i32)
);
id!(
    /// An object in the object store; never used twice.
    ObjectId(Uuid)
);

/// A partition by topic id, so that a recreated topic can never be mistaken for its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition's index, from 0.
    pub partition: i32,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

//! Authorization as data (design D17): operations and resources as handlers declare them, and the
//! "authorized operations" bit fields of Metadata, DescribeCluster and DescribeGroups.
//!
//! Codes and the operations that a resource type supports are Kafka's (`AclOperation`,
//! `AclEntry.supportedOperations`).

/// What may be done to a resource; the discriminant is Kafka's `AclOperation` code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operation {
    /// Read records, offsets or a group.
    Read = 3,
    /// Write records.
    Write = 4,
    /// Create.
    Create = 5,
    /// Delete.
    Delete = 6,
    /// Change partitions.
    Alter = 7,
    /// See that it exists.
    Describe = 8,
    /// What brokers do to each other.
    ClusterAction = 9,
    /// See configuration.
    DescribeConfigs = 10,
    /// Change configuration.
    AlterConfigs = 11,
    /// Obtain a producer id without a transaction.
    IdempotentWrite = 12,
}

/// A thing that access is granted to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The whole cluster.
    Cluster,
    /// A topic by name.
    Topic(String),
    /// A topic by id, to be resolved before deciding.
    TopicId(common::TopicId),
    /// A consumer group.
    Group(String),
    /// A transactional id.
    TransactionalId(String),
}

/// One operation on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// What is done.
    pub operation: Operation,
    /// To what.
    pub resource: Resource,
}

impl Access {
    /// `operation` on `resource`.
    #[must_use]
    pub fn new(operation: Operation, resource: Resource) -> Self {
        Self { operation, resource }
    }
}

/// The value of an authorized-operations field that was not asked for.
pub const AUTHORIZED_OPERATIONS_OMITTED: i32 = i32::MIN;

const TOPIC_OPERATIONS: [Operation; 8] = [
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Describe,
    Operation::Delete,
    Operation::Alter,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

const GROUP_OPERATIONS: [Operation; 5] = [
    Operation::Read,
    Operation::Describe,
    Operation::Delete,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

const CLUSTER_OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::IdempotentWrite,
    Operation::Alter,
    Operation::Describe,
];

/// The bit field of a topic's operations where no authorizer is configured: all of them.
#[must_use]
pub fn topic_authorized_operations() -> i32 {
    bit_field(&TOPIC_OPERATIONS)
}

/// The bit field of the cluster's operations where no authorizer is configured: all of them.
#[must_use]
pub fn cluster_authorized_operations() -> i32 {
    bit_field(&CLUSTER_OPERATIONS)
}

/// The bit field of a group's operations where no authorizer is configured: all of them.
#[must_use]
pub fn group_authorized_operations() -> i32 {
    bit_field(&GROUP_OPERATIONS)
}

fn bit_field(operations: &[Operation]) -> i32 {
    operations.iter().fold(0, |bits, operation| bits | 1 << (*operation as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_fields_are_those_of_kafka_without_an_authorizer() {
        // As `kafka-topics` and `kafka-cluster` tools of 4.3.1 receive them from a real broker.
        assert_eq!(topic_authorized_operations(), 0b1101_1111_1000);
        assert_eq!(cluster_authorized_operations(), 0b1_1111_1010_0000);
    }
}

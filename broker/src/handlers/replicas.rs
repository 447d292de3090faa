//! Manual replica assignments (CreateTopics, CreatePartitions, AlterPartitionReassignments): what
//! Kafka checks of a list of brokers, with its messages. One broker is registered: this one.

use std::collections::BTreeSet;

use common::NodeId;

/// Checks one partition's replicas.
///
/// # Errors
/// Kafka's message for `INVALID_REPLICA_ASSIGNMENT`.
pub(crate) fn check(replicas: &[i32], registered: NodeId) -> Result<(), String> {
    if replicas.is_empty() {
        return Err("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = sorted(replicas).into_iter().find(|broker| !seen.insert(*broker)) {
        return Err(format!(
            "The manual partition assignment includes the broker {twice} more than once."
        ));
    }
    if let Some(unknown) = sorted(replicas).into_iter().find(|broker| *broker != registered.0) {
        return Err(format!(
            "The manual partition assignment includes broker {unknown}, but no such broker is \
             registered."
        ));
    }
    Ok(())
}

fn sorted(replicas: &[i32]) -> Vec<i32> {
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_are_those_of_kafka() {
        let message = |replicas: &[i32]| check(replicas, NodeId(1)).unwrap_err();
        check(&[1], NodeId(1)).unwrap();
        assert_eq!(message(&[]), "The manual partition assignment includes an empty replica list.");
        assert_eq!(
            message(&[1, 1]),
            "The manual partition assignment includes the broker 1 more than once."
        );
        assert_eq!(
            message(&[1, 2]),
            "The manual partition assignment includes broker 2, but no such broker is registered."
        );
    }
}

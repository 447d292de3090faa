//! ConsumerGroupDescribe through a whole broker.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;

use super::*;
use crate::{
    acl::AUTHORIZED_OPERATIONS_OMITTED,
    handlers::test_support::{create, find_group_coordinator, start},
};

#[tokio::test(start_paused = true)]
async fn describes_groups_and_says_which_are_none() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 2).await;
    find_group_coordinator(&mut client, "g").await;
    let join = ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: "a".to_owned(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    assert_eq!(client.call(&join, 1).await.unwrap().error_code, 0);
    for version in 0..=1 {
        let request = ConsumerGroupDescribeRequest {
            group_ids: ["g", "none", ""].map(str::to_owned).to_vec(),
            include_authorized_operations: version == 1,
        };
        let groups = client.call(&request, version).await.unwrap().groups;
        let codes: Vec<_> = groups.iter().map(|group| group.error_code).collect();
        let (not_found, invalid) = (ErrorCode::GroupIdNotFound, ErrorCode::InvalidGroupId);
        assert_eq!(codes, [0, not_found.code(), invalid.code()]);
        let group = &groups[0];
        assert_eq!((group.group_state.as_str(), group.group_epoch), ("Stable", 2));
        let member = &group.members[0];
        assert_eq!(member.assignment.topic_partitions[0].partitions, [0, 1]);
        assert_eq!(member.client_id, "test");
        let operations = if version == 1 {
            group_authorized_operations()
        } else {
            AUTHORIZED_OPERATIONS_OMITTED
        };
        assert_eq!(group.authorized_operations, operations);
    }
}

//! ListGroups through a whole broker.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::handlers::test_support::{commit_offset, create, find_group_coordinator, start};

#[tokio::test(start_paused = true)]
async fn every_version_lists_groups_of_all_partitions() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "4")]).await;
    create(&mut client, "t", 1).await;
    let none = client.call(&ListGroupsRequest::default(), 5).await.unwrap();
    assert_eq!((none.error_code, none.groups.len()), (0, 0));
    find_group_coordinator(&mut client, "g").await;
    for group in ["a", "b", "c"] {
        commit_offset(&mut client, group, "t", 0, 1).await;
    }
    for version in 0..=5 {
        let response = client.call(&ListGroupsRequest::default(), version).await.unwrap();
        let mut ids: Vec<_> = response.groups.iter().map(|g| g.group_id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["a", "b", "c"], "v{version}");
        let one = &response.groups[0];
        assert_eq!(one.group_state, if version >= STATES_SINCE { "Empty" } else { "" });
        assert_eq!(one.group_type, if version >= TYPES_SINCE { "classic" } else { "" });
    }
    let stable = ListGroupsRequest { states_filter: vec!["Stable".into()], ..Default::default() };
    assert!(client.call(&stable, 5).await.unwrap().groups.is_empty());
}

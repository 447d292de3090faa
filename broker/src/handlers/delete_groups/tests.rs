//! DeleteGroups through a whole broker.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::handlers::test_support::{
    commit_offset, create, fetched_offset, find_group_coordinator, start,
};

#[tokio::test(start_paused = true)]
async fn a_group_without_members_goes_with_its_offsets() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "2")]).await;
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    for version in 0..=2 {
        commit_offset(&mut client, "g", "t", 0, 5).await;
        let names = ["g", "none", "g"].map(str::to_owned).to_vec();
        let response =
            client.call(&DeleteGroupsRequest { groups_names: names }, version).await.unwrap();
        let results: Vec<_> =
            response.results.iter().map(|r| (r.group_id.as_str(), r.error_code)).collect();
        assert_eq!(results, [("g", 0), ("none", ErrorCode::GroupIdNotFound.code())]);
        assert_eq!(fetched_offset(&mut client, "g", "t", 0).await, -1);
    }
}

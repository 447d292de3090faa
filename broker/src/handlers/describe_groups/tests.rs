//! DescribeGroups through a whole broker.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::handlers::test_support::{commit_offset, create, find_group_coordinator, start};

#[tokio::test(start_paused = true)]
async fn every_version_describes_known_and_unknown_groups() {
    let (_broker, mut client) = start(&[("offsets.topic.num.partitions", "4")]).await;
    create(&mut client, "t", 1).await;
    find_group_coordinator(&mut client, "g").await;
    commit_offset(&mut client, "g", "t", 0, 1).await;
    for version in 0..=6 {
        let request = DescribeGroupsRequest {
            groups: vec!["g".to_owned(), "none".to_owned()],
            include_authorized_operations: version >= OPERATIONS_SINCE,
        };
        let response = client.call(&request, version).await.unwrap();
        let [known, unknown] = response.groups.as_slice() else { panic!("two groups") };
        assert_eq!((known.error_code, known.group_state.as_str()), (0, "Empty"));
        assert_eq!(unknown.group_state, "Dead");
        let code = if version >= 6 { ErrorCode::GroupIdNotFound.code() } else { 0 };
        assert_eq!(unknown.error_code, code, "v{version}");
        if version >= OPERATIONS_SINCE {
            assert_eq!(known.authorized_operations, 3_400);
        }
        let why = (version >= 6).then_some("Group none not found.");
        assert_eq!(unknown.error_message.as_deref(), why);
    }
}

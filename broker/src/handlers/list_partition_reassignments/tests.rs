//! ListPartitionReassignments: there is never one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::handlers::test_support::{create, start};

#[tokio::test(start_paused = true)]
async fn there_is_never_one_in_progress() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let request = ListPartitionReassignmentsRequest { topics: None, ..Default::default() };
    let response = client.call(&request, 0).await.unwrap();
    assert_eq!((response.error_code, response.error_message), (0, None));
    assert!(response.topics.is_empty());
}

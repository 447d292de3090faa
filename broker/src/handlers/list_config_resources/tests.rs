//! ListConfigResources: which resources there are, by version and type.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::{
    handlers::test_support::{create, start},
    testing::Client,
};

async fn list(client: &mut Client, resource_types: &[i8], version: i16) -> Vec<(String, i8)> {
    let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec() };
    let response = client.call(&request, version).await.unwrap();
    assert_eq!(response.error_code, 0);
    let resources = response.config_resources.into_iter();
    resources.map(|resource| (resource.resource_name, resource.resource_type)).collect()
}

#[tokio::test(start_paused = true)]
async fn lists_the_broker_and_its_topics() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    let (broker, topic) = (("1".to_owned(), 4), ("a".to_owned(), 2));
    assert_eq!(list(&mut client, &[], 1).await, [broker.clone(), topic.clone()]);
    assert_eq!(list(&mut client, &[2], 1).await, [topic]);
    assert_eq!(list(&mut client, &[4, 16], 1).await, [broker]);
}

#[tokio::test(start_paused = true)]
async fn version_0_knows_client_metrics_only() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 1).await;
    assert_eq!(list(&mut client, &[], 0).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_refused() {
    let (_broker, mut client) = start(&[]).await;
    let request = ListConfigResourcesRequest { resource_types: vec![99] };
    let response = client.call(&request, 1).await.unwrap();
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
}

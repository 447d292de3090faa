//! DescribeAcls (key 29, v1–v3): there are no access control lists, and the answer says so, as
//! Kafka's does without an authorizer. MirrorMaker and kafka-acls know what to do with it.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse},
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeAcls;

impl Api for DescribeAcls {
    type Request = DescribeAclsRequest;

    fn resources(_: &DescribeAclsRequest) -> Vec<Access> {
        vec![Access::new(Operation::Describe, Resource::Cluster)]
    }

    fn error_response(_: &DescribeAclsRequest, error: ErrorCode) -> DescribeAclsResponse {
        DescribeAclsResponse {
            error_code: error.code(),
            error_message: Some(error.message().to_owned()),
            ..Default::default()
        }
    }
}

impl Handler for DescribeAcls {
    async fn handle(
        _: &Arc<Broker>,
        _: &RequestContext,
        _: DescribeAclsRequest,
    ) -> DescribeAclsResponse {
        DescribeAclsResponse {
            error_code: ErrorCode::SecurityDisabled.code(),
            error_message: Some("No Authorizer is configured on the broker".to_owned()),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::handlers::test_support::start;

    #[tokio::test(start_paused = true)]
    async fn says_that_security_is_disabled() {
        let (_broker, mut client) = start(&[]).await;
        for version in 1..=3 {
            let response = client.call(&DescribeAclsRequest::default(), version).await.unwrap();
            assert_eq!(response.error_code, ErrorCode::SecurityDisabled.code());
            assert!(response.resources.is_empty());
        }
    }
}

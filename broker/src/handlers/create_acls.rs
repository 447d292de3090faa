//! CreateAcls (key 30, v1–v3): there are no access control lists, and the answer says so for each
//! list, as Kafka's does without an authorizer.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse},
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct CreateAcls;

impl Api for CreateAcls {
    type Request = CreateAclsRequest;

    fn resources(_: &CreateAclsRequest) -> Vec<Access> {
        vec![Access::new(Operation::Alter, Resource::Cluster)]
    }

    fn error_response(request: &CreateAclsRequest, error: ErrorCode) -> CreateAclsResponse {
        refuse(request, error, error.message())
    }
}

impl Handler for CreateAcls {
    async fn handle(
        _: &Arc<Broker>,
        _: &RequestContext,
        request: CreateAclsRequest,
    ) -> CreateAclsResponse {
        refuse(&request, ErrorCode::SecurityDisabled, "No Authorizer is configured.")
    }
}

fn refuse(request: &CreateAclsRequest, error: ErrorCode, why: &str) -> CreateAclsResponse {
    let refused = request.creations.iter().map(|_| AclCreationResult {
        error_code: error.code(),
        error_message: Some(why.to_owned()),
    });
    CreateAclsResponse { results: refused.collect(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::handlers::test_support::start;

    #[tokio::test(start_paused = true)]
    async fn says_that_security_is_disabled() {
        let (_broker, mut client) = start(&[]).await;
        let request = CreateAclsRequest { creations: vec![Default::default(); 2] };
        for version in 1..=3 {
            let response = client.call(&request, version).await.unwrap();
            let errors: Vec<i16> = response.results.iter().map(|one| one.error_code).collect();
            assert_eq!(errors, [ErrorCode::SecurityDisabled.code(); 2]);
        }
    }
}

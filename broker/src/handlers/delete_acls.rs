//! DeleteAcls (key 31, v1–v3): there are no access control lists, and the answer says so for each
//! filter, as Kafka's does without an authorizer.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse},
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct DeleteAcls;

impl Api for DeleteAcls {
    type Request = DeleteAclsRequest;

    fn resources(_: &DeleteAclsRequest) -> Vec<Access> {
        vec![Access::new(Operation::Alter, Resource::Cluster)]
    }

    fn error_response(request: &DeleteAclsRequest, error: ErrorCode) -> DeleteAclsResponse {
        refuse(request, error, error.message())
    }
}

impl Handler for DeleteAcls {
    async fn handle(
        _: &Arc<Broker>,
        _: &RequestContext,
        request: DeleteAclsRequest,
    ) -> DeleteAclsResponse {
        refuse(&request, ErrorCode::SecurityDisabled, "No Authorizer is configured.")
    }
}

fn refuse(request: &DeleteAclsRequest, error: ErrorCode, why: &str) -> DeleteAclsResponse {
    let refused = request.filters.iter().map(|_| DeleteAclsFilterResult {
        error_code: error.code(),
        error_message: Some(why.to_owned()),
        ..Default::default()
    });
    DeleteAclsResponse { filter_results: refused.collect(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::handlers::test_support::start;

    #[tokio::test(start_paused = true)]
    async fn says_that_security_is_disabled() {
        let (_broker, mut client) = start(&[]).await;
        let request = DeleteAclsRequest { filters: vec![Default::default(); 2] };
        for version in 1..=3 {
            let response = client.call(&request, version).await.unwrap();
            let errors: Vec<i16> =
                response.filter_results.iter().map(|one| one.error_code).collect();
            assert_eq!(errors, [ErrorCode::SecurityDisabled.code(); 2]);
        }
    }
}

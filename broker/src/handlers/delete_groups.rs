//! DeleteGroups (key 42, v0–v2): deletes groups without members, and their offsets (KIP-229).

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    ErrorCode,
    messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse},
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct DeleteGroups;

impl Api for DeleteGroups {
    type Request = DeleteGroupsRequest;

    fn resources(request: &DeleteGroupsRequest) -> Vec<Access> {
        let groups = request.groups_names.iter().cloned().map(Resource::Group);
        groups.map(|group| Access::new(Operation::Delete, group)).collect()
    }

    fn error_response(request: &DeleteGroupsRequest, error: ErrorCode) -> DeleteGroupsResponse {
        let results = request.groups_names.iter().map(|group_id| DeletableGroupResult {
            group_id: group_id.clone(),
            error_code: error.code(),
        });
        DeleteGroupsResponse { results: results.collect(), ..Default::default() }
    }
}

impl Handler for DeleteGroups {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let mut seen = BTreeSet::new();
        let mut results = Vec::new();
        for group_id in request.groups_names {
            if !seen.insert(group_id.clone()) {
                continue;
            }
            let deleted = broker.coordination.groups.delete_group(&group_id).await;
            let error = deleted.err().unwrap_or(ErrorCode::None);
            if error != ErrorCode::None {
                broker.metrics.error(context.api_key, error);
            }
            results.push(DeletableGroupResult { group_id, error_code: error.code() });
        }
        DeleteGroupsResponse { results, ..Default::default() }
    }
}

#[cfg(test)]
mod tests;

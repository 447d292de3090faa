//! ListGroups (key 16, v0–v5): the groups, by state (KIP-518) and type (KIP-848).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::list_groups::{ListGroupsRequest, ListGroupsResponse},
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version that shows states.
const STATES_SINCE: i16 = 4;
/// The first version that shows types.
const TYPES_SINCE: i16 = 5;

/// The handler.
#[derive(Debug)]
pub(crate) struct ListGroups;

impl Api for ListGroups {
    type Request = ListGroupsRequest;

    fn resources(_request: &ListGroupsRequest) -> Vec<Access> {
        vec![Access::new(Operation::Describe, Resource::Cluster)]
    }

    fn error_response(_request: &ListGroupsRequest, error: ErrorCode) -> ListGroupsResponse {
        ListGroupsResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for ListGroups {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ListGroupsRequest,
    ) -> ListGroupsResponse {
        let mut groups = match broker.coordination.groups.list_groups(&request).await {
            Ok(groups) => groups,
            Err(error) => {
                broker.metrics.error(context.api_key, error);
                return Self::error_response(&request, error);
            }
        };
        for group in &mut groups {
            if context.api_version < STATES_SINCE {
                group.group_state.clear();
            }
            if context.api_version < TYPES_SINCE {
                group.group_type.clear();
            }
        }
        ListGroupsResponse { groups, ..Default::default() }
    }
}

#[cfg(test)]
mod tests;

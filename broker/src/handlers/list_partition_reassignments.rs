//! ListPartitionReassignments (key 46, v0): there is never one in progress (KIP-455).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::list_partition_reassignments::{
        ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct ListPartitionReassignments;

impl Api for ListPartitionReassignments {
    type Request = ListPartitionReassignmentsRequest;

    fn resources(_: &ListPartitionReassignmentsRequest) -> Vec<Access> {
        vec![Access::new(Operation::Describe, Resource::Cluster)]
    }

    fn error_response(
        _: &ListPartitionReassignmentsRequest,
        error: ErrorCode,
    ) -> ListPartitionReassignmentsResponse {
        ListPartitionReassignmentsResponse {
            error_code: error.code(),
            error_message: Some(error.message().to_owned()),
            ..Default::default()
        }
    }
}

impl Handler for ListPartitionReassignments {
    async fn handle(
        _: &Arc<Broker>,
        _: &RequestContext,
        _: ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        ListPartitionReassignmentsResponse { error_message: None, ..Default::default() }
    }
}

#[cfg(test)]
mod tests;

//! LeaveGroup (key 13, v0–v5): members leave a classic group.
//!
//! KIP-345 (several at once, static ones by their instance id), KIP-800 (reasons).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse},
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct LeaveGroup;

impl Api for LeaveGroup {
    type Request = LeaveGroupRequest;

    fn resources(request: &LeaveGroupRequest) -> Vec<Access> {
        vec![Access::new(Operation::Read, Resource::Group(request.group_id.clone()))]
    }

    fn error_response(_: &LeaveGroupRequest, error: ErrorCode) -> LeaveGroupResponse {
        LeaveGroupResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for LeaveGroup {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let response = leave(broker, context.api_version, &request)
            .await
            .unwrap_or_else(|error| Self::error_response(&request, error));
        let codes = response.members.iter().map(|member| member.error_code);
        for code in std::iter::once(response.error_code).chain(codes) {
            broker.metrics.error_code(context.api_key, code);
        }
        response
    }
}

async fn leave(
    broker: &Arc<Broker>,
    version: i16,
    request: &LeaveGroupRequest,
) -> Result<LeaveGroupResponse, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let groups = &broker.coordination.groups;
    let left = groups
        .write(&request.group_id, |shard, context| shard.leave_group(context, request, version));
    left.await
}

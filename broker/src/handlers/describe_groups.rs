//! DescribeGroups (key 15, v0–v6): classic groups and their members.
//!
//! KIP-430 (authorized operations), KIP-345 (static members), KIP-1043 (unknown groups are errors
//! since v6). Groups of KIP-848 are ConsumerGroupDescribe's.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup},
};

use crate::{
    acl::{
        AUTHORIZED_OPERATIONS_OMITTED, Access, Operation, Resource, group_authorized_operations,
    },
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version that can ask for operations.
const OPERATIONS_SINCE: i16 = 3;
/// The first version with a message beside the error.
const MESSAGE_SINCE: i16 = 6;

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeGroups;

impl Api for DescribeGroups {
    type Request = DescribeGroupsRequest;

    fn resources(request: &DescribeGroupsRequest) -> Vec<Access> {
        let groups = request.groups.iter().cloned().map(Resource::Group);
        groups.map(|group| Access::new(Operation::Describe, group)).collect()
    }

    fn error_response(request: &DescribeGroupsRequest, error: ErrorCode) -> DescribeGroupsResponse {
        let groups = request.groups.iter().map(|group_id| failed(group_id, error));
        DescribeGroupsResponse { groups: groups.collect(), ..Default::default() }
    }
}

impl Handler for DescribeGroups {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let version = context.api_version;
        let wants_operations = request.include_authorized_operations && version >= OPERATIONS_SINCE;
        let mut groups = Vec::with_capacity(request.groups.len());
        for group_id in &request.groups {
            let described = broker.coordination.groups.describe_group(group_id, version).await;
            let mut group = described.unwrap_or_else(|error| failed(group_id, error));
            if group.error_code != ErrorCode::None.code()
                && let Ok(error) = ErrorCode::try_from(group.error_code)
            {
                broker.metrics.error(context.api_key, error);
            }
            group.authorized_operations =
                if wants_operations && group.error_code == ErrorCode::None.code() {
                    group_authorized_operations()
                } else {
                    AUTHORIZED_OPERATIONS_OMITTED
                };
            if version < MESSAGE_SINCE {
                group.error_message = None;
            }
            groups.push(group);
        }
        DescribeGroupsResponse { groups, ..Default::default() }
    }
}

fn failed(group_id: &str, error: ErrorCode) -> DescribedGroup {
    DescribedGroup {
        group_id: group_id.to_owned(),
        error_code: error.code(),
        authorized_operations: AUTHORIZED_OPERATIONS_OMITTED,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;

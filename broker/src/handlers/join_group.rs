//! JoinGroup (key 11, v0–v9): a member comes into a group of the classic protocol, and comes back
//! for each rebalance.
//!
//! KIP-345 (static members), KIP-394 (member ids are given before members are), KIP-559 (protocol
//! type and name), KIP-800 (reasons), KIP-814 (a static leader need not assign). Pipelined: a join
//! may wait for minutes, and meanwhile holds no memory of the request pool.

use std::sync::Arc;

use coordinator::group::classic::{Join, join_error, validate_join};
use protocol::{
    ErrorCode,
    messages::join_group::{JoinGroupRequest, JoinGroupResponse},
};
use tokio::sync::oneshot;

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Finish, Pipelined, Reply},
};

/// The first version whose protocol name may be null.
const NULL_PROTOCOL_SINCE: i16 = 7;

/// The handler.
#[derive(Debug)]
pub(crate) struct JoinGroup;

impl Api for JoinGroup {
    type Request = JoinGroupRequest;

    fn resources(request: &JoinGroupRequest) -> Vec<Access> {
        vec![Access::new(Operation::Read, Resource::Group(request.group_id.clone()))]
    }

    fn error_response(_: &JoinGroupRequest, error: ErrorCode) -> JoinGroupResponse {
        join_error("", error)
    }
}

impl Pipelined for JoinGroup {
    async fn begin(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: JoinGroupRequest,
    ) -> Finish<JoinGroupResponse> {
        let (api_key, version) = (context.api_key, context.api_version);
        let member_id = request.member_id.clone();
        let started = start(broker, context, request).await;
        let broker = Arc::clone(broker);
        Box::pin(async move {
            let response = match started {
                // The coordinator gave the group up while the join waited.
                Ok(waiting) => waiting
                    .await
                    .unwrap_or_else(|_| join_error(&member_id, ErrorCode::NotCoordinator)),
                Err(error) => join_error(&member_id, error),
            };
            broker.metrics.error_code(api_key, response.error_code);
            Reply::Response(in_version(response, version))
        })
    }
}

/// Joins; the answer comes when the group has settled who is in.
async fn start(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: JoinGroupRequest,
) -> Result<oneshot::Receiver<JoinGroupResponse>, ErrorCode> {
    let groups = &broker.coordination.groups;
    validate_join(&request, groups.config())?;
    let group_id = request.group_id.clone();
    let (waiter, waiting) = oneshot::channel();
    let join = Join {
        request,
        version: context.api_version,
        client_id: context.client_id.clone(),
        client_host: context.connection.client_host(),
        waiter,
    };
    groups.write(&group_id, |shard, context| shard.join_group(context, join)).await?;
    Ok(waiting)
}

/// No protocol is an empty name in older versions and null in newer ones.
fn in_version(response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    let name = response.protocol_name.filter(|name| !name.is_empty());
    let protocol_name =
        if version < NULL_PROTOCOL_SINCE { name.or(Some(String::new())) } else { name };
    JoinGroupResponse { protocol_name, ..response }
}

#[cfg(test)]
mod tests;

//! SyncGroup (key 14, v0–v5): a member asks for its assignment; the leader brings everybody's.
//!
//! KIP-345 (static members), KIP-559 (protocol type and name). Pipelined, as JoinGroup is: followers
//! wait for the leader.

use std::sync::Arc;

use coordinator::group::classic::{sync_error, validate_sync};
use protocol::{
    ErrorCode,
    messages::sync_group::{SyncGroupRequest, SyncGroupResponse},
};
use tokio::sync::oneshot;

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Finish, Pipelined, Reply},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct SyncGroup;

impl Api for SyncGroup {
    type Request = SyncGroupRequest;

    fn resources(request: &SyncGroupRequest) -> Vec<Access> {
        vec![Access::new(Operation::Read, Resource::Group(request.group_id.clone()))]
    }

    fn error_response(_: &SyncGroupRequest, error: ErrorCode) -> SyncGroupResponse {
        sync_error(error)
    }
}

impl Pipelined for SyncGroup {
    async fn begin(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: SyncGroupRequest,
    ) -> Finish<SyncGroupResponse> {
        let api_key = context.api_key;
        let started = start(broker, context, request).await;
        let broker = Arc::clone(broker);
        Box::pin(async move {
            let response = match started {
                // The coordinator gave the group up while the sync waited.
                Ok(waiting) => {
                    waiting.await.unwrap_or_else(|_| sync_error(ErrorCode::NotCoordinator))
                }
                Err(error) => sync_error(error),
            };
            broker.metrics.error_code(api_key, response.error_code);
            Reply::Response(response)
        })
    }
}

/// Syncs; the answer comes with the leader's assignment.
async fn start(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: SyncGroupRequest,
) -> Result<oneshot::Receiver<SyncGroupResponse>, ErrorCode> {
    validate_sync(&request, context.api_version)?;
    let (waiter, waiting) = oneshot::channel();
    let groups = &broker.coordination.groups;
    let group_id = request.group_id.clone();
    groups.write(&group_id, |shard, context| shard.sync_group(context, &request, waiter)).await?;
    Ok(waiting)
}

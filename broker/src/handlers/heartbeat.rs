//! Heartbeat (key 12, v0–v4): a member of a classic group says that it is there.
//!
//! KIP-345 (static members). While the coordinator loads, heartbeats are simply taken, as in Kafka:
//! sessions begin afresh once it has loaded.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::heartbeat::{HeartbeatRequest, HeartbeatResponse},
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct Heartbeat;

impl Api for Heartbeat {
    type Request = HeartbeatRequest;

    fn resources(request: &HeartbeatRequest) -> Vec<Access> {
        vec![Access::new(Operation::Read, Resource::Group(request.group_id.clone()))]
    }

    fn error_response(_: &HeartbeatRequest, error: ErrorCode) -> HeartbeatResponse {
        HeartbeatResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for Heartbeat {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: HeartbeatRequest,
    ) -> HeartbeatResponse {
        match heard(broker, &request).await {
            Ok(()) | Err(ErrorCode::CoordinatorLoadInProgress) => HeartbeatResponse::default(),
            Err(error) => {
                broker.metrics.error(context.api_key, error);
                Self::error_response(&request, error)
            }
        }
    }
}

async fn heard(broker: &Arc<Broker>, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let groups = &broker.coordination.groups;
    groups.write(&request.group_id, |shard, context| shard.heartbeat(context, request)).await?
}

//! ConsumerGroupHeartbeat (key 68, v0–v1): members of KIP-848's groups join, stay, hear what they own
//! and leave.
//!
//! The state machine is `coordinator::group::consumer`; here is only who asks. An append that fails
//! is told as an error, and the client heartbeats again.

use std::sync::Arc;

use coordinator::group::consumer::ClientIdentity;
use protocol::{
    ErrorCode,
    messages::consumer_group_heartbeat::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct ConsumerGroupHeartbeat;

impl Api for ConsumerGroupHeartbeat {
    type Request = ConsumerGroupHeartbeatRequest;

    fn resources(request: &ConsumerGroupHeartbeatRequest) -> Vec<Access> {
        let group = Resource::Group(request.group_id.clone());
        let names = request.subscribed_topic_names.iter().flatten();
        let topics =
            names.map(|name| Access::new(Operation::Describe, Resource::Topic(name.clone())));
        std::iter::once(Access::new(Operation::Read, group)).chain(topics).collect()
    }

    fn error_response(
        _: &ConsumerGroupHeartbeatRequest,
        error: ErrorCode,
    ) -> ConsumerGroupHeartbeatResponse {
        // Kafka tells in words only what the group itself refuses.
        ConsumerGroupHeartbeatResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for ConsumerGroupHeartbeat {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        if !broker.options().consumer_protocol {
            broker.metrics.error(context.api_key, ErrorCode::UnsupportedVersion);
            return Self::error_response(&request, ErrorCode::UnsupportedVersion);
        }
        let client_host = context.connection.client_host();
        let version = context.api_version;
        let beaten = broker.coordination.groups.write(&request.group_id, |shard, turn| {
            let client =
                ClientIdentity { client_id: &context.client_id, client_host: &client_host };
            shard.consumer_group_heartbeat(turn, client, &request, version)
        });
        let response = match beaten.await {
            Ok(response) => response,
            Err(error) => Self::error_response(&request, error),
        };
        match ErrorCode::try_from(response.error_code) {
            Ok(ErrorCode::None) | Err(_) => {}
            Ok(error) => broker.metrics.error(context.api_key, error),
        }
        response
    }
}

#[cfg(test)]
mod tests;

//! FindCoordinator (key 10, v0–v6): the broker that coordinates a group or a transactional id.
//!
//! KIP-98 (transactions), KIP-699 (several keys at once). Its topic is created on first use. Not
//! supported: share coordinators (KIP-932), which are refused as by a Kafka without them.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse},
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    coordination::InternalTopic,
    handler::{Api, Handler},
};

/// The first version that asks for several keys.
const BATCHED_SINCE: i16 = 4;
/// Key type of groups.
const GROUP: i8 = 0;
/// Key type of transactional ids.
const TRANSACTION: i8 = 1;
/// No broker.
const NO_NODE: i32 = -1;

/// The handler.
#[derive(Debug)]
pub(crate) struct FindCoordinator;

impl Api for FindCoordinator {
    type Request = FindCoordinatorRequest;

    fn resources(request: &FindCoordinatorRequest) -> Vec<Access> {
        let keys = std::iter::once(&request.key).filter(|key| !key.is_empty());
        let resources = keys.chain(&request.coordinator_keys).map(|key| match request.key_type {
            GROUP => Resource::Group(key.clone()),
            TRANSACTION => Resource::TransactionalId(key.clone()),
            _ => Resource::Cluster,
        });
        resources.map(|resource| Access::new(Operation::Describe, resource)).collect()
    }

    fn error_response(
        request: &FindCoordinatorRequest,
        error: ErrorCode,
    ) -> FindCoordinatorResponse {
        // Versions with several keys have no error of the whole answer.
        if !request.coordinator_keys.is_empty() {
            let keys = request.coordinator_keys.iter();
            return FindCoordinatorResponse {
                coordinators: keys.map(|key| not_found(key, error)).collect(),
                ..Default::default()
            };
        }
        FindCoordinatorResponse {
            error_code: error.code(),
            error_message: Some(error.message().to_owned()),
            node_id: NO_NODE,
            port: NO_NODE,
            ..Default::default()
        }
    }
}

impl Handler for FindCoordinator {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        let found = ensure_topic(broker, request.key_type).await;
        if let Err(error) = found {
            broker.metrics.error(context.api_key, error);
        }
        if context.api_version >= BATCHED_SINCE {
            let keys = request.coordinator_keys.iter();
            return FindCoordinatorResponse {
                coordinators: keys.map(|key| coordinator(broker, key, found)).collect(),
                ..Default::default()
            };
        }
        let Coordinator { node_id, host, port, .. } = coordinator(broker, &request.key, found);
        let error = found.err().unwrap_or(ErrorCode::None);
        FindCoordinatorResponse {
            error_code: error.code(),
            error_message: Some(match found {
                Ok(()) => error.name().to_owned(),
                Err(error) => error.message().to_owned(),
            }),
            node_id,
            host,
            port,
            ..Default::default()
        }
    }
}

/// The topic of the coordinator must be there: its partitions are what keys belong to.
async fn ensure_topic(broker: &Broker, key_type: i8) -> Result<(), ErrorCode> {
    let topic = match key_type {
        GROUP => InternalTopic::ConsumerOffsets,
        TRANSACTION => InternalTopic::TransactionState,
        _ => return Err(ErrorCode::InvalidRequest),
    };
    match broker.coordination.ensure(topic).await {
        Ok(_) => Ok(()),
        Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Every key's coordinator is this broker: it owns all partitions.
fn coordinator(broker: &Broker, key: &str, found: Result<(), ErrorCode>) -> Coordinator {
    if let Err(error) = found {
        return not_found(key, error);
    }
    let options = broker.options();
    Coordinator {
        key: key.to_owned(),
        node_id: broker.node_id.0,
        host: options.advertised.host.clone(),
        port: i32::from(options.advertised.port),
        ..Default::default()
    }
}

fn not_found(key: &str, error: ErrorCode) -> Coordinator {
    Coordinator {
        key: key.to_owned(),
        node_id: NO_NODE,
        port: NO_NODE,
        error_code: error.code(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;

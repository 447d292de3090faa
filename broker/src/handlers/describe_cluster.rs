//! DescribeCluster (key 60, v0–v2): the cluster's id, controller and brokers (KIP-700, KIP-919,
//! KIP-1073). There is no separate controller to ask.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::describe_cluster::{
        DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
    },
};

use crate::{
    acl::{
        AUTHORIZED_OPERATIONS_OMITTED, Access, Operation, Resource, cluster_authorized_operations,
    },
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// Asks for brokers.
const ENDPOINT_BROKERS: i8 = 1;
/// Asks for controllers.
const ENDPOINT_CONTROLLERS: i8 = 2;

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeCluster;

impl Api for DescribeCluster {
    type Request = DescribeClusterRequest;

    fn resources(_: &DescribeClusterRequest) -> Vec<Access> {
        vec![Access::new(Operation::Describe, Resource::Cluster)]
    }

    fn error_response(_: &DescribeClusterRequest, error: ErrorCode) -> DescribeClusterResponse {
        refused(error, error.message().to_owned())
    }
}

impl Handler for DescribeCluster {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        if let Err((error, why)) = check_endpoint(request.endpoint_type) {
            broker.metrics.error(context.api_key, error);
            return refused(error, why);
        }
        let options = broker.options();
        DescribeClusterResponse {
            endpoint_type: ENDPOINT_BROKERS,
            cluster_id: broker.cluster_id.clone(),
            controller_id: broker.node_id.0,
            brokers: vec![DescribeClusterBroker {
                broker_id: broker.node_id.0,
                host: options.advertised.host.clone(),
                port: i32::from(options.advertised.port),
                rack: options.rack.clone(),
                is_fenced: false,
            }],
            cluster_authorized_operations: if request.include_cluster_authorized_operations {
                cluster_authorized_operations()
            } else {
                AUTHORIZED_OPERATIONS_OMITTED
            },
            ..Default::default()
        }
    }
}

fn check_endpoint(endpoint_type: i8) -> Result<(), (ErrorCode, String)> {
    match endpoint_type {
        ENDPOINT_BROKERS => Ok(()),
        ENDPOINT_CONTROLLERS => Err((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
             type CONTROLLER"
                .to_owned(),
        )),
        other => {
            Err((ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")))
        }
    }
}

fn refused(error: ErrorCode, why: String) -> DescribeClusterResponse {
    DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(why),
        endpoint_type: ENDPOINT_BROKERS,
        controller_id: -1,
        cluster_authorized_operations: AUTHORIZED_OPERATIONS_OMITTED,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;

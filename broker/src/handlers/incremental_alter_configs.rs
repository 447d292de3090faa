//! IncrementalAlterConfigs (key 44, v0–v1): changes single settings of topics, brokers and groups
//! (KIP-339).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::incremental_alter_configs::{
        AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse,
    },
};

use super::config_resource::{self, AlterTo, Alteration};
use crate::{
    acl::{Access, Operation},
    config::alter::{AlterError, AlterOperation, Change},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct IncrementalAlterConfigs;

impl Api for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;

    fn resources(request: &IncrementalAlterConfigsRequest) -> Vec<Access> {
        let resources = request.resources.iter();
        resources
            .map(|resource| {
                let operation = Operation::AlterConfigs;
                config_resource::access(resource.resource_type, &resource.resource_name, operation)
            })
            .collect()
    }

    fn error_response(
        request: &IncrementalAlterConfigsRequest,
        error: ErrorCode,
    ) -> IncrementalAlterConfigsResponse {
        let resources = request.resources.iter();
        let refusal = AlterError { code: error, message: error.message().to_owned() };
        let responses = resources.map(|resource| response(resource, Err(refusal.clone())));
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

impl Handler for IncrementalAlterConfigs {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let alterations = request.resources.iter().map(alteration).collect();
        let changed =
            config_resource::change_all(broker, context, alterations, request.validate_only);
        let changed = changed.await.into_iter();
        let responses =
            request.resources.iter().zip(changed).map(|(one, result)| response(one, result));
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

fn alteration(resource: &AlterConfigsResource) -> Alteration<'_> {
    let changes = resource.configs.iter().map(|config| {
        let operation = AlterOperation::from_id(config.config_operation);
        Ok(Change {
            name: config.name.clone(),
            operation: operation.ok_or_else(|| unknown_operation(config.config_operation))?,
            value: config.value.clone(),
        })
    });
    Alteration {
        resource: (resource.resource_type, resource.resource_name.as_str()),
        to: changes.collect::<Result<_, AlterError>>().map(AlterTo::Changed),
    }
}

/// Kafka fails with UNKNOWN_SERVER_ERROR here; the request is what is wrong.
fn unknown_operation(id: i8) -> AlterError {
    AlterError::invalid_request(format!("Unknown config operation {id}"))
}

fn response(
    resource: &AlterConfigsResource,
    changed: Result<(), AlterError>,
) -> AlterConfigsResourceResponse {
    let refusal = changed.err();
    AlterConfigsResourceResponse {
        error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code).code(),
        error_message: refusal.map(|refusal| refusal.message),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    }
}

#[cfg(test)]
mod tests;

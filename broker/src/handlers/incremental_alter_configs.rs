//! IncrementalAlterConfigs (key 44, v0–v1): changes single settings of topics and brokers (KIP-339).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::incremental_alter_configs::{
        AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse,
    },
};

use super::config_resource;
use crate::{
    acl::{Access, Operation},
    config::alter::{self, AlterError, AlterOperation, Change},
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
        let resources = &request.resources;
        let named = resources.iter().map(|one| (one.resource_type, one.resource_name.as_str()));
        let duplicates = config_resource::duplicates(named);
        let mut responses = Vec::with_capacity(resources.len());
        for resource in resources {
            let named = (resource.resource_type, resource.resource_name.as_str());
            let changed = if duplicates.contains(&named) {
                Err(config_resource::duplicate())
            } else {
                change(broker, resource, request.validate_only).await
            };
            if let Err(refusal) = &changed {
                broker.metrics.error(context.api_key, refusal.code);
            }
            responses.push(response(resource, changed));
        }
        IncrementalAlterConfigsResponse { responses, ..Default::default() }
    }
}

async fn change(
    broker: &Arc<Broker>,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), AlterError> {
    let changes: Vec<Change> = resource
        .configs
        .iter()
        .map(|config| {
            let operation = AlterOperation::from_id(config.config_operation);
            Ok(Change {
                name: config.name.clone(),
                operation: operation.ok_or_else(|| unknown_operation(config.config_operation))?,
                value: config.value.clone(),
            })
        })
        .collect::<Result<_, AlterError>>()?;
    let named = (resource.resource_type, resource.resource_name.as_str());
    config_resource::change(broker, named, validate_only, |current, key| {
        alter::incremental(current, &changes, key)
    })
    .await
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

//! AlterConfigs (key 33, v0–v2): replaces all settings of topics and brokers (KIP-133). Clients use
//! IncrementalAlterConfigs by now.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::alter_configs::{
        AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse,
        AlterConfigsResponse,
    },
};

use super::config_resource;
use crate::{
    acl::{Access, Operation},
    config::alter::{self, AlterError},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct AlterConfigs;

impl Api for AlterConfigs {
    type Request = AlterConfigsRequest;

    fn resources(request: &AlterConfigsRequest) -> Vec<Access> {
        let resources = request.resources.iter();
        resources
            .map(|resource| {
                let operation = Operation::AlterConfigs;
                config_resource::access(resource.resource_type, &resource.resource_name, operation)
            })
            .collect()
    }

    fn error_response(request: &AlterConfigsRequest, error: ErrorCode) -> AlterConfigsResponse {
        let resources = request.resources.iter();
        let refusal = AlterError { code: error, message: error.message().to_owned() };
        let responses = resources.map(|resource| response(resource, Err(refusal.clone())));
        AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

impl Handler for AlterConfigs {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: AlterConfigsRequest,
    ) -> AlterConfigsResponse {
        let resources = &request.resources;
        let named = resources.iter().map(|one| (one.resource_type, one.resource_name.as_str()));
        let duplicates = config_resource::duplicates(named);
        let mut responses = Vec::with_capacity(resources.len());
        for resource in resources {
            let named = (resource.resource_type, resource.resource_name.as_str());
            let changed = if duplicates.contains(&named) {
                Err(config_resource::duplicate())
            } else {
                replace(broker, resource, request.validate_only).await
            };
            if let Err(refusal) = &changed {
                broker.metrics.error(context.api_key, refusal.code);
            }
            responses.push(response(resource, changed));
        }
        AlterConfigsResponse { responses, ..Default::default() }
    }
}

async fn replace(
    broker: &Arc<Broker>,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), AlterError> {
    let configs = resource.configs.iter();
    let given: Vec<_> = configs.map(|config| (config.name.clone(), config.value.clone())).collect();
    let named = (resource.resource_type, resource.resource_name.as_str());
    config_resource::change(broker, named, validate_only, |_, _| alter::replace(&given)).await
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

//! AlterConfigs (key 33, v0–v2): replaces all settings of topics, brokers and groups (KIP-133).
//! Clients use IncrementalAlterConfigs by now.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::alter_configs::{
        AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse,
        AlterConfigsResponse,
    },
};

use super::config_resource::{self, AlterTo, Alteration};
use crate::{
    acl::{Access, Operation},
    config::alter::AlterError,
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
        let alterations = request.resources.iter().map(alteration).collect();
        let changed =
            config_resource::change_all(broker, context, alterations, request.validate_only);
        let changed = changed.await.into_iter();
        let responses =
            request.resources.iter().zip(changed).map(|(one, result)| response(one, result));
        AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

fn alteration(resource: &AlterConfigsResource) -> Alteration<'_> {
    let configs = resource.configs.iter();
    let given = configs.map(|config| (config.name.clone(), config.value.clone())).collect();
    Alteration {
        resource: (resource.resource_type, resource.resource_name.as_str()),
        to: Ok(AlterTo::Replaced(given)),
    }
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

//! ListConfigResources (key 74, v0–v1): the resources that have configurations (KIP-714,
//! KIP-1142). Version 0 knows client metrics only, of which there are none.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::list_config_resources::{
        ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
    },
};

use super::config_resource::ResourceType;
use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version that asks for types.
const TYPES_SINCE: i16 = 1;

/// The handler.
#[derive(Debug)]
pub(crate) struct ListConfigResources;

impl Api for ListConfigResources {
    type Request = ListConfigResourcesRequest;

    fn resources(_: &ListConfigResourcesRequest) -> Vec<Access> {
        vec![Access::new(Operation::DescribeConfigs, Resource::Cluster)]
    }

    fn error_response(
        _: &ListConfigResourcesRequest,
        error: ErrorCode,
    ) -> ListConfigResourcesResponse {
        ListConfigResourcesResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for ListConfigResources {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ListConfigResourcesRequest,
    ) -> ListConfigResourcesResponse {
        if context.api_version < TYPES_SINCE {
            return ListConfigResourcesResponse::default();
        }
        let types: Option<Vec<ResourceType>> =
            request.resource_types.iter().map(|id| ResourceType::from_id(*id)).collect();
        let Some(types) = types else {
            broker.metrics.error(context.api_key, ErrorCode::UnsupportedVersion);
            return Self::error_response(&request, ErrorCode::UnsupportedVersion);
        };
        let is_asked = |kind| types.is_empty() || types.contains(&kind);
        let mut config_resources = Vec::new();
        if is_asked(ResourceType::Broker) {
            config_resources.push(resource(&broker.node_id.to_string(), ResourceType::Broker));
        }
        if is_asked(ResourceType::Group) {
            let groups = broker.group_configs.group_ids();
            config_resources
                .extend(groups.iter().map(|group_id| resource(group_id, ResourceType::Group)));
        }
        if is_asked(ResourceType::Topic) {
            let image = broker.catalog.image();
            let topics = image.topics();
            config_resources
                .extend(topics.map(|topic| resource(&topic.topic.name, ResourceType::Topic)));
        }
        ListConfigResourcesResponse { config_resources, ..Default::default() }
    }
}

fn resource(name: &str, kind: ResourceType) -> ConfigResource {
    ConfigResource { resource_name: name.to_owned(), resource_type: kind as i8 }
}

#[cfg(test)]
mod tests;

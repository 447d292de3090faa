//! ConsumerGroupDescribe (key 69, v0–v1): groups of KIP-848 and their members.
//!
//! Version 1 tells which members speak the classic protocol (KIP-1099). Classic groups are
//! DescribeGroups'.

use std::sync::Arc;

use coordinator::group::consumer::undescribed_consumer_group;
use protocol::{
    ErrorCode,
    messages::consumer_group_describe::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
    },
};

use crate::{
    acl::{Access, Operation, Resource, group_authorized_operations},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct ConsumerGroupDescribe;

impl Api for ConsumerGroupDescribe {
    type Request = ConsumerGroupDescribeRequest;

    fn resources(request: &ConsumerGroupDescribeRequest) -> Vec<Access> {
        let groups = request.group_ids.iter().cloned().map(Resource::Group);
        groups.map(|group| Access::new(Operation::Describe, group)).collect()
    }

    fn error_response(
        request: &ConsumerGroupDescribeRequest,
        error: ErrorCode,
    ) -> ConsumerGroupDescribeResponse {
        let groups = request.group_ids.iter();
        ConsumerGroupDescribeResponse {
            groups: groups.map(|group_id| undescribed_consumer_group(group_id, error)).collect(),
            ..Default::default()
        }
    }
}

impl Handler for ConsumerGroupDescribe {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ConsumerGroupDescribeRequest,
    ) -> ConsumerGroupDescribeResponse {
        if !broker.options().consumer_protocol {
            broker.metrics.error(context.api_key, ErrorCode::UnsupportedVersion);
            return Self::error_response(&request, ErrorCode::UnsupportedVersion);
        }
        let mut groups = Vec::with_capacity(request.group_ids.len());
        for group_id in &request.group_ids {
            let mut group = describe(broker, group_id).await;
            match ErrorCode::try_from(group.error_code) {
                Ok(ErrorCode::None) if request.include_authorized_operations => {
                    group.authorized_operations = group_authorized_operations();
                }
                Ok(ErrorCode::None) | Err(_) => {}
                Ok(error) => broker.metrics.error(context.api_key, error),
            }
            groups.push(group);
        }
        ConsumerGroupDescribeResponse { groups, ..Default::default() }
    }
}

async fn describe(broker: &Arc<Broker>, group_id: &str) -> DescribedGroup {
    if group_id.is_empty() {
        return undescribed_consumer_group(group_id, ErrorCode::InvalidGroupId);
    }
    let read =
        broker.coordination.groups.read(group_id, |shard| shard.describe_consumer_group(group_id));
    match read.await {
        Ok(described) => described,
        Err(error) => undescribed_consumer_group(group_id, error),
    }
}

#[cfg(test)]
mod tests;

//! DescribeTransactions (key 65, v0): where transactional ids stand, and what their transactions
//! touch.
//!
//! KIP-664.

use std::sync::Arc;

use coordinator::transaction::Description;
use protocol::{
    ErrorCode,
    messages::describe_transactions::{
        DescribeTransactionsRequest, DescribeTransactionsResponse, TopicData, TransactionState,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeTransactions;

impl Api for DescribeTransactions {
    type Request = DescribeTransactionsRequest;

    fn resources(request: &DescribeTransactionsRequest) -> Vec<Access> {
        let ids = request.transactional_ids.iter().cloned().map(Resource::TransactionalId);
        ids.map(|id| Access::new(Operation::Describe, id)).collect()
    }

    fn error_response(
        request: &DescribeTransactionsRequest,
        error: ErrorCode,
    ) -> DescribeTransactionsResponse {
        let failed = request.transactional_ids.iter().map(|id| failed(id.clone(), error));
        DescribeTransactionsResponse { transaction_states: failed.collect(), ..Default::default() }
    }
}

impl Handler for DescribeTransactions {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DescribeTransactionsRequest,
    ) -> DescribeTransactionsResponse {
        let mut response = DescribeTransactionsResponse::default();
        for transactional_id in request.transactional_ids {
            let described = broker.coordination.transactions.describe(&transactional_id).await;
            response.transaction_states.push(match described {
                Ok(description) => shown(transactional_id, description),
                Err(error) => {
                    broker.metrics.error(context.api_key, error);
                    failed(transactional_id, error)
                }
            });
        }
        response
    }
}

fn shown(transactional_id: String, description: Description) -> TransactionState {
    let mut topics: Vec<TopicData> = Vec::new();
    for partition in description.partitions {
        match topics.last_mut() {
            Some(last) if last.topic == partition.topic => {
                last.partitions.push(partition.partition);
            }
            _ => topics
                .push(TopicData { topic: partition.topic, partitions: vec![partition.partition] }),
        }
    }
    TransactionState {
        error_code: ErrorCode::None.code(),
        transactional_id,
        transaction_state: description.state.name().to_owned(),
        transaction_timeout_ms: description.timeout_ms,
        transaction_start_time_ms: description.start_ms,
        producer_id: description.producer_id.0,
        producer_epoch: description.producer_epoch,
        topics,
    }
}

fn failed(transactional_id: String, error: ErrorCode) -> TransactionState {
    TransactionState { error_code: error.code(), transactional_id, ..Default::default() }
}

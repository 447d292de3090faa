//! ListTransactions (key 66, v0–v2): the transactional ids of this coordinator.
//!
//! KIP-664; KIP-994 (v1: by duration); KIP-1152 (v2: by a pattern of ids).

use std::sync::Arc;

use common::ProducerId;
use coordinator::transaction::TransactionFilter;
use protocol::{
    ErrorCode,
    messages::list_transactions::{
        ListTransactionsRequest, ListTransactionsResponse, TransactionState,
    },
};

use crate::{
    acl::Access,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct ListTransactions;

impl Api for ListTransactions {
    type Request = ListTransactionsRequest;

    /// Nothing that the request names; what is listed is filtered by who may describe it.
    fn resources(_: &ListTransactionsRequest) -> Vec<Access> {
        Vec::new()
    }

    fn error_response(_: &ListTransactionsRequest, error: ErrorCode) -> ListTransactionsResponse {
        ListTransactionsResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for ListTransactions {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ListTransactionsRequest,
    ) -> ListTransactionsResponse {
        list(broker, &request).await.unwrap_or_else(|error| {
            broker.metrics.error(context.api_key, error);
            Self::error_response(&request, error)
        })
    }
}

async fn list(
    broker: &Broker,
    request: &ListTransactionsRequest,
) -> Result<ListTransactionsResponse, ErrorCode> {
    let filter = TransactionFilter::new(
        request.producer_id_filters.iter().copied().map(ProducerId),
        &request.state_filters,
        request.duration_filter,
        request.transactional_id_pattern.as_deref(),
    )?;
    let listed = broker.coordination.transactions.list(&filter).await?;
    let states = listed.into_iter().map(|listing| TransactionState {
        transactional_id: listing.transactional_id,
        producer_id: listing.producer_id.0,
        transaction_state: listing.state.name().to_owned(),
    });
    Ok(ListTransactionsResponse {
        unknown_state_filters: filter.unknown_states().to_vec(),
        transaction_states: states.collect(),
        ..Default::default()
    })
}

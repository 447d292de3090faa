//! EndTxn (key 26, v0–v5): commits or aborts a transaction.
//!
//! KIP-98; KIP-890 (v5: every end bumps the producer's epoch, and the answer carries it).

use std::sync::Arc;

use common::ProducerId;
use coordinator::transaction::{EndTransaction, ProducerIdAndEpoch, TransactionVersion};
use protocol::{
    ErrorCode,
    messages::end_txn::{EndTxnRequest, EndTxnResponse},
};

use super::error::before_producer_fenced;
use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version of clients that take a bumped epoch from the answer.
const BUMPS_EPOCH_SINCE: i16 = 5;
/// The first version of clients that know PRODUCER_FENCED.
const PRODUCER_FENCED_SINCE: i16 = 2;

/// The handler.
#[derive(Debug)]
pub(crate) struct EndTxn;

impl Api for EndTxn {
    type Request = EndTxnRequest;

    fn resources(request: &EndTxnRequest) -> Vec<Access> {
        let transactional_id = Resource::TransactionalId(request.transactional_id.clone());
        vec![Access::new(Operation::Write, transactional_id)]
    }

    fn error_response(_: &EndTxnRequest, error: ErrorCode) -> EndTxnResponse {
        EndTxnResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for EndTxn {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: EndTxnRequest,
    ) -> EndTxnResponse {
        let client_version = if context.api_version >= BUMPS_EPOCH_SINCE {
            TransactionVersion::V2
        } else {
            TransactionVersion::V0
        };
        let end = EndTransaction {
            transactional_id: request.transactional_id.clone(),
            producer: ProducerIdAndEpoch {
                producer_id: ProducerId(request.producer_id),
                producer_epoch: request.producer_epoch,
            },
            committed: request.committed,
            client_version,
        };
        match broker.coordination.transactions.end_transaction(&end).await {
            Ok(None) => EndTxnResponse::default(),
            Ok(Some(producer)) => EndTxnResponse {
                producer_id: producer.producer_id.0,
                producer_epoch: producer.producer_epoch,
                ..Default::default()
            },
            Err(error) => {
                broker.metrics.error(context.api_key, error);
                let known = context.api_version >= PRODUCER_FENCED_SINCE;
                Self::error_response(&request, before_producer_fenced(error, known))
            }
        }
    }
}

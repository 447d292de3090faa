//! AddOffsetsToTxn (key 25, v0–v4): a group's offsets become part of a transaction.
//!
//! KIP-98. Clients of KIP-890 do not send it: their TxnOffsetCommit adds the partition by itself.

use std::sync::Arc;

use common::ProducerId;
use coordinator::transaction::{AddPartitions, TransactionVersion};
use protocol::{
    ErrorCode,
    messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse},
};

use super::error::before_producer_fenced;
use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version of clients that know PRODUCER_FENCED.
const PRODUCER_FENCED_SINCE: i16 = 2;

/// The handler.
#[derive(Debug)]
pub(crate) struct AddOffsetsToTxn;

impl Api for AddOffsetsToTxn {
    type Request = AddOffsetsToTxnRequest;

    fn resources(request: &AddOffsetsToTxnRequest) -> Vec<Access> {
        let transactional_id = Resource::TransactionalId(request.transactional_id.clone());
        let group = Resource::Group(request.group_id.clone());
        vec![Access::new(Operation::Write, transactional_id), Access::new(Operation::Read, group)]
    }

    fn error_response(_: &AddOffsetsToTxnRequest, error: ErrorCode) -> AddOffsetsToTxnResponse {
        AddOffsetsToTxnResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for AddOffsetsToTxn {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: AddOffsetsToTxnRequest,
    ) -> AddOffsetsToTxnResponse {
        match add(broker, &request).await {
            Ok(()) => AddOffsetsToTxnResponse::default(),
            Err(error) => {
                broker.metrics.error(context.api_key, error);
                let known = context.api_version >= PRODUCER_FENCED_SINCE;
                Self::error_response(&request, before_producer_fenced(error, known))
            }
        }
    }
}

async fn add(broker: &Broker, request: &AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    let offsets = broker.coordination.offsets_partition(&request.group_id)?;
    let add = AddPartitions {
        transactional_id: request.transactional_id.clone(),
        producer_id: ProducerId(request.producer_id),
        producer_epoch: request.producer_epoch,
        partitions: [offsets].into(),
        client_version: TransactionVersion::V0,
    };
    broker
        .coordination
        .transactions
        .add_partitions(&add, broker.options().add_partitions_patience)
        .await
}

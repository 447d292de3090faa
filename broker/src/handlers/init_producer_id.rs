//! InitProducerId (key 22, v0–v5): a producer id, and for a transactional id the epoch that fences
//! every producer before.
//!
//! KIP-98, KIP-360. As in Kafka, a producer without a transactional id always gets a fresh id with
//! epoch 0, also where it names the one that it had. Two-phase commit (KIP-939, the unstable v6) is
//! refused as Kafka 4.3 refuses it.

use std::sync::Arc;

use common::ProducerId;
use coordinator::transaction::{self, ProducerIdAndEpoch, service::ProducerIdSource as _};
use protocol::{
    ErrorCode,
    messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
};

use super::error::before_producer_fenced;
use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version of clients that know PRODUCER_FENCED.
const PRODUCER_FENCED_SINCE: i16 = 4;
const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;

/// The handler.
#[derive(Debug)]
pub(crate) struct InitProducerId;

impl Api for InitProducerId {
    type Request = InitProducerIdRequest;

    fn resources(request: &InitProducerIdRequest) -> Vec<Access> {
        vec![match &request.transactional_id {
            Some(id) => Access::new(Operation::Write, Resource::TransactionalId(id.clone())),
            None => Access::new(Operation::IdempotentWrite, Resource::Cluster),
        }]
    }

    fn error_response(_: &InitProducerIdRequest, error: ErrorCode) -> InitProducerIdResponse {
        InitProducerIdResponse {
            error_code: error.code(),
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            ..Default::default()
        }
    }
}

impl Handler for InitProducerId {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        match begin(broker, &request).await {
            Ok(producer) => InitProducerIdResponse {
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

async fn begin(
    broker: &Broker,
    request: &InitProducerIdRequest,
) -> Result<ProducerIdAndEpoch, ErrorCode> {
    let expected = expected(request)?;
    let Some(transactional_id) = request.transactional_id.clone() else {
        let producer_id = broker.producer_ids.next_producer_id().await?;
        return Ok(ProducerIdAndEpoch { producer_id, producer_epoch: 0 });
    };
    let request = transaction::InitProducerId {
        transactional_id,
        timeout_ms: request.transaction_timeout_ms,
        two_phase_commit: request.enable2_pc,
        keep_prepared: request.keep_prepared_txn,
        expected,
    };
    broker.coordination.transactions.init_producer_id(&request).await
}

/// What the producer says that it is: an id and an epoch, or neither.
fn expected(request: &InitProducerIdRequest) -> Result<Option<ProducerIdAndEpoch>, ErrorCode> {
    match (request.producer_id, request.producer_epoch) {
        (NO_PRODUCER_ID, NO_PRODUCER_EPOCH) => Ok(None),
        (NO_PRODUCER_ID, _) | (_, NO_PRODUCER_EPOCH) => Err(ErrorCode::InvalidRequest),
        (producer_id, producer_epoch) => {
            Ok(Some(ProducerIdAndEpoch { producer_id: ProducerId(producer_id), producer_epoch }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_epoch_come_together_or_not_at_all() {
        let said = |producer_id, producer_epoch| {
            expected(&InitProducerIdRequest { producer_id, producer_epoch, ..Default::default() })
        };
        let five = ProducerIdAndEpoch { producer_id: ProducerId(5), producer_epoch: 0 };
        assert_eq!(said(-1, -1), Ok(None));
        assert_eq!(said(5, 0), Ok(Some(five)));
        assert_eq!(said(5, -1), Err(ErrorCode::InvalidRequest));
        assert_eq!(said(-1, 0), Err(ErrorCode::InvalidRequest));
    }
}

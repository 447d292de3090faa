//! InitProducerId (key 22, v0–v5): a producer id for an idempotent producer.
//!
//! KIP-98, KIP-360. As in Kafka, a producer without a transactional id always gets a fresh id with
//! epoch 0, also where it names the one that it had. Not supported yet: transactional ids, which
//! need a transaction coordinator; they are answered COORDINATOR_NOT_AVAILABLE.

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
};
use tracing::warn;

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

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
        let allocated = match validate(&request) {
            Ok(()) => broker.producer_ids.next().await.map_err(|error| {
                warn!(%error, "no producer id could be allocated");
                allocation_error(&error)
            }),
            Err(error) => Err(error),
        };
        match allocated {
            Ok(producer_id) => InitProducerIdResponse {
                producer_id: producer_id.0,
                producer_epoch: 0,
                ..Default::default()
            },
            Err(error) => {
                broker.metrics.error(context.api_key, error);
                Self::error_response(&request, error)
            }
        }
    }
}

fn validate(request: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    let names_id = request.producer_id != NO_PRODUCER_ID;
    let names_epoch = request.producer_epoch != NO_PRODUCER_EPOCH;
    match request.transactional_id.as_deref() {
        _ if names_id != names_epoch => Err(ErrorCode::InvalidRequest),
        None => Ok(()),
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Kafka's answer while no block of ids can be had, unless trying again cannot help.
fn allocation_error(error: &metadata::Error) -> ErrorCode {
    if error.is_retriable() || error.is_outcome_unknown() {
        ErrorCode::CoordinatorLoadInProgress
    } else {
        super::error::metadata(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(transactional_id: Option<&str>, id: i64, epoch: i16) -> InitProducerIdRequest {
        InitProducerIdRequest {
            transactional_id: transactional_id.map(str::to_owned),
            producer_id: id,
            producer_epoch: epoch,
            ..Default::default()
        }
    }

    #[test]
    fn id_and_epoch_come_together_or_not_at_all() {
        assert_eq!(validate(&request(None, -1, -1)), Ok(()));
        assert_eq!(validate(&request(None, 5, 0)), Ok(()));
        assert_eq!(validate(&request(None, 5, -1)), Err(ErrorCode::InvalidRequest));
        assert_eq!(validate(&request(None, -1, 0)), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn transactional_ids_have_no_coordinator_yet() {
        let unavailable = Err(ErrorCode::CoordinatorNotAvailable);
        assert_eq!(validate(&request(Some("t"), -1, -1)), unavailable);
        assert_eq!(validate(&request(Some(""), -1, -1)), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn a_store_that_is_busy_may_be_asked_again() {
        let busy = metadata::Error::Busy(String::new());
        assert_eq!(allocation_error(&busy), ErrorCode::CoordinatorLoadInProgress);
        let exhausted = metadata::Error::ProducerIdsExhausted { next: i64::MAX, requested: 1000 };
        assert_eq!(allocation_error(&exhausted), ErrorCode::UnknownServerError);
    }
}

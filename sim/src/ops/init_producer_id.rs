//! InitProducerId: a producer id for an idempotent producer.

use broker::testing::Client;
use protocol::{ErrorCode, messages::init_producer_id::InitProducerIdRequest};

use super::{Lost, call, code, unexpected};
use crate::history::History;

const VERSION: i16 = 4;

/// The request of a producer without a transactional id.
#[must_use]
pub fn request() -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    }
}

/// The producer id and epoch; `None` where they cannot be had now.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn init(client: &mut Client, history: &History) -> Result<Option<(i64, i16)>, Lost> {
    let response = call(client, &request(), VERSION).await?;
    let code = history.check(code("InitProducerId", response.error_code)).ok_or(Lost)?;
    match code {
        ErrorCode::None => Ok(Some((response.producer_id, response.producer_epoch))),
        ErrorCode::RequestTimedOut
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::NotController => Ok(None),
        other => {
            history.violate(unexpected("InitProducerId", other));
            Err(Lost)
        }
    }
}

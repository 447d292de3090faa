//! One file per Kafka API that the clients use, each with the same members: what to send
//! (`sample` or `request`), how to read the answer (`classify`), and what it means for the model
//! (`predicted_effect`).

pub mod alter_configs;
pub mod delete_records;
pub mod fetch;
pub mod groups;
pub mod init_producer_id;
pub mod list_offsets;
pub mod offsets;
pub mod produce;
pub mod topics;
pub mod transactions;

use std::time::Duration;

use broker::testing::Client;
use protocol::{ErrorCode, Request};

use crate::{history::History, invariants::Violation};

/// How long a client waits for an answer before it gives the connection up, as `request.timeout.ms`
/// does.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The connection is of no use any more; what was in flight has an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// One request and its answer, or the loss of the connection.
///
/// # Errors
/// [`Lost`].
pub async fn call<R: Request>(
    client: &mut Client,
    request: &R,
    version: i16,
) -> Result<R::Response, Lost> {
    match tokio::time::timeout(REQUEST_TIMEOUT, client.call(request, version)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) | Err(_) => Err(Lost),
    }
}

/// The code, if it is one of Kafka's.
///
/// # Errors
/// A protocol violation.
pub fn code(api: &str, code: i16) -> Result<ErrorCode, Violation> {
    ErrorCode::try_from(code)
        .map_err(|_| Violation::protocol(format!("{api} answered the unknown code {code}")))
}

/// The code of an answer, or a violation.
fn known(history: &History, api: &str, error_code: i16) -> Result<ErrorCode, Lost> {
    history.check(code(api, error_code)).ok_or(Lost)
}

/// An error that the API must not answer here.
#[must_use]
pub fn unexpected(api: &str, code: ErrorCode) -> Violation {
    Violation::protocol(format!("{api} answered {}", code.name()))
}

//! Which failed starts are forgiven: those that faults explain and a later start gets over.

use broker::start::StartError;
use storage::{Error, wal::RecoverError};

use crate::invariants::Violation;
use common::invariant::InvariantId;

/// Judges why a broker did not start. Damage and contradictions never are forgiven: the simulator
/// does not corrupt what was synced.
///
/// # Errors
/// The violation.
pub fn judge(error: &StartError, tolerated: bool) -> Result<(), Violation> {
    let message = format!("the broker does not start: {error}");
    match error {
        StartError::Storage(Error::Recover(RecoverError::Damage(_) | RecoverError::Refused(_)))
        | StartError::Storage(Error::Inconsistent(_)) => {
            Err(Violation::new(InvariantId::Log5, message))
        }
        StartError::Storage(_) | StartError::Metadata(_) if tolerated => Ok(()),
        _ => Err(Violation::liveness(message)),
    }
}

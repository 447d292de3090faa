//! Heartbeat: a member says that it is there, and hears whether it is to join again.

use protocol::{ErrorCode, messages::heartbeat::HeartbeatRequest};

use super::{group::ClassicGroup, state::State, turn::Turn};

impl ClassicGroup {
    /// A member is heard of. One logarithmic step, whatever the size of the group.
    ///
    /// # Errors
    /// What the member is to be told: REBALANCE_IN_PROGRESS, or why it is none of this generation.
    pub(super) fn heartbeat(
        &self,
        turn: &mut Turn<'_, '_>,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => {
                self.hear_of(turn, &request.member_id);
                Err(ErrorCode::RebalanceInProgress)
            }
            State::CompletingRebalance | State::Stable => {
                self.hear_of(turn, &request.member_id);
                Ok(())
            }
        }
    }
}

//! LeaveGroup: members go, by their own wish or by an administrator's (KIP-345).

use protocol::{
    ErrorCode,
    messages::leave_group::{
        LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
    },
};
use tracing::info;

use super::{group::ClassicGroup, state::State, turn::Turn};

/// The first version with more than one member (KIP-345).
const BATCH_SINCE: i16 = 3;

/// Who is to leave: before v3 the one member that the request names.
pub(super) fn leaving(request: &LeaveGroupRequest, version: i16) -> Vec<MemberIdentity> {
    if version >= BATCH_SINCE {
        return request.members.clone();
    }
    vec![MemberIdentity { member_id: request.member_id.clone(), ..Default::default() }]
}

/// The answer in the form of its version: before v3 there is room for one error only.
pub(super) fn left(members: Vec<MemberResponse>, version: i16) -> LeaveGroupResponse {
    if version >= BATCH_SINCE {
        return LeaveGroupResponse { members, ..Default::default() };
    }
    let error_code = members.first().map_or(0, |member| member.error_code);
    LeaveGroupResponse { error_code, ..Default::default() }
}

/// What becomes of one of those who are to leave.
pub(super) fn response(member: &MemberIdentity, result: Result<(), ErrorCode>) -> MemberResponse {
    MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code: result.err().unwrap_or(ErrorCode::None).code(),
    }
}

impl ClassicGroup {
    /// Members leave; the others rebalance once, however many they are.
    pub(super) fn leave(
        &mut self,
        turn: &mut Turn<'_, '_>,
        leaving: &[MemberIdentity],
    ) -> Vec<MemberResponse> {
        let mut responses = Vec::with_capacity(leaving.len());
        for member in leaving {
            let result = self.leave_one(turn, member);
            responses.push(response(member, result));
        }
        let gone = responses.iter().filter(|response| response.error_code == 0).count();
        match self.state {
            State::Stable | State::CompletingRebalance if gone > 0 => {
                self.prepare_rebalance(turn, &format!("{gone} members left"));
            }
            State::PreparingRebalance if gone > 0 => self.complete_if_all_joined(turn),
            State::Empty
            | State::PreparingRebalance
            | State::Stable
            | State::CompletingRebalance => {}
        }
        responses
    }

    fn leave_one(
        &mut self,
        turn: &mut Turn<'_, '_>,
        member: &MemberIdentity,
    ) -> Result<(), ErrorCode> {
        let instance_id = member.group_instance_id.as_deref();
        let member_id = if member.member_id.is_empty() {
            // An administrator removes a static member by its instance id alone.
            let named = instance_id.and_then(|instance_id| self.member_of_instance(instance_id));
            named.ok_or(ErrorCode::UnknownMemberId)?.to_owned()
        } else {
            if !self.pending_joins.contains(&member.member_id) {
                self.validate_member(&member.member_id, instance_id)?;
            }
            member.member_id.clone()
        };
        let reason = member.reason.as_deref().unwrap_or("not provided");
        info!(group = %self.group_id, member_id, reason, "member leaves");
        self.dismiss(turn, &member_id, ErrorCode::UnknownMemberId);
        Ok(())
    }
}

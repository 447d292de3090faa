//! SyncGroup: the leader brings the assignment, everybody takes its part.
//!
//! Nobody is told an assignment before the record with it is durable: the group becomes stable when
//! that record is replayed.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::{
    ErrorCode,
    messages::sync_group::{SyncGroupRequest, SyncGroupResponse},
};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::{group::ClassicGroup, state::State, turn::Turn};

/// The first version that must name the protocol (KIP-559).
const PROTOCOL_NAMED_SINCE: i16 = 5;

/// Whether a request can be considered at all, whatever the group.
///
/// # Errors
/// INCONSISTENT_GROUP_PROTOCOL, INVALID_GROUP_ID.
pub fn validate(request: &SyncGroupRequest, version: i16) -> Result<(), ErrorCode> {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= PROTOCOL_NAMED_SINCE && !named {
        Err(ErrorCode::InconsistentGroupProtocol)
    } else if request.group_id.is_empty() {
        Err(ErrorCode::InvalidGroupId)
    } else {
        Ok(())
    }
}

impl ClassicGroup {
    /// A member asks for its assignment; the leader brings everybody's.
    pub(super) fn sync(
        &mut self,
        turn: &mut Turn<'_, '_>,
        request: &SyncGroupRequest,
        waiter: oneshot::Sender<SyncGroupResponse>,
    ) {
        if let Err(error) = self.validate_sync(request) {
            turn.refuse_sync(waiter, error);
            return;
        }
        let member_id = &request.member_id;
        match self.state {
            State::Empty => turn.refuse_sync(waiter, ErrorCode::UnknownMemberId),
            State::PreparingRebalance => {
                turn.refuse_sync(waiter, ErrorCode::RebalanceInProgress);
            }
            State::CompletingRebalance => {
                self.sync_received(turn, member_id);
                let parked = self.members.get_mut(member_id);
                if let Some(before) = parked.and_then(|member| member.park_sync(waiter)) {
                    turn.refuse_sync(before, ErrorCode::RebalanceInProgress);
                }
                if self.is_leader(member_id) {
                    self.assign(turn, request);
                }
            }
            State::Stable => {
                self.sync_received(turn, member_id);
                let own = self.members.get(member_id).map(|member| &member.details.assignment);
                let assignment = own.cloned().unwrap_or_default();
                turn.context.answer(waiter, self.synced(assignment));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        let differs = |said: &Option<String>, own: &Option<String>| said.is_some() && said != own;
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            Err(ErrorCode::IllegalGeneration)
        } else if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else {
            Ok(())
        }
    }

    fn sync_received(&mut self, turn: &mut Turn<'_, '_>, member_id: &str) {
        self.pending_syncs.remove(member_id);
        if self.pending_syncs.is_empty() {
            turn.context.cancel_timer(&self.sync_timer());
        }
    }

    /// Writes the leader's assignment and answers those who wait for it, once it is durable.
    fn assign(&mut self, turn: &mut Turn<'_, '_>, request: &SyncGroupRequest) {
        let parts = request.assignments.iter();
        let mut parts: BTreeMap<&str, Bytes> = parts
            .map(|part| (part.member_id.as_str(), Bytes::copy_from_slice(&part.assignment)))
            .collect();
        let (mut answered, mut forgotten) = (Vec::new(), Vec::new());
        for (member_id, member) in &mut self.members {
            member.details.assignment = parts.remove(member_id.as_str()).unwrap_or_default();
            if member.details.assignment.is_empty() {
                forgotten.push(member_id.clone());
            }
            if let Some(waiter) = member.take_sync() {
                answered.push((member_id.clone(), waiter, member.details.assignment.clone()));
            }
        }
        let record = self.record();
        if !turn.context.fits(std::slice::from_ref(&record)) {
            self.refuse_assignment(turn, answered);
            return;
        }
        debug!(group = %self.group_id, generation = self.generation_id, "assignment received");
        if !forgotten.is_empty() {
            warn!(group = %self.group_id, members = ?forgotten, "no assignment for some members");
        }
        turn.records.push(record);
        for (member_id, waiter, assignment) in answered {
            turn.context.answer(waiter, self.synced(assignment));
            // While it waited, its silence was excused; from now on it is not.
            self.hear_of(turn, &member_id);
        }
    }

    /// The log cannot hold the assignment: whoever waits for it is told so, and the group begins anew,
    /// as in Kafka. It may go on like that until the members ask for less.
    fn refuse_assignment(
        &mut self,
        turn: &mut Turn<'_, '_>,
        waiting: Vec<(String, oneshot::Sender<SyncGroupResponse>, Bytes)>,
    ) {
        warn!(group = %self.group_id, generation = self.generation_id, "the assignment is too large");
        for (member_id, waiter, _) in waiting {
            turn.refuse_sync(waiter, ErrorCode::UnknownServerError);
            self.hear_of(turn, &member_id);
        }
        // Assignments that are not in the log are forgotten with it.
        self.prepare_rebalance(turn, "the assignment is too large for the log");
    }

    fn synced(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
            ..Default::default()
        }
    }
}

//! JoinGroup: how a member comes into a group, and comes back for each rebalance.
//!
//! Since v4 a dynamic member first gets an id (MEMBER_ID_REQUIRED) and is *pending* until it comes
//! back with it, so that clients that retry do not leave members behind that nobody knows. Whoever
//! joins then waits for the others, unless there is nothing to wait for.

use std::time::Duration;

use bytes::Bytes;
use protocol::{
    ErrorCode,
    messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember},
};
use tokio::sync::oneshot;
use tracing::{debug, info};

use super::{
    group::ClassicGroup,
    member::{Member, MemberDetails, millis},
    protocols::{self, Protocol},
    state::State,
    turn::Turn,
};
use crate::group::GroupConfig;

/// How long a member that has never finished a join may wait in one. It has no session yet: it does
/// not know its id. A client that is still there asks again.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The first version whose dynamic members ask for an id before they join (KIP-394).
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
/// A member id begins with its client's or its instance's id, and must fit a string of the wire.
const MEMBER_ID_PREFIX_BYTES_MAX: usize = 32_000;
/// The first version that can be told not to run the assignor (KIP-814).
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

/// A JoinGroup and who sent it.
#[derive(Debug)]
pub struct Join {
    /// The request.
    pub request: JoinGroupRequest,
    /// Its version.
    pub version: i16,
    /// `client.id` of its sender.
    pub client_id: String,
    /// The sender's address as Kafka writes it: a slash and the address.
    pub client_host: String,
    /// Where the answer goes.
    pub waiter: oneshot::Sender<JoinGroupResponse>,
}

/// Whether a request can be considered at all, whatever the group.
///
/// # Errors
/// INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT.
pub fn validate(request: &JoinGroupRequest, config: &GroupConfig) -> Result<(), ErrorCode> {
    let (min, max) = (config.classic_session_timeout_ms_min, config.classic_session_timeout_ms_max);
    if request.group_id.is_empty() {
        Err(ErrorCode::InvalidGroupId)
    } else if !(min..=max).contains(&request.session_timeout_ms) {
        Err(ErrorCode::InvalidSessionTimeout)
    } else {
        Ok(())
    }
}

impl Join {
    /// Version 0 has no rebalance timeout: it is the session timeout.
    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        if self.version == 0 {
            self.request.session_timeout_ms
        } else {
            self.request.rebalance_timeout_ms
        }
    }

    fn reason(&self) -> &str {
        self.request.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("not provided")
    }

    fn protocols(&self) -> Vec<Protocol> {
        protocols::from_request(&self.request.protocols)
    }

    /// Whether this says what the member said before, in the same order.
    fn repeats(&self, details: &MemberDetails) -> bool {
        let said = self.request.protocols.iter().map(|own| (&own.name, &own.metadata));
        said.eq(details.protocols.iter().map(|own| (&own.name, &own.metadata)))
    }
}

impl ClassicGroup {
    /// A member, or somebody who wants to be one, joins.
    pub(super) fn join(&mut self, turn: &mut Turn<'_, '_>, join: Join) {
        let member_id = join.request.member_id.clone();
        let supported = join.request.protocols.iter().map(|own| own.name.as_str());
        if !self.has_room_for(&member_id, turn.config.classic_group_size_max) {
            self.dismiss(turn, &member_id, ErrorCode::GroupMaxSizeReached);
            turn.refuse_join(join.waiter, "", ErrorCode::GroupMaxSizeReached);
            // The others may have waited for the one who was sent away.
            self.complete_if_all_joined(turn);
        } else if !self.supports(&join.request.protocol_type, supported) {
            turn.refuse_join(join.waiter, &member_id, ErrorCode::InconsistentGroupProtocol);
        } else if member_id.is_empty() {
            self.join_unknown(turn, join);
        } else if self.pending_joins.contains(&member_id) {
            self.join_pending(turn, join, &member_id);
        } else {
            self.rejoin(turn, join, &member_id);
        }
    }

    /// Whether the group has room. While members gather, those who are there already count, so that
    /// a group that was too large loses the last to come; later all count.
    fn has_room_for(&self, member_id: &str, max_size: usize) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                let waits = self.members.get(member_id).is_some_and(Member::is_joining);
                waits || self.joining() < max_size
            }
            State::CompletingRebalance | State::Stable => {
                self.has_member(member_id) || self.member_count() < max_size
            }
        }
    }

    fn join_unknown(&mut self, turn: &mut Turn<'_, '_>, join: Join) {
        let prefix = join.request.group_instance_id.as_ref().unwrap_or(&join.client_id);
        if prefix.len() > MEMBER_ID_PREFIX_BYTES_MAX {
            turn.refuse_join(join.waiter, "", ErrorCode::InvalidRequest);
            return;
        }
        let member_id = format!("{prefix}-{}", turn.context.rng.uuid());
        match &join.request.group_instance_id {
            Some(instance_id) => match self.member_of_instance(instance_id).map(str::to_owned) {
                Some(old_id) => self.replace_static(turn, join, &old_id, &member_id),
                None => self.add_and_rebalance(turn, join, &member_id),
            },
            None if join.version >= MEMBER_ID_REQUIRED_SINCE => {
                debug!(group = %self.group_id, member_id, "member is to come back with its id");
                let timeout = millis(join.request.session_timeout_ms);
                turn.start_session(&self.group_id, &member_id, timeout);
                turn.refuse_join(join.waiter, &member_id, ErrorCode::MemberIdRequired);
                self.pending_joins.insert(member_id);
            }
            None => self.add_and_rebalance(turn, join, &member_id),
        }
    }

    /// A pending member comes back. It is dynamic: static ones are never pending.
    fn join_pending(&mut self, turn: &mut Turn<'_, '_>, join: Join, member_id: &str) {
        if join.request.group_instance_id.is_some() {
            turn.refuse_join(join.waiter, member_id, ErrorCode::UnknownMemberId);
        } else {
            self.add_and_rebalance(turn, join, member_id);
        }
    }

    fn add_and_rebalance(&mut self, turn: &mut Turn<'_, '_>, join: Join, member_id: &str) {
        let details = MemberDetails {
            instance_id: join.request.group_instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: join.rebalance_timeout_ms(),
            session_timeout_ms: join.request.session_timeout_ms,
            protocols: join.protocols(),
            assignment: Bytes::new(),
        };
        let reason = format!("member {member_id} joins: {}", join.reason());
        if let Some(initial) = &mut self.initial_join {
            initial.member_added = true;
        }
        self.add(member_id, details, &join.request.protocol_type);
        if let Some(member) = self.members.get_mut(member_id) {
            member.new = true;
        }
        self.park_join(member_id, join.waiter);
        turn.start_session(&self.group_id, member_id, NEW_MEMBER_JOIN_TIMEOUT);
        self.rebalance_or_complete(turn, &reason);
    }

    /// A member with an id joins again, or for the first time since a reload.
    fn rejoin(&mut self, turn: &mut Turn<'_, '_>, join: Join, member_id: &str) {
        let instance_id = join.request.group_instance_id.as_deref();
        if let Err(error) = self.validate_member(member_id, instance_id) {
            turn.refuse_join(join.waiter, member_id, error);
            return;
        }
        let Some(member) = self.members.get(member_id) else { return };
        let same = join.repeats(&member.details);
        match self.state {
            // The answer to its first join may have been lost.
            State::CompletingRebalance if same => {
                turn.context.answer(join.waiter, self.joined(member_id));
            }
            // A leader that joins again wants another assignment, whatever it has seen; a follower
            // with nothing new only wants to sync.
            State::Stable if same && !self.is_leader(member_id) => {
                turn.context.answer(join.waiter, self.joined(member_id));
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let reason = format!("member {member_id} joins again: {}", join.reason());
                self.update_from(member_id, &join);
                self.wait_for_others(turn, member_id, join.waiter);
                self.rebalance_or_complete(turn, &reason);
            }
            State::Empty => {
                turn.refuse_join(join.waiter, member_id, ErrorCode::UnknownMemberId);
            }
        }
    }

    fn update_from(&mut self, member_id: &str, join: &Join) {
        let (rebalance, session) = (join.rebalance_timeout_ms(), join.request.session_timeout_ms);
        self.update(member_id, join.protocols(), rebalance, session);
    }

    /// Lets a join wait. If the same member waits already, its client has given that up.
    fn wait_for_others(
        &mut self,
        turn: &mut Turn<'_, '_>,
        member_id: &str,
        waiter: oneshot::Sender<JoinGroupResponse>,
    ) {
        if let Some(before) = self.park_join(member_id, waiter) {
            turn.refuse_join(before, member_id, ErrorCode::RebalanceInProgress);
        }
    }

    /// A static member comes back without its id: it was restarted. It gets a new id, and whoever
    /// uses the old one is fenced. Where the group is stable and keeps its protocol, that is all.
    fn replace_static(&mut self, turn: &mut Turn<'_, '_>, join: Join, old_id: &str, new_id: &str) {
        let Some(instance_id) = join.request.group_instance_id.clone() else { return };
        info!(group = %self.group_id, instance_id, old_id, new_id, "static member is replaced");
        let old_leader = self.leader.clone();
        turn.end_session(&self.group_id, old_id);
        if let Some(old) = self.replace(&instance_id, old_id, new_id) {
            turn.dismiss(old, old_id, ErrorCode::FencedInstanceId);
        }
        self.update_from(new_id, &join);
        self.hear_of(turn, new_id);
        let keeps_protocol = self.select_protocol() == self.protocol_name;
        if self.state == State::Stable && keeps_protocol {
            let record = self.record();
            // What it says now may be too much for the log; then the others have to be asked, too.
            if turn.context.fits(std::slice::from_ref(&record)) {
                let response = self.replaced(new_id, old_leader, join.version);
                turn.context.answer(join.waiter, response);
                turn.records.push(record);
                return;
            }
        }
        let reason = format!("static member {instance_id} joins: {}", join.reason());
        self.wait_for_others(turn, new_id, join.waiter);
        // A leader that was told of the old id would assign nothing to the new one, so a rebalance
        // that waits for the assignment begins again.
        self.rebalance_or_complete(turn, &reason);
    }

    /// The answer to a static member that takes its place in a stable group. A leader must not
    /// assign: nobody would be told. Older clients are kept from it by the id of the old leader.
    fn replaced(
        &self,
        member_id: &str,
        old_leader: Option<String>,
        version: i16,
    ) -> JoinGroupResponse {
        let joined = self.joined(member_id);
        if version >= SKIP_ASSIGNMENT_SINCE {
            JoinGroupResponse { skip_assignment: self.is_leader(member_id), ..joined }
        } else {
            let leader = old_leader.unwrap_or_default();
            JoinGroupResponse { leader, members: Vec::new(), ..joined }
        }
    }

    /// All members, for the leader.
    pub(super) fn roster(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol_name().unwrap_or_default();
        let members = self.members.iter().map(|(member_id, member)| JoinGroupResponseMember {
            member_id: member_id.clone(),
            group_instance_id: member.details.instance_id.clone(),
            metadata: member.details.metadata(protocol).cloned().unwrap_or_default(),
        });
        members.collect()
    }
}

//! A classic group: its members, and the books that the rules in the neighbouring files keep.
//!
//! Hard is what the group's last record says: generation, protocol, leader, members and their
//! assignments. All else (who waits, who has yet to join or sync, a generation without an
//! assignment) is soft: after a reload the group stands where its last record left it, and its
//! members find out by their next request.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use protocol::{
    ErrorCode,
    messages::{join_group::JoinGroupResponse, sync_group::SyncGroupResponse},
};
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    member::{Member, MemberDetails, millis},
    protocols::{Protocol, Support},
    state::State,
    subscription::{self, CONSUMER_PROTOCOL_TYPE},
};

/// A group's first rebalance waits for more members to come, a while longer for each new one, up to
/// the rebalance timeout.
#[derive(Debug, Clone, Copy)]
pub(super) struct InitialJoin {
    /// The wait that runs now.
    pub(super) delay: Duration,
    /// How much longer it may be extended after that.
    pub(super) remaining: Duration,
    /// Whether a member was added during this wait.
    pub(super) member_added: bool,
}

/// A classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    pub(super) group_id: String,
    pub(super) state: State,
    /// When it came to this state, Unix milliseconds; unknown in old records.
    pub(super) state_timestamp_ms: Option<i64>,
    pub(super) generation_id: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol_name: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Group instance id to member id.
    static_members: BTreeMap<String, String>,
    /// Members that were given an id and have not come back with it.
    pub(super) pending_joins: BTreeSet<String>,
    /// Members that know the generation and have not asked for their assignment.
    pub(super) pending_syncs: BTreeSet<String>,
    /// How many members have a join waiting.
    joining: usize,
    support: Support,
    /// What its members subscribe to, where that is known.
    pub(super) subscribed_topics: Option<BTreeSet<String>>,
    /// Set while the first rebalance of an empty group waits for members.
    pub(super) initial_join: Option<InitialJoin>,
}

impl ClassicGroup {
    /// An empty group without a protocol type, of a client that only commits offsets.
    #[must_use]
    pub fn simple(group_id: &str) -> Self {
        Self {
            group_id: group_id.to_owned(),
            state: State::Empty,
            state_timestamp_ms: None,
            generation_id: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            joining: 0,
            support: Support::default(),
            subscribed_topics: None,
            initial_join: None,
        }
    }

    /// A group that is about to get its first member.
    #[must_use]
    pub fn new(group_id: &str, now_ms: i64) -> Self {
        Self { state_timestamp_ms: Some(now_ms), ..Self::simple(group_id) }
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Its generation.
    #[must_use]
    pub const fn generation_id(&self) -> i32 {
        self.generation_id
    }

    /// What kind of members it has, such as `consumer`; empty where it never had any.
    #[must_use]
    pub fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    /// The protocol that its generation uses.
    #[must_use]
    pub fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    /// Its members by id.
    pub fn members(&self) -> impl Iterator<Item = (&str, &MemberDetails)> {
        self.members.iter().map(|(id, member)| (id.as_str(), &member.details))
    }

    /// How many members it has.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether there is such a member.
    #[must_use]
    pub fn has_member(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id)
    }

    /// Whether it is in state Empty: such a group may be deleted or become a consumer group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether it only holds offsets: nobody ever joined it.
    #[must_use]
    pub fn is_simple(&self) -> bool {
        self.protocol_type.is_none() && self.is_empty() && self.pending_joins.is_empty()
    }

    /// Whether its members are consumers, by their protocol type.
    #[must_use]
    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type() == CONSUMER_PROTOCOL_TYPE
    }

    /// Whether nothing has come of it yet: no member, and none on the way.
    pub(super) fn is_untouched(&self) -> bool {
        self.members.is_empty() && self.pending_joins.is_empty()
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn member_of_instance(&self, instance_id: &str) -> Option<&str> {
        self.static_members.get(instance_id).map(String::as_str)
    }

    /// The longest that any member lets a rebalance wait for it.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.details.rebalance_timeout_ms);
        millis(timeouts.max().unwrap_or(0))
    }

    /// How many members have a join waiting.
    pub(super) const fn joining(&self) -> usize {
        self.joining
    }

    /// Whether the rebalance has nobody left to wait for.
    pub(super) fn all_joined(&self) -> bool {
        self.joining == self.members.len() && self.pending_joins.is_empty()
    }

    /// Whether a member with these protocols fits in: the type is the group's, and at least one
    /// protocol is one that all members support.
    pub(super) fn supports<'a>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'a str>,
    ) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && protocols.next().is_some();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.any(|name| self.support.by_all(name))
    }

    /// Whether this is a member, and the one that its instance id belongs to.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, or FENCED_INSTANCE_ID where another member has taken the instance over.
    pub fn validate_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.member_of_instance(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if current != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.has_member(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Adds a member. The first one decides the group's protocol type; the first one without a
    /// leader leads.
    pub(super) fn add(&mut self, member_id: &str, details: MemberDetails, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        if let Some(instance_id) = &details.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.to_owned());
        }
        self.support.add(&details.protocols);
        self.leader.get_or_insert_with(|| member_id.to_owned());
        self.pending_joins.remove(member_id);
        self.members.insert(member_id.to_owned(), Member::new(details));
    }

    /// Removes a member or a pending one; returns the member, and with it the requests that wait.
    /// A leader is followed by the first of the others.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        self.pending_joins.remove(member_id);
        self.pending_syncs.remove(member_id);
        let member = self.members.remove(member_id)?;
        self.support.remove(&member.details.protocols);
        self.joining -= usize::from(member.is_joining());
        if let Some(instance_id) = &member.details.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member a new id and keeps the rest, leadership included; returns the member
    /// that it was, for the sake of the requests that wait.
    pub(super) fn replace(
        &mut self,
        instance_id: &str,
        old_id: &str,
        new_id: &str,
    ) -> Option<Member> {
        let old = self.members.remove(old_id)?;
        let member = Member::new(old.details.clone());
        self.joining -= usize::from(old.is_joining());
        if self.is_leader(old_id) {
            self.leader = Some(new_id.to_owned());
        }
        if self.pending_syncs.remove(old_id) {
            self.pending_syncs.insert(new_id.to_owned());
        }
        self.static_members.insert(instance_id.to_owned(), new_id.to_owned());
        self.members.insert(new_id.to_owned(), member);
        Some(old)
    }

    /// What a member says of itself when it joins again.
    pub(super) fn update(
        &mut self,
        member_id: &str,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
    ) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        self.support.remove(&member.details.protocols);
        self.support.add(&protocols);
        member.details.protocols = protocols;
        member.details.rebalance_timeout_ms = rebalance_timeout_ms;
        member.details.session_timeout_ms = session_timeout_ms;
    }

    /// Lets a member's join wait; returns one of the same member that waited before.
    pub(super) fn park_join(
        &mut self,
        member_id: &str,
        waiter: oneshot::Sender<JoinGroupResponse>,
    ) -> Option<oneshot::Sender<JoinGroupResponse>> {
        let before = self.members.get_mut(member_id)?.park_join(waiter);
        self.joining += usize::from(before.is_none());
        before
    }

    /// Takes a member's waiting join.
    pub(super) fn take_join(
        &mut self,
        member_id: &str,
    ) -> Option<oneshot::Sender<JoinGroupResponse>> {
        let waiter = self.members.get_mut(member_id)?.take_join()?;
        self.joining -= 1;
        Some(waiter)
    }

    /// Takes every waiting request, in the order of members.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiters> {
        self.joining = 0;
        let waiters = self.members.iter_mut().map(|(id, member)| Waiters {
            member_id: id.clone(),
            joining: member.take_join(),
            syncing: member.take_sync(),
        });
        waiters.collect()
    }

    /// The protocol that the next generation would use.
    pub(super) fn select_protocol(&self) -> Option<String> {
        self.support.select(self.members.values().map(|member| member.details.protocols.as_slice()))
    }

    /// Goes to another state at a moment.
    pub(super) fn enter(&mut self, state: State, now_ms: i64) {
        self.state = state;
        self.state_timestamp_ms = Some(now_ms);
    }

    /// What the members subscribe to, where they are consumers and say so in a form that can be
    /// read.
    pub(super) fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        for (member_id, member) in &self.members {
            let metadata = member.details.metadata(protocol)?;
            match subscription::topics(metadata) {
                Ok(of_member) => topics.extend(of_member),
                Err(error) => {
                    warn!(group = %self.group_id, %member_id, %error, "unreadable subscription");
                    return None;
                }
            }
        }
        Some(topics)
    }
}

/// The requests of one member that wait.
#[derive(Debug)]
pub(super) struct Waiters {
    pub(super) member_id: String,
    pub(super) joining: Option<oneshot::Sender<JoinGroupResponse>>,
    pub(super) syncing: Option<oneshot::Sender<SyncGroupResponse>>,
}

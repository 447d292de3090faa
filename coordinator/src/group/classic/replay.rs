//! What GroupMetadata records say, and what they do to a group.
//!
//! A record describes a group at rest: empty, or stable with its members and their assignments. At
//! load that is all there is. In live use the group is there already, with requests that wait: the
//! record of an assignment makes it stable, the others say what the operation that wrote them has
//! brought about.

use std::collections::BTreeMap;

use protocol::coordinator_records::group_metadata::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata,
};

use super::{group::ClassicGroup, member::MemberDetails, protocols::Protocol, state::State};
use crate::{
    group::{Group, GroupRecord, GroupShard},
    shard::Replayed,
};

/// Where a record does not say something: a timestamp or a rebalance timeout of an old release.
const UNSAID: i64 = -1;

impl GroupShard {
    pub(crate) fn replay_group_metadata(
        &mut self,
        _at: Replayed,
        key: GroupMetadataKey,
        value: Option<GroupMetadataValue>,
    ) {
        let present = self.groups.get_mut(&key.group);
        match (value, present) {
            (None, Some(Group::Classic(_))) => {
                self.groups.remove(&key.group);
            }
            // The tombstone of a classic group that has become one of KIP-848 since.
            (None, _) => {}
            (Some(value), Some(Group::Classic(group))) => group.replay(value),
            (Some(value), _) => {
                let mut group = ClassicGroup::simple(&key.group);
                group.replay(value);
                self.groups.insert(key.group, Group::Classic(group));
            }
        }
    }
}

impl ClassicGroup {
    /// Becomes what the record says, unless the group is beyond it: a rebalance that is being
    /// prepared began after the state that the record describes, if in the same operation.
    pub(super) fn replay(&mut self, value: GroupMetadataValue) {
        if self.state == State::PreparingRebalance {
            return;
        }
        let protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
        self.keep_only(&value.members);
        for member in value.members {
            self.replay_member(member, protocol_type.as_deref(), value.protocol.as_deref());
        }
        self.generation_id = value.generation;
        self.protocol_type = protocol_type;
        self.protocol_name = value.protocol;
        self.leader = value.leader.filter(|leader| self.has_member(leader)).or(self.leader.take());
        self.state = if self.members.is_empty() { State::Empty } else { State::Stable };
        self.state_timestamp_ms =
            Some(value.current_state_timestamp).filter(|timestamp| *timestamp != UNSAID);
        self.subscribed_topics = self.read_subscriptions();
    }

    fn keep_only(&mut self, members: &[MemberMetadata]) {
        let named: BTreeMap<&str, ()> =
            members.iter().map(|member| (member.member_id.as_str(), ())).collect();
        let gone: Vec<String> =
            self.members.keys().filter(|id| !named.contains_key(id.as_str())).cloned().collect();
        for member_id in gone {
            self.remove(&member_id);
        }
    }

    fn replay_member(
        &mut self,
        member: MemberMetadata,
        protocol_type: Option<&str>,
        protocol: Option<&str>,
    ) {
        let member_id = member.member_id;
        let rebalance_timeout_ms = match member.rebalance_timeout {
            -1 => member.session_timeout,
            timeout => timeout,
        };
        let said = protocol
            .map(|name| Protocol { name: name.to_owned(), metadata: member.subscription })
            .into_iter()
            .collect();
        let Some(present) = self.members.get_mut(&member_id) else {
            let details = MemberDetails {
                instance_id: member.group_instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout,
                protocols: said,
                assignment: member.assignment,
            };
            self.add(&member_id, details, protocol_type.unwrap_or_default());
            return;
        };
        present.details.assignment = member.assignment;
        // A member that is at work supports more than the one protocol that a record has room for.
        let known = said.iter().all(|own: &Protocol| {
            present.details.metadata(&own.name).is_some_and(|metadata| *metadata == own.metadata)
        });
        let protocols = if known { present.details.protocols.clone() } else { said };
        self.update(&member_id, protocols, rebalance_timeout_ms, member.session_timeout);
    }

    /// The group as it is, for the log.
    #[must_use]
    pub fn record(&self) -> GroupRecord {
        let protocol = self.protocol_name().unwrap_or_default();
        let members = self.members.iter().map(|(member_id, member)| {
            let details = &member.details;
            MemberMetadata {
                member_id: member_id.clone(),
                group_instance_id: details.instance_id.clone(),
                client_id: details.client_id.clone(),
                client_host: details.client_host.clone(),
                rebalance_timeout: details.rebalance_timeout_ms,
                session_timeout: details.session_timeout_ms,
                subscription: details.metadata(protocol).cloned().unwrap_or_default(),
                assignment: details.assignment.clone(),
            }
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type().to_owned(),
            generation: self.generation_id,
            protocol: self.protocol_name.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_timestamp_ms.unwrap_or(UNSAID),
            members: members.collect(),
        };
        GroupRecord::GroupMetadata(self.key(), Some(value))
    }

    /// The record that deletes the group.
    #[must_use]
    pub fn tombstone(&self) -> GroupRecord {
        GroupRecord::GroupMetadata(self.key(), None)
    }

    fn key(&self) -> GroupMetadataKey {
        GroupMetadataKey { group: self.group_id.clone() }
    }
}

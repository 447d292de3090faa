//! A classic group made of a consumer group that was downgraded.

use bytes::Bytes;

use super::{
    group::ClassicGroup, member::MemberDetails, state::State, subscription::CONSUMER_PROTOCOL_TYPE,
};

impl ClassicGroup {
    /// A stable group of consumers with these members, in this generation. What they are assigned
    /// depends on the protocol that it settles on, and is yet to be said.
    pub(crate) fn stable(
        group_id: &str,
        generation_id: i32,
        members: Vec<(String, MemberDetails)>,
        now_ms: i64,
    ) -> Self {
        let mut group = Self::new(group_id, now_ms);
        for (member_id, details) in members {
            group.add(&member_id, details, CONSUMER_PROTOCOL_TYPE);
        }
        group.generation_id = generation_id;
        group.protocol_name = group.select_protocol();
        group.subscribed_topics = group.read_subscriptions();
        group.enter(State::Stable, now_ms);
        group
    }

    /// Gives a member its assignment.
    pub(crate) fn set_assignment(&mut self, member_id: &str, assignment: Bytes) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.details.assignment = assignment;
        }
    }

    /// Its id.
    pub(crate) fn group_id(&self) -> &str {
        &self.group_id
    }
}

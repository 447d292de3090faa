//! A classic group as DescribeGroups and ListGroups show it.

use protocol::messages::describe_groups::{DescribedGroup, DescribedGroupMember};

use super::{group::ClassicGroup, state::State};

impl ClassicGroup {
    /// The name of its state.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        self.state().name()
    }

    /// The group for DescribeGroups, but for what its reader may do with it. Protocol and metadata
    /// are shown while the group is stable: before that they may not be settled.
    #[must_use]
    pub fn describe(&self) -> DescribedGroup {
        let stable = self.state() == State::Stable;
        let protocol = self.protocol_name().filter(|_| stable);
        let members = self.members().map(|(member_id, details)| DescribedGroupMember {
            member_id: member_id.to_owned(),
            group_instance_id: details.instance_id.clone(),
            client_id: details.client_id.clone(),
            client_host: details.client_host.clone(),
            member_metadata: protocol
                .and_then(|protocol| details.metadata(protocol))
                .cloned()
                .unwrap_or_default(),
            member_assignment: details.assignment.clone(),
        });
        DescribedGroup {
            group_id: self.group_id.clone(),
            group_state: self.state_name().to_owned(),
            protocol_type: self.protocol_type().to_owned(),
            protocol_data: protocol.unwrap_or_default().to_owned(),
            members: members.collect(),
            ..Default::default()
        }
    }
}

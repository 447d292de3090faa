//! ListGroups and DescribeGroups.

use std::collections::BTreeMap;

use protocol::{
    ErrorCode,
    messages::{
        describe_groups::DescribedGroup,
        list_groups::{ListGroupsRequest, ListedGroup},
    },
};

use super::{Group, GroupShard};

/// The first version of DescribeGroups that says that a group does not exist.
const UNKNOWN_GROUPS_SINCE: i16 = 6;

impl GroupShard {
    /// The groups in these states and of these types, in order of their ids.
    #[must_use]
    pub fn list_groups(&self, request: &ListGroupsRequest) -> Vec<ListedGroup> {
        let ListGroupsRequest { states_filter, types_filter } = request;
        let in_states = |group: &Group| {
            let name = group.state_name();
            states_filter.is_empty()
                || states_filter.iter().any(|state| state.trim().eq_ignore_ascii_case(name))
        };
        let of_types = |group: &Group| {
            let name = group.type_name();
            types_filter.is_empty() || types_filter.iter().any(|t| t.eq_ignore_ascii_case(name))
        };
        self.groups
            .iter()
            .filter(|(_, group)| in_states(group) && of_types(group))
            .map(|(group_id, group)| ListedGroup {
                group_id: group_id.clone(),
                protocol_type: group.protocol_type().to_owned(),
                group_state: group.state_name().to_owned(),
                group_type: group.type_name().to_owned(),
            })
            .collect()
    }

    /// Adds the shard's groups to counts by type and state.
    pub fn count_groups(&self, counts: &mut BTreeMap<(&'static str, &'static str), u64>) {
        for group in self.groups.values() {
            *counts.entry((group.type_name(), group.state_name())).or_default() += 1;
        }
    }

    /// How many offsets are committed in the shard.
    #[must_use]
    pub fn offset_count(&self) -> usize {
        self.offsets.count()
    }

    /// A classic group as DescribeGroups shows it; any other is as good as unknown.
    #[must_use]
    pub fn describe_group(&self, group_id: &str, api_version: i16) -> DescribedGroup {
        let why = match self.group(group_id) {
            Some(Group::Classic(group)) => return group.describe(),
            Some(Group::Consumer(_)) => format!("Group {group_id} is not a classic group."),
            None => format!("Group {group_id} not found."),
        };
        let dead = DescribedGroup {
            group_id: group_id.to_owned(),
            group_state: "Dead".to_owned(),
            ..DescribedGroup::default()
        };
        if api_version < UNKNOWN_GROUPS_SINCE {
            return dead;
        }
        let error_code = ErrorCode::GroupIdNotFound.code();
        DescribedGroup { error_code, error_message: Some(why), ..dead }
    }
}

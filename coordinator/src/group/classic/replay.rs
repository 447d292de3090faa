//! Hard state of classic groups: what their records do.

use protocol::coordinator_records::group_metadata::{GroupMetadataKey, GroupMetadataValue};

use super::ClassicGroup;
use crate::{
    group::{Group, GroupShard},
    shard::Replayed,
};

impl GroupShard {
    pub(crate) fn replay_group_metadata(
        &mut self,
        _at: Replayed,
        key: GroupMetadataKey,
        value: Option<GroupMetadataValue>,
    ) {
        let Some(value) = value else {
            self.groups.remove(&key.group);
            return;
        };
        let group = ClassicGroup {
            protocol_type: Some(value.protocol_type).filter(|name| !name.is_empty()),
            state_timestamp_ms: Some(value.current_state_timestamp).filter(|time| *time >= 0),
        };
        self.groups.insert(key.group, Group::Classic(group));
    }
}

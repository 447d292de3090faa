//! The keys of a group: those of Kafka 4.3's consumer groups. Share and streams groups are not built.

use super::{ConfigKey, ConfigType, Effect, UpdateMode, Validator, keys, same};

use Validator::AtLeast;

#[rustfmt::skip]
pub(super) const KEYS: &[ConfigKey] = keys! {
    "consumer.assignment.interval.ms" Int = Some("1000"), AtLeast(0), ClusterWide, Acts, [same("group.consumer.assignment.interval.ms")]:
        "Least time between two assignments of the group (KIP-1263).";
    "consumer.heartbeat.interval.ms" Int = Some("5000"), AtLeast(1), ClusterWide, Acts, [same("group.consumer.heartbeat.interval.ms")]:
        "Heartbeat interval told to members of the group (KIP-848).";
    "consumer.session.timeout.ms" Int = Some("45000"), AtLeast(1), ClusterWide, Acts, [same("group.consumer.session.timeout.ms")]:
        "How long a member of the group may be silent (KIP-848).";
};

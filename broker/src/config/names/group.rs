//! The keys of a group: those of Kafka 4.3's consumer groups, and of its streams groups, which are not
//! built: an application may set them before it chooses a protocol. Share groups have none.

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
    "streams.assignment.interval.ms" Int = Some("1000"), AtLeast(0), ClusterWide, Inert:
        "Least time between two assignments of a streams group (KIP-1263).";
    "streams.heartbeat.interval.ms" Int = Some("5000"), AtLeast(1), ClusterWide, Inert:
        "Heartbeat interval told to members of a streams group (KIP-1071).";
    "streams.initial.rebalance.delay.ms" Int = Some("3000"), AtLeast(0), ClusterWide, Inert:
        "How long a new streams group waits for further members (KIP-1071).";
    "streams.num.standby.replicas" Int = Some("0"), AtLeast(0), ClusterWide, Inert:
        "Standby replicas of each task of a streams group (KIP-1071).";
    "streams.session.timeout.ms" Int = Some("45000"), AtLeast(1), ClusterWide, Inert:
        "How long a member of a streams group may be silent (KIP-1071).";
};

//! The broker's configuration of groups, under Kafka's names and with Kafka's defaults.
//!
//! Accepted by the broker but of no effect here, and so not in this struct: what concerns Kafka's own
//! threads, buffers and replicas, and share and streams groups.

use std::time::Duration;

/// Which conversions between the two protocols are allowed while members are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Both.
    Bidirectional,
    /// Classic groups become consumer groups.
    Upgrade,
    /// Consumer groups become classic groups.
    Downgrade,
    /// None.
    Disabled,
}

impl MigrationPolicy {
    /// Reads Kafka's name of it, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "bidirectional" => Some(Self::Bidirectional),
            "upgrade" => Some(Self::Upgrade),
            "downgrade" => Some(Self::Downgrade),
            "disabled" => Some(Self::Disabled),
            _ => None,
        }
    }

    /// Whether a classic group may become a consumer group.
    #[must_use]
    pub fn allows_upgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    /// Whether a consumer group may become a classic group.
    #[must_use]
    pub fn allows_downgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

/// The configuration of all groups of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// `group.min.session.timeout.ms`.
    pub classic_session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub classic_session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub classic_initial_rebalance_delay: Duration,
    /// `group.max.size`.
    pub classic_group_size_max: usize,
    /// `group.consumer.session.timeout.ms`.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.min.session.timeout.ms`.
    pub consumer_session_timeout_ms_min: i32,
    /// `group.consumer.max.session.timeout.ms`.
    pub consumer_session_timeout_ms_max: i32,
    /// `group.consumer.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms_min: i32,
    /// `group.consumer.max.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms_max: i32,
    /// `group.consumer.max.size`.
    pub consumer_group_size_max: usize,
    /// `group.consumer.assignors`, the default one first.
    pub consumer_assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub consumer_migration_policy: MigrationPolicy,
    /// `group.consumer.assignment.interval.ms`.
    pub consumer_assignment_interval_ms: i32,
    /// `group.consumer.min.assignment.interval.ms`.
    pub consumer_assignment_interval_ms_min: i32,
    /// `group.consumer.max.assignment.interval.ms`.
    pub consumer_assignment_interval_ms_max: i32,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub consumer_regex_refresh_interval: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            offset_metadata_bytes_max: 4_096,
            offsets_retention: Duration::from_hours(7 * 24),
            offsets_retention_check_interval: Duration::from_mins(10),
            classic_session_timeout_ms_min: 6_000,
            classic_session_timeout_ms_max: 1_800_000,
            classic_initial_rebalance_delay: Duration::from_secs(3),
            classic_group_size_max: 2_147_483_647,
            consumer_session_timeout_ms: 45_000,
            consumer_session_timeout_ms_min: 45_000,
            consumer_session_timeout_ms_max: 60_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_heartbeat_interval_ms_min: 5_000,
            consumer_heartbeat_interval_ms_max: 15_000,
            consumer_group_size_max: 2_147_483_647,
            consumer_assignors: vec!["uniform".to_owned(), "range".to_owned()],
            consumer_migration_policy: MigrationPolicy::Bidirectional,
            consumer_assignment_interval_ms: 1_000,
            consumer_assignment_interval_ms_min: 0,
            consumer_assignment_interval_ms_max: 15_000,
            consumer_regex_refresh_interval: Duration::from_mins(10),
        }
    }
}

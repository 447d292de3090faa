//! The settings of one consumer group: the broker's, and the group's own over them.

use crate::group::{GroupConfig, assignor::Assignor};

/// What a group's dynamic configuration sets (resource type GROUP); the rest is the broker's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupOverrides {
    /// `consumer.session.timeout.ms`.
    pub consumer_session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms: Option<i32>,
    /// `consumer.assignment.interval.ms`.
    pub consumer_assignment_interval_ms: Option<i32>,
}

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerSettings {
    pub(crate) session_timeout_ms: i32,
    pub(crate) heartbeat_interval_ms: i32,
    pub(crate) assignment_interval_ms: i32,
    pub(crate) regex_refresh_interval_ms: i64,
    pub(crate) group_size_max: usize,
    pub(crate) default_assignor: Assignor,
}

impl ConsumerSettings {
    /// Values out of the broker's bounds are drawn to them: the bounds may have been changed after
    /// a group's configuration was accepted.
    pub(crate) fn new(config: &GroupConfig, overrides: GroupOverrides) -> Self {
        let bounded = |value: Option<i32>, default: i32, min: i32, max: i32| match value {
            Some(value) => value.min(max).max(min),
            None => default,
        };
        let names = config.consumer_assignors.iter();
        let default_assignor = names.filter_map(|name| Assignor::by_name(name)).next();
        Self {
            session_timeout_ms: bounded(
                overrides.consumer_session_timeout_ms,
                config.consumer_session_timeout_ms,
                config.consumer_session_timeout_ms_min,
                config.consumer_session_timeout_ms_max,
            ),
            heartbeat_interval_ms: bounded(
                overrides.consumer_heartbeat_interval_ms,
                config.consumer_heartbeat_interval_ms,
                config.consumer_heartbeat_interval_ms_min,
                config.consumer_heartbeat_interval_ms_max,
            ),
            assignment_interval_ms: bounded(
                overrides.consumer_assignment_interval_ms,
                config.consumer_assignment_interval_ms,
                config.consumer_assignment_interval_ms_min,
                config.consumer_assignment_interval_ms_max,
            ),
            regex_refresh_interval_ms: i64::try_from(
                config.consumer_regex_refresh_interval.as_millis(),
            )
            .unwrap_or(i64::MAX),
            group_size_max: config.consumer_group_size_max,
            default_assignor: default_assignor.unwrap_or(Assignor::Uniform),
        }
    }
}

/// Where dynamic configurations of groups come from.
pub trait GroupOverridesSource: Send + Sync + std::fmt::Debug {
    /// What is set for this group now.
    fn overrides(&self, group_id: &str) -> GroupOverrides;
}

/// No group has any.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOverrides;

impl GroupOverridesSource for NoOverrides {
    fn overrides(&self, _group_id: &str) -> GroupOverrides {
        GroupOverrides::default()
    }
}

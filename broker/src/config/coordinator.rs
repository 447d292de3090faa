//! The configuration of the coordinators and of their topics.

use std::time::Duration;

use coordinator::{
    group::{GroupConfig, config::MigrationPolicy},
    transaction::TransactionConfig,
};
use protocol::records::{Compression, CompressionType};

use super::broker::Read;

/// How an internal topic is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalTopicConfig {
    /// Its partitions, fixed once it exists.
    pub partitions: i32,
    /// The replication factor to remember.
    pub replication_factor: i16,
    /// Its `segment.bytes`.
    pub segment_bytes: i32,
    /// Its `min.insync.replicas`, where Kafka sets one.
    pub min_insync_replicas: i32,
}

/// The coordinators' configuration.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// Groups.
    pub groups: GroupConfig,
    /// Transactions.
    pub transactions: TransactionConfig,
    /// `__consumer_offsets`.
    pub offsets_topic: InternalTopicConfig,
    /// `offsets.topic.compression.codec`: how its batches are compressed.
    pub offsets_compression: Compression,
    /// `__transaction_state`.
    pub transaction_topic: InternalTopicConfig,
}

pub(super) fn read(read: &Read<'_>) -> Result<CoordinatorConfig, String> {
    Ok(CoordinatorConfig {
        groups: read_groups(read)?,
        transactions: read_transactions(read)?,
        offsets_topic: InternalTopicConfig {
            partitions: read.count("offsets.topic.num.partitions")?,
            replication_factor: read.count("offsets.topic.replication.factor")?,
            segment_bytes: read.count("offsets.topic.segment.bytes")?,
            min_insync_replicas: 1,
        },
        offsets_compression: read_codec(read.count("offsets.topic.compression.codec")?)?,
        transaction_topic: InternalTopicConfig {
            partitions: read.count("transaction.state.log.num.partitions")?,
            replication_factor: read.count("transaction.state.log.replication.factor")?,
            segment_bytes: read.count("transaction.state.log.segment.bytes")?,
            min_insync_replicas: read.count("transaction.state.log.min.isr")?,
        },
    })
}

/// A codec by its id, at its default level.
fn read_codec(id: u8) -> Result<Compression, String> {
    let codec = CompressionType::from_id(id).map_err(|error| error.to_string())?;
    Ok(match codec {
        CompressionType::None => Compression::None,
        CompressionType::Gzip => Compression::Gzip(-1),
        CompressionType::Snappy => Compression::Snappy,
        CompressionType::Lz4 => Compression::Lz4(9),
        CompressionType::Zstd => Compression::Zstd(3),
    })
}

fn read_transactions(read: &Read<'_>) -> Result<TransactionConfig, String> {
    Ok(TransactionConfig {
        max_timeout_ms: read.count("transaction.max.timeout.ms")?,
        id_expiration_ms: read.count("transactional.id.expiration.ms")?,
        remove_expired_interval: read
            .millis("transaction.remove.expired.transaction.cleanup.interval.ms")?,
        abort_timed_out_interval: read
            .millis("transaction.abort.timed.out.transaction.cleanup.interval.ms")?,
        two_phase_commit: read.flag("transaction.two.phase.commit.enable")?,
    })
}

fn read_groups(read: &Read<'_>) -> Result<GroupConfig, String> {
    let policy = read.text("group.consumer.migration.policy")?;
    let retention_minutes: u64 = read.count("offsets.retention.minutes")?;
    let config = GroupConfig {
        offset_metadata_bytes_max: read.count("offset.metadata.max.bytes")?,
        offsets_retention: Duration::from_secs(retention_minutes.saturating_mul(60)),
        offsets_retention_check_interval: read.millis("offsets.retention.check.interval.ms")?,
        classic_session_timeout_ms_min: read.count("group.min.session.timeout.ms")?,
        classic_session_timeout_ms_max: read.count("group.max.session.timeout.ms")?,
        classic_initial_rebalance_delay: read.millis("group.initial.rebalance.delay.ms")?,
        classic_group_size_max: read.count("group.max.size")?,
        consumer_session_timeout_ms: read.count("group.consumer.session.timeout.ms")?,
        consumer_session_timeout_ms_min: read.count("group.consumer.min.session.timeout.ms")?,
        consumer_session_timeout_ms_max: read.count("group.consumer.max.session.timeout.ms")?,
        consumer_heartbeat_interval_ms: read.count("group.consumer.heartbeat.interval.ms")?,
        consumer_heartbeat_interval_ms_min: read
            .count("group.consumer.min.heartbeat.interval.ms")?,
        consumer_heartbeat_interval_ms_max: read
            .count("group.consumer.max.heartbeat.interval.ms")?,
        consumer_group_size_max: read.count("group.consumer.max.size")?,
        consumer_assignors: read.list("group.consumer.assignors")?,
        consumer_migration_policy: MigrationPolicy::parse(&policy)
            .ok_or_else(|| format!("Invalid value {policy} for group.consumer.migration.policy"))?,
        consumer_assignment_interval_ms: read.count("group.consumer.assignment.interval.ms")?,
        consumer_assignment_interval_ms_min: read
            .count("group.consumer.min.assignment.interval.ms")?,
        consumer_assignment_interval_ms_max: read
            .count("group.consumer.max.assignment.interval.ms")?,
        consumer_regex_refresh_interval: read.millis("group.consumer.regex.refresh.interval.ms")?,
    };
    check(&config)?;
    Ok(config)
}

/// What the values require of each other, in Kafka's words.
fn check(config: &GroupConfig) -> Result<(), String> {
    let at_most = |low: (&str, i32), high: (&str, i32)| {
        if low.1 <= high.1 {
            return Ok(());
        }
        Err(format!("{} must be less than or equal to {}", low.0, high.0))
    };
    at_most(
        ("group.min.session.timeout.ms", config.classic_session_timeout_ms_min),
        ("group.max.session.timeout.ms", config.classic_session_timeout_ms_max),
    )?;
    let ranges = [
        (
            "session.timeout.ms",
            config.consumer_session_timeout_ms_min,
            config.consumer_session_timeout_ms,
            config.consumer_session_timeout_ms_max,
        ),
        (
            "heartbeat.interval.ms",
            config.consumer_heartbeat_interval_ms_min,
            config.consumer_heartbeat_interval_ms,
            config.consumer_heartbeat_interval_ms_max,
        ),
        (
            "assignment.interval.ms",
            config.consumer_assignment_interval_ms_min,
            config.consumer_assignment_interval_ms,
            config.consumer_assignment_interval_ms_max,
        ),
    ];
    for (name, min, value, max) in ranges {
        let (low, own, high) = (
            format!("group.consumer.min.{name}"),
            format!("group.consumer.{name}"),
            format!("group.consumer.max.{name}"),
        );
        at_most((&low, min), (&high, max))?;
        at_most((&low, min), (&own, value))?;
        at_most((&own, value), (&high, max))?;
    }
    if config.consumer_heartbeat_interval_ms >= config.consumer_session_timeout_ms {
        let why = "group.consumer.heartbeat.interval.ms must be less than \
                   group.consumer.session.timeout.ms";
        return Err(why.to_owned());
    }
    Ok(())
}

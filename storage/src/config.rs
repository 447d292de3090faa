//! What the log reads of a topic's and of the broker's configuration, parsed and in units.
//!
//! The keys, their defaults and their validation live in the broker's configuration table; this
//! crate sees only typed values, replaced as a whole when a topic's configuration changes.

use std::time::Duration;

use protocol::records::{CompressionPolicy, ProducePolicy, TimestampType};

use crate::{
    compaction::{CleaningPolicy, CompactionPolicy},
    upload::UploaderOptions,
};

/// When a record counts as durable, and so when it is acknowledged and visible (design D5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Synced in this broker's WAL.
    Local,
    /// Committed in the object store.
    Object,
}

/// What `cleanup.policy` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old records go by `retention.ms` and `retention.bytes`.
    pub delete: bool,
    /// The last record per key is kept.
    pub compact: bool,
}

/// A topic's configuration as the log needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicLogConfig {
    /// `max.message.bytes`: the largest batch accepted, bytes.
    pub max_message_bytes: usize,
    /// `compression.type` with its level.
    pub compression: CompressionPolicy,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `retention.ms`; `None` keeps records for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes` per partition; `None` sets no bound.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// How compaction by key works, where `cleanup.policy` asks for it.
    pub cleaning: CleaningPolicy,
    /// `segment.ms`: a compacted topic's records become an object at this age.
    pub segment_ms: i64,
    /// `segment.bytes`: a compacted partition's records become an object at this size.
    pub segment_bytes: u64,
    /// `streamhouse.durability`.
    pub durability: Durability,
}

impl TopicLogConfig {
    /// The rules that a produced batch of this topic must meet.
    #[must_use]
    pub fn produce_policy(
        &self,
        produce_version: i16,
        max_decompressed_bytes: usize,
    ) -> ProducePolicy {
        ProducePolicy {
            produce_version,
            max_message_bytes: self.max_message_bytes,
            compression: self.compression,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            compacted: self.cleanup_policy.compact,
            allow_control: false,
            max_decompressed_bytes,
        }
    }
}

/// The broker-wide settings of the log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Size of a WAL file, bytes (`streamhouse.wal.file.bytes`).
    pub wal_file_bytes: u64,
    /// Bound on all WAL files that no object holds yet, bytes (`streamhouse.wal.max.bytes`).
    pub wal_max_bytes: u64,
    /// Bound on appended bytes that wait for the WAL writer.
    pub wal_queue_bytes: usize,
    /// Free space that the WAL leaves on the disk, bytes (`streamhouse.disk.reserve.bytes`).
    pub disk_reserve_bytes: u64,
    /// How sealed files and flushed ranges are uploaded.
    pub upload: UploaderOptions,
    /// Bound on the tail kept in memory for consumers, bytes.
    pub tail_bytes: usize,
    /// Bound on the cache of remote object chunks, bytes.
    pub cache_bytes: u64,
    /// A WAL file with records is sealed at this age, so that they reach the object store.
    pub seal_age: Duration,
    /// `log.retention.check.interval.ms`.
    pub retention_interval: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_expiration_interval: Duration,
    /// How long an object without a metadata row is left alone.
    pub gc_grace: Duration,
    /// Time between two looks at dead objects.
    pub gc_interval: Duration,
    /// Time between two listings of the object store for orphans.
    pub gc_orphan_interval: Duration,
    /// Time between two looks at what is due for compaction into L1.
    pub compaction_interval: Duration,
    /// When a partition is due for compaction, and what is merged.
    pub compaction: CompactionPolicy,
    /// `log.cleaner.enable`: whether compacted topics are compacted by key.
    pub cleaner_enabled: bool,
    /// What may change while the log runs, as it is at the start.
    pub live: LiveLogConfig,
}

/// The settings of the log that may change while it runs ([`crate::Log::reconfigure`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveLogConfig {
    /// `log.cleaner.backoff.ms`: time between two rounds of compaction by key.
    pub cleaner_backoff: Duration,
    /// `log.cleaner.dedupe.buffer.size`: bound on the memory of one cleaning pass, bytes.
    pub cleaner_buffer_bytes: usize,
    /// `producer.id.expiration.ms`: producers idle for longer are forgotten.
    pub producer_expiration_ms: i64,
}

impl Default for LiveLogConfig {
    fn default() -> Self {
        Self {
            cleaner_backoff: Duration::from_secs(15),
            cleaner_buffer_bytes: 128 << 20,
            producer_expiration_ms: 86_400_000,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            wal_file_bytes: 64 << 20,
            wal_max_bytes: 4 << 30,
            wal_queue_bytes: 64 << 20,
            disk_reserve_bytes: 0,
            upload: UploaderOptions::default(),
            tail_bytes: 128 << 20,
            cache_bytes: 128 << 20,
            seal_age: Duration::from_secs(600),
            retention_interval: Duration::from_secs(300),
            producer_expiration_interval: Duration::from_secs(600),
            gc_grace: Duration::from_secs(3600),
            gc_interval: Duration::from_secs(30),
            gc_orphan_interval: Duration::from_secs(6 * 3600),
            compaction_interval: Duration::from_secs(30),
            compaction: CompactionPolicy::default(),
            cleaner_enabled: true,
            live: LiveLogConfig::default(),
        }
    }
}

//! The keys of a topic: all of Kafka 4.3's, `streamhouse.durability`, and those of its table.

use super::{ConfigKey, ConfigType, Effect, UpdateMode, Validator, hours, keys, minutes, same};

use Validator::{Any, AtLeast, Between, GzipLevel, ListOf, OneOf, ThrottledReplicas};
use table::config::{COMMIT_INTERVAL_MS, SNAPSHOT_MIN, SNAPSHOT_RETENTION_MS_MIN};

#[rustfmt::skip]
pub(super) const KEYS: &[ConfigKey] = keys! {
    "cleanup.policy" List = Some("delete"), ListOf(&["compact", "delete"]), ClusterWide, Acts, [same("log.cleanup.policy")]:
        "How old data goes: delete (by retention time and size), compact (of records with the same key the last one stays; every record must have a key), both, or, if empty, never.";
    "compression.gzip.level" Int = Some("-1"), GzipLevel, ClusterWide, Acts, [same("compression.gzip.level")]:
        "Level used where the broker compresses with gzip.";
    "compression.lz4.level" Int = Some("9"), Between(1, 17), ClusterWide, Inert, [same("compression.lz4.level")]:
        "Level for lz4; the encoder in use has one level only.";
    "compression.type" String = Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), ClusterWide, Acts, [same("compression.type")]:
        "Codec that batches are stored with; producer keeps each batch as it was sent.";
    "compression.zstd.level" Int = Some("3"), Between(-131_072, 22), ClusterWide, Acts, [same("compression.zstd.level")]:
        "Level used where the broker compresses with zstd.";
    "delete.retention.ms" Long = Some("86400000"), AtLeast(0), ClusterWide, Acts, [same("log.cleaner.delete.retention.ms")]:
        "How long a compacted topic keeps tombstones and transaction markers after compaction first met them.";
    "file.delete.delay.ms" Long = Some("60000"), AtLeast(0), ClusterWide, Inert, [same("log.segment.delete.delay.ms")]:
        "Kafka's wait before a removed segment's file goes; objects go after streamhouse.object.gc.grace.ms.";
    "flush.messages" Long = Some("9223372036854775807"), AtLeast(1), ClusterWide, Inert, [same("log.flush.interval.messages")]:
        "Kafka's messages between syncs; here every acks=all answer waits for a sync anyway.";
    "flush.ms" Long = Some("9223372036854775807"), AtLeast(0), ClusterWide, Inert, [same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]:
        "Kafka's time between syncs; here every acks=all answer waits for a sync anyway.";
    "follower.replication.throttled.replicas" List = Some(""), ThrottledReplicas, ClusterWide, Inert:
        "Replicas whose replication is throttled on the follower's side; there are no followers.";
    "index.interval.bytes" Int = Some("4096"), AtLeast(0), ClusterWide, Inert, [same("log.index.interval.bytes")]:
        "Kafka's bytes between index entries; objects have sparse indexes of their own.";
    "leader.replication.throttled.replicas" List = Some(""), ThrottledReplicas, ClusterWide, Inert:
        "Replicas whose replication is throttled on the leader's side; there are no followers.";
    "local.retention.bytes" Long = Some("-2"), AtLeast(-2), ClusterWide, Inert, [same("log.local.retention.bytes")]:
        "Kafka's bytes kept outside tiered storage; -2 takes retention.bytes.";
    "local.retention.ms" Long = Some("-2"), AtLeast(-2), ClusterWide, Inert, [same("log.local.retention.ms")]:
        "Kafka's time kept outside tiered storage; -2 takes retention.ms.";
    "max.compaction.lag.ms" Long = Some("9223372036854775807"), AtLeast(1), ClusterWide, Acts, [same("log.cleaner.max.compaction.lag.ms")]:
        "Longest time that a record stays out of compaction.";
    "max.message.bytes" Int = Some("1048588"), AtLeast(0), ClusterWide, Acts, [same("message.max.bytes")]:
        "Largest record batch accepted, in bytes as sent (compressed if it is).";
    "message.timestamp.after.max.ms" Long = Some("3600000"), AtLeast(0), ClusterWide, Acts, [same("log.message.timestamp.after.max.ms")]:
        "How far a CreateTime timestamp may lie ahead of the broker's clock.";
    "message.timestamp.before.max.ms" Long = Some("9223372036854775807"), AtLeast(0), ClusterWide, Acts, [same("log.message.timestamp.before.max.ms")]:
        "How far a CreateTime timestamp may lie behind the broker's clock.";
    "message.timestamp.type" String = Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), ClusterWide, Acts, [same("log.message.timestamp.type")]:
        "Whether records keep the producer's timestamp or get the broker's at the append.";
    "min.cleanable.dirty.ratio" Double = Some("0.5"), Between(0, 1), ClusterWide, Acts, [same("log.cleaner.min.cleanable.ratio")]:
        "Share of a log above which what is not compacted yet makes compaction due.";
    "min.compaction.lag.ms" Long = Some("0"), AtLeast(0), ClusterWide, Acts, [same("log.cleaner.min.compaction.lag.ms")]:
        "Shortest time that a record stays out of compaction.";
    "min.insync.replicas" Int = Some("1"), AtLeast(1), ClusterWide, Inert, [same("min.insync.replicas")]:
        "Kafka's least in-sync replicas for acks=all; stored, never blocks: durability is streamhouse.durability.";
    "preallocate" Boolean = Some("false"), Any, ClusterWide, Inert, [same("log.preallocate")]:
        "Kafka's preallocation of segment files; the WAL always preallocates.";
    "remote.log.copy.disable" Boolean = Some("false"), Any, ClusterWide, Inert:
        "Kafka's stop of tiering for a topic; every topic is in the object store here.";
    "remote.log.delete.on.disable" Boolean = Some("false"), Any, ClusterWide, Inert:
        "Kafka's deletion of tiered data when tiering is turned off.";
    "remote.storage.enable" Boolean = Some("false"), Any, ClusterWide, Inert:
        "Kafka's tiered storage for a topic; every topic is in the object store here.";
    "retention.bytes" Long = Some("-1"), Any, ClusterWide, Acts, [same("log.retention.bytes")]:
        "Largest size of a partition before its oldest records go; -1 for no limit.";
    "retention.ms" Long = Some("604800000"), AtLeast(-1), ClusterWide, Acts, [same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")]:
        "Age, by record timestamp, after which records go; -1 for no limit.";
    "segment.bytes" Int = Some("1073741824"), AtLeast(1_048_576), ClusterWide, Acts, [same("log.segment.bytes")]:
        "A compacted partition's records become an object, and can be compacted, at this size at the latest; retention works on extents of objects.";
    "segment.index.bytes" Int = Some("10485760"), AtLeast(4), ClusterWide, Inert, [same("log.index.size.max.bytes")]:
        "Kafka's size of an offset index file; there are none here.";
    "segment.jitter.ms" Long = Some("0"), AtLeast(0), ClusterWide, Inert, [same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")]:
        "Kafka's random delay of segment rolls.";
    "segment.ms" Long = Some("604800000"), AtLeast(1), ClusterWide, Acts, [same("log.roll.ms"), hours("log.roll.hours")]:
        "A compacted topic's records become an object, and can be compacted, at this age at the latest; retention works on extents of objects.";
    "streamhouse.durability" String = Some("local"), OneOf(&["local", "object"]), ClusterWide, Acts, [same("streamhouse.durability")]:
        "What acks=all waits for: local (synced to this broker's WAL) or object (committed in the object store).";
    "table.cdc.field" String = Some(""), Any, ClusterWide, Acts:
        "Field of a value, by a path with dots, that deletes the row of an upsert table where it is D, DELETE or true; by default _cdc.op where table.transform=flatten_debezium. Acts on tables that have no schema yet.";
    "table.columns.max" Int = Some("1000"), Between(1, 10_000), ClusterWide, Acts:
        "Most columns of the topic's table, leaves of structures counted; further fields are kept in kafka_rescued.";
    "table.commit.interval.ms" Long = Some("5000"), Between(*COMMIT_INTERVAL_MS.start(), *COMMIT_INTERVAL_MS.end()), ClusterWide, Acts:
        "How often rows are committed to the topic's table. Queries see them before.";
    "table.compaction.enable" Boolean = Some("true"), Any, ClusterWide, Acts:
        "Whether small files of the topic's table are merged in the background.";
    "table.delete.with.topic" Boolean = Some("false"), Any, ClusterWide, Acts:
        "Whether the topic's table is deleted from the object store when the topic is.";
    "table.dlq" String = Some(""), Any, ClusterWide, Acts:
        "Name of the table's dead-letter table; by default the table's with __dlq.";
    "table.enable" Boolean = Some("false"), Any, ClusterWide, Acts:
        "Whether the topic is a Delta table.";
    "table.errors" String = Some("dlq"), OneOf(&["dlq", "skip", "suspend"]), ClusterWide, Acts:
        "What happens to records that cannot be decoded: they go to the table's dead-letter table, are counted and left out, or suspend the table.";
    "table.format" String = Some("delta"), OneOf(&["delta"]), ClusterWide, Acts:
        "The table format of the topic's table.";
    "table.hold.ms" Long = Some("86400000"), AtLeast(0), ClusterWide, Acts:
        "How much longer than retention.ms (or as much again as retention.bytes) records are kept, and left alone by compaction, while the topic's table lacks them.";
    "table.id.columns" List = Some(""), Any, ClusterWide, Acts:
        "Columns declared in table.schema that tell rows of an upsert table apart; by default the record's key does. Of one row all records have to be in one partition: offsets say which is newer. Acts on tables that have no schema yet.";
    "table.key.convert" String = Some("raw"), OneOf(&["raw", "string"]), ClusterWide, Acts:
        "What kafka_key holds: bytes, or text (then records with other keys cannot be decoded). Acts on tables that have no schema yet.";
    "table.mode" String = Some("append"), OneOf(&["append", "upsert"]), ClusterWide, Acts:
        "Whether a record adds a row, or replaces (as a tombstone: deletes) the row of its key; acts on tables that have no schema yet.";
    "table.name" String = Some(""), Any, ClusterWide, Acts:
        "Name of the topic's table; by default the topic's, with _ for what is no letter, digit or _.";
    "table.namespace" String = Some("public"), Any, ClusterWide, Acts:
        "SQL schema that the topic's table is in.";
    "table.partition.by" String = Some(""), Any, ClusterWide, Acts:
        "What the files of the topic's table are divided by: day(kafka_timestamp), bucket(N, kafka_key), kafka_partition, or columns declared in table.schema; acts on tables that have no schema yet.";
    "table.partitions.per.commit.max" Int = Some("256"), Between(1, 10_000), ClusterWide, Acts:
        "Partitions of the topic's table that one commit writes to at most; more begin the next commit.";
    "table.retention.ms" Long = Some("-1"), AtLeast(-1), ClusterWide, Acts:
        "How long rows of the topic's table are kept by their timestamps, apart from the topic's retention; -1 for ever.";
    "table.schema" String = Some(""), Any, ClusterWide, Acts:
        "Columns of the topic's table as name TYPE, … (BOOLEAN, BIGINT, DOUBLE, STRING, JSON); without them they are inferred.";
    "table.schema.evolution" String = Some("add"), OneOf(&["add", "strict"]), ClusterWide, Acts:
        "Whether new fields become columns (add) or are kept in kafka_rescued (strict).";
    "table.schema.sample.ms" Long = Some("2000"), Between(0, 900_000), ClusterWide, Acts:
        "How long the first record waits for others before the columns are inferred.";
    "table.schema.sample.records" Int = Some("1000"), Between(1, 1_000_000), ClusterWide, Acts:
        "Records that the columns are inferred from.";
    "table.snapshot.min" Int = Some("5"), Between(*SNAPSHOT_MIN.start(), *SNAPSHOT_MIN.end()), ClusterWide, Acts:
        "How many of the newest versions of the topic's table can be read, however old they are.";
    "table.snapshot.retention.ms" Long = Some("604800000"), AtLeast(SNAPSHOT_RETENTION_MS_MIN), ClusterWide, Acts:
        "How long older versions of the topic's table can be read; files that no version has go after as long.";
    "table.target.file.bytes" Long = Some("134217728"), AtLeast(1_048_576), ClusterWide, Acts:
        "Size at which a file of the topic's table is closed before its commit.";
    "table.transform" String = Some("none"), OneOf(&["none", "flatten", "flatten_debezium"]), ClusterWide, Acts:
        "What is made of JSON values first: nothing; fields within objects become columns of their own; or of a Debezium change event the row, with _cdc. Acts on tables that have no schema yet.";
    "table.value.convert" String = Some("auto"), OneOf(&["auto", "json", "string", "raw"]), ClusterWide, Acts:
        "How values become columns: the fields of a JSON object, one column of text, or one of bytes; auto settles it with the first schema: json where at least half of the values are JSON objects, otherwise string where all are UTF-8, otherwise raw.";
    "unclean.leader.election.enable" Boolean = Some("false"), Any, ClusterWide, Inert, [same("unclean.leader.election.enable")]:
        "Kafka's election of replicas that lag; there are no replicas to elect.";
};

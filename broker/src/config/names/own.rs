//! The broker keys that only StreamHouse has.

use super::{ConfigKey, ConfigType, Effect, UpdateMode, Validator, keys};

use Validator::{Any, AtLeast, Between, OneOf};

#[rustfmt::skip]
pub(super) const KEYS: &[ConfigKey] = keys! {
    "streamhouse.data.dir" String = Some("streamhouse-data"), Any, ReadOnly, Acts:
        "Directory of the WAL, the metadata and, without an object store, the objects.";
    "streamhouse.disk.reserve.bytes" Long = Some("67108864"), AtLeast(0), ReadOnly, Acts:
        "Free disk space that the WAL leaves alone: below it produces are refused, while metadata and retention can still run.";
    "streamhouse.durability" String = Some("local"), OneOf(&["local", "object"]), ClusterWide, Acts:
        "Default of the topic key of the same name.";
    "streamhouse.http.listener" String = Some("127.0.0.1:8080"), Any, ReadOnly, Acts:
        "Address of /metrics, /health, /ready and /live; port 0 picks a free one.";
    "streamhouse.log.format" String = Some("text"), OneOf(&["text", "json"]), ReadOnly, Acts:
        "How log lines are written.";
    "streamhouse.log.level" String = Some("info"), Any, ReadOnly, Acts:
        "Least level of log lines, or a filter such as info,streamhouse_storage=debug.";
    "streamhouse.max.decompressed.bytes" Int = Some("268435456"), AtLeast(1_048_576), ReadOnly, Acts:
        "Most bytes that one produced batch may decompress to.";
    "streamhouse.max.delayed.fetches" Int = Some("100000"), AtLeast(0), ReadOnly, Acts:
        "Most fetches that may wait for records at once; further ones are answered at once.";
    "streamhouse.max.inflight.produce" Int = Some("64"), Between(1, 1024), ReadOnly, Acts:
        "Produce requests of one connection that may wait for their sync at once.";
    "streamhouse.max.partitions" Int = Some("200000"), AtLeast(1), ReadOnly, Acts:
        "Most partitions of all topics together; creating more is refused.";
    "streamhouse.memory.bytes" Long = Some("536870912"), AtLeast(33_554_432), ReadOnly, Acts:
        "Memory that requests, the tail of the log and caches may use together.";
    "streamhouse.memory.cache.bytes" Long = None, AtLeast(1_048_576), ReadOnly, Acts:
        "Its part for what was read from objects; a quarter by default.";
    "streamhouse.memory.fetch.bytes" Long = None, AtLeast(1_048_576), ReadOnly, Acts:
        "Its part for fetched records on their way to clients; an eighth by default.";
    "streamhouse.memory.requests.bytes" Long = None, AtLeast(1_048_576), ReadOnly, Acts:
        "Its part for requests being read and handled; a quarter by default.";
    "streamhouse.memory.tail.bytes" Long = None, AtLeast(1_048_576), ReadOnly, Acts:
        "Its part for recent records, kept for consumers that keep up; a quarter by default.";
    "streamhouse.memory.wal.bytes" Long = None, AtLeast(1_048_576), ReadOnly, Acts:
        "Its part for records that wait to be written to the WAL; an eighth by default.";
    "streamhouse.object.compaction.bytes" Long = Some("268435456"), AtLeast(1_048_576), ReadOnly, Acts:
        "Largest size of a compacted (L1) object.";
    "streamhouse.object.compaction.interval.ms" Long = Some("30000"), AtLeast(1), ReadOnly, Acts:
        "How often partitions are looked at for compaction into L1 objects.";
    "streamhouse.object.flush.bytes" Int = Some("4194304"), AtLeast(4096), ReadOnly, Acts:
        "Unflushed bytes of durability object at which a flush starts at once.";
    "streamhouse.object.flush.interval.ms" Int = Some("250"), AtLeast(1), ReadOnly, Acts:
        "Longest wait of an acks=all produce with durability object for the next flush.";
    "streamhouse.object.gc.grace.ms" Long = Some("3600000"), AtLeast(0), ReadOnly, Acts:
        "How long an object that metadata does not know is left alone before it is deleted.";
    "streamhouse.object.gc.interval.ms" Long = Some("30000"), AtLeast(1), ReadOnly, Acts:
        "How often objects that nothing refers to any more are deleted.";
    "streamhouse.object.gc.orphan.interval.ms" Long = Some("21600000"), AtLeast(1), ReadOnly, Acts:
        "How often the object store is listed for objects that metadata does not know.";
    "streamhouse.object.request.timeout.ms" Int = Some("15000"), AtLeast(100), ReadOnly, Acts:
        "Longest time of one attempt to read from the object store; one to write may take four times as long.";
    "streamhouse.object.store.options" Password = Some(""), Any, ReadOnly, Acts:
        "Options of the object store as name=value,… (object_store's names); AWS_, GOOGLE_ and AZURE_ environment variables are read too.";
    "streamhouse.object.store.url" String = None, Any, ReadOnly, Acts:
        "Object store: s3://bucket/prefix, gs://…, az://…, file:///…; without it the data directory.";
    "streamhouse.object.upload.concurrency" Int = Some("4"), Between(1, 64), ReadOnly, Acts:
        "Most uploads at a time.";
    "streamhouse.postgres.listener" String = Some("127.0.0.1:5433"), Any, ReadOnly, Acts:
        "Address of SQL over PostgreSQL's wire protocol; port 0 picks a free one, nothing is no such listener.";
    "streamhouse.query.concurrency" Int = Some("8"), Between(1, 1024), ReadOnly, Acts:
        "Queries that may run at once; further ones are refused.";
    "streamhouse.query.memory.bytes" Long = Some("536870912"), AtLeast(16_777_216), ReadOnly, Acts:
        "Memory that all queries may use together; what needs more is spilled to the data directory.";
    "streamhouse.query.scheduling" String = Some("low"), OneOf(&["low", "idle"]), ReadOnly, Acts:
        "How Linux schedules the threads of queries and tables: low (nice 10: about a tenth of a processor even where the broker wants all of it) or idle (only where nobody else wants it: produce latency hardly notices, but they may starve).";
    "streamhouse.query.threads" Int = Some("1"), Between(1, 1024), ReadOnly, Acts:
        "Threads that queries and the writing of tables share, apart from the broker's.";
    "streamhouse.ready.file" String = None, Any, ReadOnly, Acts:
        "File that gets the process id and the bound addresses as JSON once the broker serves.";
    "streamhouse.shutdown.timeout.ms" Long = Some("30000"), AtLeast(0), ReadOnly, Acts:
        "Longest time that a shutdown waits for requests in progress.";
    "streamhouse.strict.replication" Boolean = Some("false"), Any, ReadOnly, Acts:
        "Whether a replication factor above the number of brokers is refused, as Kafka does.";
    "streamhouse.table.memory.bytes" Long = Some("268435456"), AtLeast(16_777_216), ReadOnly, Acts:
        "Bytes of the log that all tables together hold on their way into a commit; above it the largest commit early.";
    "streamhouse.wal.file.bytes" Long = Some("67108864"), Between(1_048_576, 1_073_741_824), ReadOnly, Acts:
        "Size of a WAL file, preallocated; a full one is sealed and becomes an object.";
    "streamhouse.wal.max.bytes" Long = Some("4294967296"), AtLeast(4_194_304), ReadOnly, Acts:
        "Most bytes of WAL files that are not yet objects; then producers are throttled.";
    "streamhouse.wal.seal.age.ms" Long = Some("600000"), AtLeast(1000), ReadOnly, Acts:
        "Age at which a WAL file that is not full is sealed.";
};

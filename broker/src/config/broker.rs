//! The broker's configuration as typed values, checked as a whole.
//!
//! Made from [`Layers`] at start and again at each dynamic change. Invariant: a [`BrokerConfig`]
//! that exists can be run; what its parts require of each other was checked here.

use std::{path::PathBuf, time::Duration};

use common::NodeId;
use storage::{LiveLogConfig, LogConfig};

pub use super::coordinator::{CoordinatorConfig, InternalTopicConfig};
use super::{
    coordinator,
    effective::Layers,
    listeners::{self, Listener},
    names,
    secret::Secret,
    sources::ConfigErrors,
    value::{Value, split_list},
};
use crate::options::{BrokerOptions, Endpoint};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The object store and how it is used.
#[derive(Debug, Clone)]
pub struct ObjectStoreConfig {
    /// `streamhouse.object.store.url`; `None` keeps objects in the data directory.
    pub url: Option<String>,
    /// `streamhouse.object.store.options`, in object_store's names.
    pub options: Secret<Vec<(String, String)>>,
    /// `streamhouse.object.request.timeout.ms`.
    pub request_timeout: Duration,
}

/// SQL, and the writing of tables.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// `streamhouse.query.memory.bytes`.
    pub memory_bytes: usize,
    /// `streamhouse.table.memory.bytes`.
    pub table_memory_bytes: usize,
    /// `streamhouse.object.gc.grace.ms`: how long deleted tables are looked for.
    pub removal_grace: Duration,
    /// `streamhouse.query.concurrency`.
    pub concurrency: usize,
    /// `streamhouse.query.threads`.
    pub threads: usize,
    /// `streamhouse.query.scheduling`.
    pub scheduling: Scheduling,
}

/// How the threads of SQL and tables are scheduled beside the broker's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduling {
    /// After them, with a share of their own.
    Low,
    /// Only where nobody else wants the processor.
    Idle,
}

/// What the topic handlers obey.
#[derive(Debug, Clone)]
pub struct TopicRules {
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `streamhouse.strict.replication`.
    pub strict_replication: bool,
    /// `streamhouse.max.partitions`.
    pub max_partitions: i32,
    /// `max.request.partition.size.limit`.
    pub max_request_partition_size_limit: i32,
}

/// The typed configuration of a broker.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// `node.id`, if it was set; the data directory knows it otherwise.
    pub node_id: Option<NodeId>,
    /// The one listener.
    pub listener: Listener,
    /// The address that clients are told; its port is 0 where the listener's is.
    pub advertised: Listener,
    /// `streamhouse.http.listener`, as host:port.
    pub http: String,
    /// `streamhouse.postgres.listener`, as host:port; `None` where it is empty.
    pub postgres: Option<String>,
    /// `streamhouse.data.dir`, or Kafka's `log.dirs` or `log.dir` where only they are set.
    pub data_dir: PathBuf,
    /// `streamhouse.log.format`.
    pub log_format: LogFormat,
    /// `streamhouse.log.level`.
    pub log_level: String,
    /// `streamhouse.ready.file`.
    pub ready_file: Option<PathBuf>,
    /// `streamhouse.shutdown.timeout.ms`.
    pub shutdown_timeout: Duration,
    /// The object store.
    pub object_store: ObjectStoreConfig,
    /// The log.
    pub log: LogConfig,
    /// Topics.
    pub topics: TopicRules,
    /// SQL and tables.
    pub query: QueryConfig,
    /// Groups and transactions.
    pub coordinator: CoordinatorConfig,
    /// Connections and requests, but for the address, which is known once it is bound.
    options: BrokerOptions,
}

impl BrokerConfig {
    /// Reads and checks all values in force.
    ///
    /// # Errors
    /// What two or more values require of each other, in Kafka's words where it has some.
    pub fn new(layers: &Layers) -> Result<Self, ConfigErrors> {
        let read = Read { layers };
        Self::read(&read).map_err(ConfigErrors::one)
    }

    fn read(read: &Read<'_>) -> Result<Self, String> {
        check_requirements(read)?;
        let (listener, advertised) = read_listeners(read)?;
        let memory = MemoryParts::read(read)?;
        Ok(Self {
            node_id: read_node_id(read)?,
            http: read.text("streamhouse.http.listener")?,
            postgres: Some(read.text("streamhouse.postgres.listener")?)
                .filter(|address| !address.is_empty()),
            data_dir: read_data_dir(read)?,
            log_format: match read.text("streamhouse.log.format")?.as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            log_level: read.text("streamhouse.log.level")?,
            ready_file: read.optional_text("streamhouse.ready.file").map(PathBuf::from),
            shutdown_timeout: read.millis("streamhouse.shutdown.timeout.ms")?,
            object_store: read_object_store(read)?,
            log: read_log(read, &memory)?,
            topics: read_topics(read)?,
            query: QueryConfig {
                memory_bytes: read.count("streamhouse.query.memory.bytes")?,
                table_memory_bytes: read.count("streamhouse.table.memory.bytes")?,
                removal_grace: read.millis("streamhouse.object.gc.grace.ms")?,
                concurrency: read.count("streamhouse.query.concurrency")?,
                threads: read.count("streamhouse.query.threads")?,
                scheduling: match read.text("streamhouse.query.scheduling")?.as_str() {
                    "idle" => Scheduling::Idle,
                    _ => Scheduling::Low,
                },
            },
            coordinator: coordinator::read(read)?,
            options: read_options(read, &memory, &advertised)?,
            listener,
            advertised,
        })
    }

    /// What the network side and the handlers read, for a listener bound to `port`.
    #[must_use]
    pub fn options(&self, port: u16) -> BrokerOptions {
        let mut options = self.options.clone();
        if options.advertised.port == 0 {
            options.advertised.port = port;
        }
        options
    }
}

/// The shares of `streamhouse.memory.bytes`.
struct MemoryParts {
    requests: usize,
    fetch: usize,
    tail: usize,
    wal: usize,
    cache: usize,
}

impl MemoryParts {
    fn read(read: &Read<'_>) -> Result<Self, String> {
        let total: usize = read.count("streamhouse.memory.bytes")?;
        let part = |name: &str, divisor: usize| match read.value(name) {
            Some(_) => read.count(name),
            None => Ok(total / divisor),
        };
        let parts = Self {
            requests: part("streamhouse.memory.requests.bytes", 4)?,
            fetch: part("streamhouse.memory.fetch.bytes", 8)?,
            tail: part("streamhouse.memory.tail.bytes", 4)?,
            wal: part("streamhouse.memory.wal.bytes", 8)?,
            cache: part("streamhouse.memory.cache.bytes", 4)?,
        };
        let sum = [parts.requests, parts.fetch, parts.tail, parts.wal, parts.cache]
            .into_iter()
            .fold(0_usize, usize::saturating_add);
        if sum > total {
            return Err(format!(
                "the parts streamhouse.memory.*.bytes add up to {sum}, more than \
                 streamhouse.memory.bytes ({total})"
            ));
        }
        Ok(parts)
    }
}

fn read_listeners(read: &Read<'_>) -> Result<(Listener, Listener), String> {
    let entries = read.list("listeners")?;
    let controllers = read.list("controller.listener.names")?;
    let protocols = read.text("listener.security.protocol.map")?;
    let own = listeners::listeners(&entries, &controllers, &protocols)?;
    let [listener] = own.as_slice() else {
        return Err(format!(
            "listeners has {} broker listeners, this version of StreamHouse takes one",
            own.len()
        ));
    };
    let advertised = read.list("advertised.listeners").ok().map(|entries| {
        let is_controller = |entry: &String| {
            controllers.iter().any(|name| {
                entry.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                    && entry[name.len()..].starts_with("://")
            })
        };
        entries.into_iter().filter(|entry| !is_controller(entry)).collect::<Vec<_>>()
    });
    let advertised = listeners::advertised(advertised.as_deref(), &own)?;
    match advertised.as_slice() {
        [one] => Ok((listener.clone(), one.clone())),
        _ => Err("advertised.listeners must have one address for each listener".to_owned()),
    }
}

fn read_node_id(read: &Read<'_>) -> Result<Option<NodeId>, String> {
    let set = |name: &str| -> Result<Option<i32>, String> {
        match read.layers.static_config.entry(name) {
            Some(_) => read.count(name).map(Some),
            None => Ok(None),
        }
    };
    let node_id = set("node.id")?;
    let broker_id = match read.layers.static_config.entry("broker.id").map(|e| &e.value) {
        Some(Value::Number(-1)) | None => None,
        Some(_) => set("broker.id")?,
    };
    match (node_id, broker_id) {
        (Some(node), Some(broker)) if node != broker => {
            Err("You must set `node.id` to the same value as `broker.id`.".to_owned())
        }
        (node, broker) => Ok(node.or(broker).map(NodeId)),
    }
}

fn read_data_dir(read: &Read<'_>) -> Result<PathBuf, String> {
    let is_set = |name: &str| read.layers.static_config.entry(name).is_some();
    if !is_set("streamhouse.data.dir") {
        for name in ["log.dirs", "log.dir"] {
            if !is_set(name) {
                continue;
            }
            return match read.list(name)?.as_slice() {
                [one] => Ok(PathBuf::from(one)),
                several => {
                    Err(format!("{name} has {} directories, StreamHouse takes one", several.len()))
                }
            };
        }
    }
    Ok(PathBuf::from(read.text("streamhouse.data.dir")?))
}

fn read_object_store(read: &Read<'_>) -> Result<ObjectStoreConfig, String> {
    Ok(ObjectStoreConfig {
        url: read.optional_text("streamhouse.object.store.url"),
        options: read.pairs("streamhouse.object.store.options")?,
        request_timeout: read.millis("streamhouse.object.request.timeout.ms")?,
    })
}

/// Shortest time between two rounds of compaction by key: each looks at every partition.
const CLEANER_BACKOFF_MIN: Duration = Duration::from_millis(10);

fn read_log(read: &Read<'_>, memory: &MemoryParts) -> Result<LogConfig, String> {
    let file_bytes: u64 = read.count("streamhouse.wal.file.bytes")?;
    let max_bytes: u64 = read.count("streamhouse.wal.max.bytes")?;
    if max_bytes < file_bytes.saturating_mul(2) {
        return Err(format!(
            "streamhouse.wal.max.bytes ({max_bytes}) must be at least twice \
             streamhouse.wal.file.bytes ({file_bytes})"
        ));
    }
    let mut config = LogConfig {
        wal_file_bytes: file_bytes,
        wal_max_bytes: max_bytes,
        wal_queue_bytes: memory.wal,
        tail_bytes: memory.tail,
        cache_bytes: u64::try_from(memory.cache).unwrap_or(u64::MAX),
        seal_age: read.millis("streamhouse.wal.seal.age.ms")?,
        retention_interval: read.millis("log.retention.check.interval.ms")?,
        producer_expiration_interval: read.millis("producer.id.expiration.check.interval.ms")?,
        gc_grace: read.millis("streamhouse.object.gc.grace.ms")?,
        gc_interval: read.millis("streamhouse.object.gc.interval.ms")?,
        gc_orphan_interval: read.millis("streamhouse.object.gc.orphan.interval.ms")?,
        compaction_interval: read.millis("streamhouse.object.compaction.interval.ms")?,
        cleaner_enabled: read.flag("log.cleaner.enable")?,
        live: LiveLogConfig {
            cleaner_backoff: read.millis("log.cleaner.backoff.ms")?.max(CLEANER_BACKOFF_MIN),
            cleaner_buffer_bytes: read.count("log.cleaner.dedupe.buffer.size")?,
            producer_expiration_ms: read.count("producer.id.expiration.ms")?,
        },
        ..LogConfig::default()
    };
    config.disk_reserve_bytes = read.count("streamhouse.disk.reserve.bytes")?;
    config.upload.in_flight_max = read.count("streamhouse.object.upload.concurrency")?;
    config.upload.flush_bytes = read.count("streamhouse.object.flush.bytes")?;
    config.upload.flush_interval = read.millis("streamhouse.object.flush.interval.ms")?;
    config.compaction.bytes_max = read.count("streamhouse.object.compaction.bytes")?;
    Ok(config)
}

fn read_topics(read: &Read<'_>) -> Result<TopicRules, String> {
    Ok(TopicRules {
        num_partitions: read.count("num.partitions")?,
        default_replication_factor: replication_factor(read)?,
        delete_topic_enable: read.flag("delete.topic.enable")?,
        strict_replication: read.flag("streamhouse.strict.replication")?,
        max_partitions: read.count("streamhouse.max.partitions")?,
        max_request_partition_size_limit: read.count("max.request.partition.size.limit")?,
    })
}

fn replication_factor(read: &Read<'_>) -> Result<i16, String> {
    match read.value("default.replication.factor") {
        Some(Value::Number(factor)) if (1..=i64::from(i16::MAX)).contains(&factor) => {
            Ok(i16::try_from(factor).unwrap_or(i16::MAX))
        }
        _ => Err("default.replication.factor must be between 1 and 32767".to_owned()),
    }
}

fn read_options(
    read: &Read<'_>,
    memory: &MemoryParts,
    advertised: &Listener,
) -> Result<BrokerOptions, String> {
    let protocols = read.list("group.coordinator.rebalance.protocols")?;
    if !protocols.iter().any(|protocol| protocol == "classic") {
        return Err("group.coordinator.rebalance.protocols: disabling the 'classic' protocol is \
                    not supported"
            .to_owned());
    }
    Ok(BrokerOptions {
        consumer_protocol: protocols.iter().any(|protocol| protocol == "consumer"),
        advertised: Endpoint {
            listener: advertised.name.clone(),
            host: advertised.host.clone(),
            port: advertised.port,
        },
        rack: read.optional_text("broker.rack"),
        request_bytes_max: read.count("socket.request.max.bytes")?,
        idle_max: read.millis("connections.max.idle.ms")?,
        connections_max: read.count("max.connections")?,
        connections_per_ip_max: read.count("max.connections.per.ip")?,
        inflight_produce_max: read.count("streamhouse.max.inflight.produce")?,
        request_pool_bytes: memory.requests,
        fetch_pool_bytes: memory.fetch,
        fetch_bytes_max: read.count("fetch.max.bytes")?,
        fetch_sessions_max: read.count("max.incremental.fetch.session.cache.slots")?,
        delayed_fetches_max: read.count("streamhouse.max.delayed.fetches")?,
        auto_create_topics: read.flag("auto.create.topics.enable")?,
        num_partitions: read.count("num.partitions")?,
        default_replication_factor: replication_factor(read)?,
        decompressed_bytes_max: read.count("streamhouse.max.decompressed.bytes")?,
        add_partitions_patience: read.millis("add.partitions.to.txn.retry.backoff.max.ms")?,
        verify_transactions: read.flag("transaction.partition.verification.enable")?,
    })
}

/// What Kafka's `KafkaConfig.validateValues` requires.
fn check_requirements(read: &Read<'_>) -> Result<(), String> {
    let number = |name: &str| match read.value(name) {
        Some(Value::Number(number)) => number,
        _ => i64::MAX,
    };
    let at_least_one = |name: &str, suffix: &str| {
        if number(name) < 1 {
            return Err(format!("requirement failed: {name} must be {suffix}"));
        }
        Ok(())
    };
    at_least_one("log.roll.ms", "greater than or equal to 1")?;
    if number("log.cleaner.dedupe.buffer.size") / number("log.cleaner.threads").max(1) <= 1 << 20 {
        let why = "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.";
        return Err(format!("requirement failed: {why}"));
    }
    if number("log.retention.ms") != -1 {
        let suffix = "unlimited (-1) or, greater than or equal to 1";
        at_least_one("log.retention.ms", suffix)?;
    }
    Ok(())
}

/// Typed reads of broker keys. An error is a key that has no value of the type: a bug, reported
/// like any other mistake.
pub(super) struct Read<'a> {
    layers: &'a Layers,
}

impl Read<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        self.layers.value(names::broker_key(name)?)
    }

    pub(super) fn count<T: TryFrom<i64>>(&self, name: &str) -> Result<T, String> {
        match self.value(name) {
            Some(Value::Number(number)) => T::try_from(number)
                .map_err(|_| format!("Invalid value {number} for configuration {name}")),
            _ => Err(format!("{name} has no value")),
        }
    }

    pub(super) fn millis(&self, name: &str) -> Result<Duration, String> {
        self.count(name).map(Duration::from_millis)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.value(name) {
            Some(Value::Boolean(flag)) => Ok(flag),
            _ => Err(format!("{name} has no value")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<String, String> {
        match self.value(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(format!("{name} has no value")),
        }
    }

    fn optional_text(&self, name: &str) -> Option<String> {
        self.text(name).ok().filter(|text| !text.is_empty())
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, String> {
        match self.value(name) {
            Some(Value::List(items)) => Ok(items),
            _ => Err(format!("{name} has no value")),
        }
    }

    /// Reads `name=value,…` of a secret.
    fn pairs(&self, name: &str) -> Result<Secret<Vec<(String, String)>>, String> {
        let Some(Value::Password(secret)) = self.value(name) else {
            return Err(format!("{name} has no value"));
        };
        let pairs: Option<Vec<_>> = split_list(secret.expose())
            .into_iter()
            .map(|item| {
                let (key, value) = item.split_once('=')?;
                Some((key.trim().to_owned(), value.trim().to_owned()))
            })
            .collect();
        pairs.map(Secret::new).ok_or_else(|| format!("{name} must be name=value,name=value,…"))
    }
}

#[cfg(test)]
mod tests;

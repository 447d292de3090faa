//! What the network side and the handlers read of the configuration, parsed and in units.
//!
//! The keys, their defaults, ranges and documentation live in `config`; this is the typed result,
//! replaced as a whole when a dynamic key changes ([`crate::context::Broker::set_options`]).

use std::time::Duration;

/// The typed settings. Field docs name the key that each comes from.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// `advertised.listeners`: what Metadata tells clients to connect to.
    pub advertised: Endpoint,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `socket.request.max.bytes`: the largest frame, bytes.
    pub request_bytes_max: usize,
    /// `connections.max.idle.ms`.
    pub idle_max: Duration,
    /// `max.connections`.
    pub connections_max: usize,
    /// `max.connections.per.ip`.
    pub connections_per_ip_max: usize,
    /// `streamhouse.max.inflight.produce`: Produce requests of one connection that overlap.
    pub inflight_produce_max: usize,
    /// `streamhouse.memory.requests.bytes`: the pool that frames are charged to.
    pub request_pool_bytes: usize,
    /// `streamhouse.memory.fetch.bytes`: the pool that fetched records are charged to.
    pub fetch_pool_bytes: usize,
    /// `fetch.max.bytes`: the most that one Fetch answers, bytes.
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// `streamhouse.max.delayed.fetches`: long polls that may wait at once.
    pub delayed_fetches_max: usize,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `num.partitions`: of an auto-created topic.
    pub num_partitions: i32,
    /// `default.replication.factor`: of an auto-created topic.
    pub default_replication_factor: i16,
    /// `streamhouse.max.decompressed.bytes`: bound on what one batch decompresses to.
    pub decompressed_bytes_max: usize,
    /// `add.partitions.to.txn.retry.backoff.max.ms`: how long a request waits for its producer's
    /// last transaction to be completed.
    pub add_partitions_patience: Duration,
    /// `transaction.partition.verification.enable`: whether batches of producers older than KIP-890
    /// are verified with the coordinator.
    pub verify_transactions: bool,
    /// `group.coordinator.rebalance.protocols`: whether the consumer protocol (KIP-848) is among them.
    pub consumer_protocol: bool,
}

/// Where clients reach the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Listener name, such as `PLAINTEXT`.
    pub listener: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl BrokerOptions {
    /// Kafka's defaults, and ours where Kafka has no such key, for a broker reached at
    /// `advertised`.
    #[must_use]
    pub fn new(advertised: Endpoint) -> Self {
        Self {
            advertised,
            rack: None,
            request_bytes_max: 100 << 20,
            idle_max: Duration::from_secs(600),
            connections_max: 10_000,
            connections_per_ip_max: 10_000,
            inflight_produce_max: 64,
            request_pool_bytes: 128 << 20,
            fetch_pool_bytes: 64 << 20,
            fetch_bytes_max: 55 << 20,
            fetch_sessions_max: 1000,
            delayed_fetches_max: 100_000,
            auto_create_topics: true,
            num_partitions: 1,
            default_replication_factor: 1,
            decompressed_bytes_max: 256 << 20,
            add_partitions_patience: Duration::from_millis(100),
            verify_transactions: true,
            consumer_protocol: true,
        }
    }
}

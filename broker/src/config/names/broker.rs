//! The broker keys that Kafka 4.3 has too: those that act here, and those that a user's
//! `server.properties` commonly carries.

use super::{ConfigKey, ConfigType, Effect, UpdateMode, Validator, hours, keys, minutes, same};

use Validator::{Any, AtLeast, Between, GzipLevel, ListOf, NonEmptyList, OneOf, OneOfAnyCase};

#[rustfmt::skip]
pub(super) const KEYS: &[ConfigKey] = keys! {
    "add.partitions.to.txn.retry.backoff.max.ms" Int = Some("100"), AtLeast(0), ReadOnly, Acts:
        "How long a request waits for its producer's last transaction to be completed, before CONCURRENT_TRANSACTIONS.";
    "add.partitions.to.txn.retry.backoff.ms" Int = Some("20"), AtLeast(1), ReadOnly, Inert:
        "Kafka's pause between attempts to add a partition; here the completion itself wakes who waits.";
    "advertised.listeners" List = None, Any, ReadOnly, Acts:
        "Addresses that clients are told to connect to; must be set where listeners binds to all addresses.";
    "alter.config.policy.class.name" Class = None, Any, ReadOnly, Refused:
        "Java class that may veto AlterConfigs.";
    "authorizer.class.name" String = Some(""), Any, ReadOnly, Refused:
        "Java class of the authorizer.";
    "auto.create.topics.enable" Boolean = Some("true"), Any, ReadOnly, Acts:
        "Whether a Metadata request for an unknown topic creates it.";
    "auto.leader.rebalance.enable" Boolean = Some("true"), Any, ReadOnly, Inert:
        "Kafka's leader balancing; partitions have one owner here.";
    "background.threads" Int = Some("10"), AtLeast(1), ClusterWide, Inert:
        "Kafka's threads for background work.";
    "broker.heartbeat.interval.ms" Int = Some("2000"), Any, ReadOnly, Inert:
        "Kafka's interval of broker heartbeats.";
    "broker.id" Int = Some("-1"), Any, ReadOnly, Acts:
        "Older name of node.id; both must agree where both are set.";
    "broker.rack" String = None, Any, ReadOnly, Acts:
        "Rack of this broker, as clients are told.";
    "broker.session.timeout.ms" Int = Some("9000"), Any, ReadOnly, Inert:
        "Kafka's time without heartbeat after which a broker is fenced.";
    "client.quota.callback.class" Class = None, Any, ReadOnly, Refused:
        "Java class that computes client quotas.";
    "compression.gzip.level" Int = Some("-1"), GzipLevel, ClusterWide, Acts:
        "Default of the topic key of the same name.";
    "compression.lz4.level" Int = Some("9"), Between(1, 17), ClusterWide, Inert:
        "Default of the topic key of the same name.";
    "compression.type" String = Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), ClusterWide, Acts:
        "Default of the topic key of the same name.";
    "compression.zstd.level" Int = Some("3"), Between(-131_072, 22), ClusterWide, Acts:
        "Default of the topic key of the same name.";
    "connections.max.idle.ms" Long = Some("600000"), Any, ReadOnly, Acts:
        "A connection without a request for this long is closed.";
    "connections.max.reauth.ms" Long = Some("0"), Any, ReadOnly, Inert:
        "Longest life of an authenticated session; there is no authentication yet.";
    "controlled.shutdown.enable" Boolean = Some("true"), Any, ReadOnly, Inert:
        "Kafka's hand-over at shutdown; shutting down is always graceful here.";
    "controller.listener.names" List = Some(""), Any, ReadOnly, Acts:
        "Names in listeners that belong to Kafka's controller; they are left out here.";
    "create.topic.policy.class.name" Class = None, Any, ReadOnly, Refused:
        "Java class that may veto CreateTopics.";
    "default.replication.factor" Int = Some("1"), Any, ReadOnly, Acts:
        "Replication factor stored for a topic created with -1 or by auto-creation.";
    "delegation.token.secret.key" Password = None, Any, ReadOnly, Refused:
        "Key that signs delegation tokens.";
    "delete.topic.enable" Boolean = Some("true"), Any, ReadOnly, Acts:
        "Whether DeleteTopics is allowed.";
    "fetch.max.bytes" Int = Some("57671680"), AtLeast(1024), ReadOnly, Acts:
        "Most bytes in one Fetch answer, whatever the client asks for.";
    "fetch.purgatory.purge.interval.requests" Int = Some("1000"), Any, ReadOnly, Inert:
        "Kafka's purge interval of waiting fetches.";
    "follower.replication.throttled.rate" Long = Some("9223372036854775807"), AtLeast(0), ClusterWide, Inert:
        "Kafka's bytes a second of throttled replication, on the follower's side.";
    "group.consumer.assignment.interval.ms" Int = Some("1000"), AtLeast(0), ClusterWide, Acts:
        "Least time between two assignments of a consumer group (KIP-1263).";
    "group.consumer.assignor.offload.enable" Boolean = Some("true"), Any, ReadOnly, Inert:
        "Kafka's thread for assignments; they are computed in place here.";
    "group.consumer.assignors" List = Some("uniform,range"), Any, ReadOnly, Acts:
        "Server-side assignors of the consumer protocol (KIP-848).";
    "group.consumer.heartbeat.interval.ms" Int = Some("5000"), AtLeast(1), ReadOnly, Acts:
        "Heartbeat interval told to members of consumer groups (KIP-848).";
    "group.consumer.max.assignment.interval.ms" Int = Some("15000"), AtLeast(0), ReadOnly, Acts:
        "Largest assignment interval a group may set.";
    "group.consumer.max.heartbeat.interval.ms" Int = Some("15000"), AtLeast(1), ReadOnly, Acts:
        "Largest heartbeat interval a group may set.";
    "group.consumer.max.session.timeout.ms" Int = Some("60000"), AtLeast(1), ReadOnly, Acts:
        "Largest session timeout a group may set.";
    "group.consumer.max.size" Int = Some("2147483647"), AtLeast(1), ReadOnly, Acts:
        "Most members of one consumer group (KIP-848).";
    "group.consumer.migration.policy" String = Some("bidirectional"), OneOfAnyCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), ReadOnly, Acts:
        "Which moves between the classic and the consumer protocol are allowed.";
    "group.consumer.min.assignment.interval.ms" Int = Some("0"), AtLeast(0), ReadOnly, Acts:
        "Smallest assignment interval a group may set.";
    "group.consumer.min.heartbeat.interval.ms" Int = Some("5000"), AtLeast(1), ReadOnly, Acts:
        "Smallest heartbeat interval a group may set.";
    "group.consumer.min.session.timeout.ms" Int = Some("45000"), AtLeast(1), ReadOnly, Acts:
        "Smallest session timeout a group may set.";
    "group.consumer.regex.refresh.interval.ms" Int = Some("600000"), AtLeast(10_000), ReadOnly, Acts:
        "How often the topics of a group's regular expressions are looked up again.";
    "group.consumer.session.timeout.ms" Int = Some("45000"), AtLeast(1), ReadOnly, Acts:
        "Session timeout of consumer groups (KIP-848).";
    "group.coordinator.append.linger.ms" Int = Some("-1"), AtLeast(-1), ReadOnly, Inert:
        "Kafka's linger of coordinator writes; writes are grouped by the sync here.";
    "group.coordinator.background.threads" Int = Some("2"), AtLeast(1), ReadOnly, Inert:
        "Kafka's threads for regular expressions and assignments.";
    "group.coordinator.cached.buffer.max.bytes" Int = Some("1048588"), AtLeast(524_288), ClusterWide, Inert:
        "Kafka's largest buffer that is kept for reuse.";
    "group.coordinator.rebalance.protocols" List = Some("classic,consumer,streams"), ListOf(&["consumer", "classic", "share", "streams"]), ReadOnly, Acts:
        "Rebalance protocols that are served; classic always is. Without consumer, ConsumerGroupHeartbeat is answered UNSUPPORTED_VERSION.";
    "group.coordinator.threads" Int = Some("4"), AtLeast(1), ReadOnly, Inert:
        "Kafka's threads of the group coordinator.";
    "group.initial.rebalance.delay.ms" Int = Some("3000"), Any, ReadOnly, Acts:
        "Wait for more members before the first rebalance of an empty classic group.";
    "group.max.session.timeout.ms" Int = Some("1800000"), Any, ReadOnly, Acts:
        "Largest session timeout of classic group members.";
    "group.max.size" Int = Some("2147483647"), AtLeast(1), ReadOnly, Acts:
        "Most members of one classic group.";
    "group.min.session.timeout.ms" Int = Some("6000"), Any, ReadOnly, Acts:
        "Smallest session timeout of classic group members.";
    "initial.broker.registration.timeout.ms" Int = Some("60000"), Any, ReadOnly, Inert:
        "Kafka's wait for the controller at start.";
    "inter.broker.listener.name" String = None, Any, ReadOnly, Inert:
        "Listener that Kafka's brokers use among themselves.";
    "leader.imbalance.check.interval.seconds" Long = Some("300"), AtLeast(1), ReadOnly, Inert:
        "Kafka's interval of leader balancing.";
    "leader.replication.throttled.rate" Long = Some("9223372036854775807"), AtLeast(0), ClusterWide, Inert:
        "Kafka's bytes a second of throttled replication, on the leader's side.";
    "listener.security.protocol.map" String = Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Any, ReadOnly, Acts:
        "Security protocol of each listener name; only PLAINTEXT is supported.";
    "listeners" List = Some("PLAINTEXT://127.0.0.1:9092"), NonEmptyList, ReadOnly, Acts:
        "Addresses to listen on, as NAME://host:port; an empty host is all addresses, port 0 a free one.";
    "log.cleaner.backoff.ms" Long = Some("15000"), AtLeast(0), ClusterWide, Acts:
        "Time between two rounds of compaction by key.";
    "log.cleaner.dedupe.buffer.size" Long = Some("134217728"), Any, ClusterWide, Acts:
        "Most memory for the keys of one pass of compaction; a partition with more keys takes several passes.";
    "log.cleaner.delete.retention.ms" Long = Some("86400000"), AtLeast(0), ClusterWide, Acts:
        "Default of the topic key delete.retention.ms.";
    "log.cleaner.enable" Boolean = Some("true"), Any, ReadOnly, Acts:
        "Whether topics with cleanup.policy=compact are compacted.";
    "log.cleaner.io.buffer.load.factor" Double = Some("0.9"), Any, ClusterWide, Inert:
        "Kafka's fill of its table of keys; ours is not made in advance.";
    "log.cleaner.io.buffer.size" Int = Some("524288"), AtLeast(0), ClusterWide, Inert:
        "Kafka's read and write buffers of the log cleaner.";
    "log.cleaner.io.max.bytes.per.second" Double = Some("1.7976931348623157E308"), Any, ClusterWide, Inert:
        "Kafka's throttle of the log cleaner.";
    "log.cleaner.max.compaction.lag.ms" Long = Some("9223372036854775807"), AtLeast(1), ClusterWide, Acts:
        "Default of the topic key max.compaction.lag.ms.";
    "log.cleaner.min.cleanable.ratio" Double = Some("0.5"), Between(0, 1), ClusterWide, Acts:
        "Default of the topic key min.cleanable.dirty.ratio.";
    "log.cleaner.min.compaction.lag.ms" Long = Some("0"), AtLeast(0), ClusterWide, Acts:
        "Default of the topic key min.compaction.lag.ms.";
    "log.cleaner.threads" Int = Some("1"), AtLeast(0), ClusterWide, Inert:
        "Kafka's threads of the log cleaner.";
    "log.cleanup.policy" List = Some("delete"), ListOf(&["compact", "delete"]), ClusterWide, Acts:
        "Default of the topic key cleanup.policy.";
    "log.dir" List = Some("/tmp/kafka-logs"), NonEmptyList, ReadOnly, Acts:
        "Kafka's data directory; used, if set, where streamhouse.data.dir and log.dirs are not.";
    "log.dirs" List = None, NonEmptyList, ReadOnly, Acts:
        "Kafka's data directories; used, if set to one directory, where streamhouse.data.dir is not.";
    "log.flush.interval.messages" Long = Some("9223372036854775807"), AtLeast(1), ClusterWide, Inert:
        "Default of the topic key flush.messages.";
    "log.flush.interval.ms" Long = None, Any, ClusterWide, Inert, [same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]:
        "Default of the topic key flush.ms.";
    "log.flush.scheduler.interval.ms" Long = Some("9223372036854775807"), Any, ReadOnly, Inert:
        "Kafka's interval of checks for logs to sync.";
    "log.index.interval.bytes" Int = Some("4096"), AtLeast(0), ClusterWide, Inert:
        "Default of the topic key index.interval.bytes.";
    "log.index.size.max.bytes" Int = Some("10485760"), AtLeast(4), ClusterWide, Inert:
        "Default of the topic key segment.index.bytes.";
    "log.local.retention.bytes" Long = Some("-2"), AtLeast(-2), ClusterWide, Inert:
        "Default of the topic key local.retention.bytes.";
    "log.local.retention.ms" Long = Some("-2"), AtLeast(-2), ClusterWide, Inert:
        "Default of the topic key local.retention.ms.";
    "log.message.timestamp.after.max.ms" Long = Some("3600000"), AtLeast(0), ClusterWide, Acts:
        "Default of the topic key message.timestamp.after.max.ms.";
    "log.message.timestamp.before.max.ms" Long = Some("9223372036854775807"), AtLeast(0), ClusterWide, Acts:
        "Default of the topic key message.timestamp.before.max.ms.";
    "log.message.timestamp.type" String = Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), ClusterWide, Acts:
        "Default of the topic key message.timestamp.type.";
    "log.preallocate" Boolean = Some("false"), Any, ClusterWide, Inert:
        "Default of the topic key preallocate.";
    "log.retention.bytes" Long = Some("-1"), Any, ClusterWide, Acts:
        "Default of the topic key retention.bytes.";
    "log.retention.check.interval.ms" Long = Some("300000"), AtLeast(1), ReadOnly, Acts:
        "How often retention is applied.";
    "log.retention.hours" Int = Some("168"), Any, ReadOnly, Acts:
        "Default of the topic key retention.ms, in hours; weaker than log.retention.minutes.";
    "log.retention.minutes" Int = None, Any, ReadOnly, Acts, [same("log.retention.minutes"), same("log.retention.hours")]:
        "Default of the topic key retention.ms, in minutes; weaker than log.retention.ms.";
    "log.retention.ms" Long = None, Any, ClusterWide, Acts, [same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")]:
        "Default of the topic key retention.ms.";
    "log.roll.hours" Int = Some("168"), AtLeast(1), ReadOnly, Acts:
        "Default of the topic key segment.ms, in hours; weaker than log.roll.ms.";
    "log.roll.jitter.hours" Int = Some("0"), AtLeast(0), ReadOnly, Inert:
        "Default of the topic key segment.jitter.ms, in hours.";
    "log.roll.jitter.ms" Long = None, Any, ClusterWide, Inert, [same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")]:
        "Default of the topic key segment.jitter.ms.";
    "log.roll.ms" Long = None, Any, ClusterWide, Acts, [same("log.roll.ms"), hours("log.roll.hours")]:
        "Default of the topic key segment.ms.";
    "log.segment.bytes" Int = Some("1073741824"), AtLeast(1_048_576), ClusterWide, Acts:
        "Default of the topic key segment.bytes.";
    "log.segment.delete.delay.ms" Long = Some("60000"), AtLeast(0), ClusterWide, Inert:
        "Default of the topic key file.delete.delay.ms.";
    "max.connection.creation.rate" Int = Some("2147483647"), AtLeast(0), ClusterWide, Inert:
        "Kafka's most new connections a second.";
    "max.connections" Int = Some("2147483647"), AtLeast(0), ClusterWide, Acts:
        "Most open connections; further ones are closed at once.";
    "max.connections.per.ip" Int = Some("2147483647"), AtLeast(0), ClusterWide, Acts:
        "Most open connections from one address; further ones are closed at once.";
    "max.connections.per.ip.overrides" String = Some(""), Any, ClusterWide, Inert:
        "Kafka's other limits for single addresses.";
    "max.incremental.fetch.session.cache.slots" Int = Some("1000"), AtLeast(0), ReadOnly, Acts:
        "Most incremental fetch sessions (KIP-227) kept.";
    "max.request.partition.size.limit" Int = Some("2000"), AtLeast(1), ReadOnly, Acts:
        "Most partitions in one DescribeTopicPartitions answer.";
    "message.max.bytes" Int = Some("1048588"), AtLeast(0), ClusterWide, Acts:
        "Default of the topic key max.message.bytes.";
    "metric.reporters" List = Some(""), Any, ClusterWide, Inert:
        "Java classes of metrics reporters; metrics are on the HTTP listener's /metrics.";
    "min.insync.replicas" Int = Some("1"), AtLeast(1), ClusterWide, Inert:
        "Default of the topic key min.insync.replicas.";
    "node.id" Int = Some("1"), AtLeast(0), ReadOnly, Acts:
        "Id of this broker; kept with the data from the first start on.";
    "num.io.threads" Int = Some("8"), AtLeast(1), ClusterWide, Inert:
        "Kafka's request threads; tasks run on one thread per core here.";
    "num.network.threads" Int = Some("3"), AtLeast(1), ClusterWide, Inert:
        "Kafka's network threads; tasks run on one thread per core here.";
    "num.partitions" Int = Some("1"), AtLeast(1), ReadOnly, Acts:
        "Partitions of a topic created with -1 or by auto-creation.";
    "num.recovery.threads.per.data.dir" Int = Some("2"), AtLeast(1), ClusterWide, Inert:
        "Kafka's threads of log recovery.";
    "num.replica.fetchers" Int = Some("1"), AtLeast(1), ClusterWide, Inert:
        "Kafka's threads of replication.";
    "offset.metadata.max.bytes" Int = Some("4096"), Any, ReadOnly, Acts:
        "Longest metadata text of a committed offset.";
    "offsets.commit.timeout.ms" Int = Some("5000"), AtLeast(1), ReadOnly, Inert:
        "Longest wait of an offset commit for its write.";
    "offsets.load.buffer.size" Int = Some("5242880"), AtLeast(1), ReadOnly, Inert:
        "Bytes read at once while offsets are loaded.";
    "offsets.retention.check.interval.ms" Long = Some("600000"), AtLeast(1), ReadOnly, Acts:
        "How often expired offsets are looked for.";
    "offsets.retention.minutes" Int = Some("10080"), AtLeast(1), ReadOnly, Acts:
        "How long an empty group's offsets are kept.";
    "offsets.topic.compression.codec" Int = Some("0"), Between(0, 4), ReadOnly, Acts:
        "Codec of the offsets topic, as Kafka's codec id.";
    "offsets.topic.num.partitions" Int = Some("50"), AtLeast(1), ReadOnly, Acts:
        "Partitions of the offsets topic; fixed once it exists.";
    "offsets.topic.replication.factor" Short = Some("3"), AtLeast(1), ReadOnly, Acts:
        "Replication factor stored for the offsets topic.";
    "offsets.topic.segment.bytes" Int = Some("104857600"), AtLeast(1), ReadOnly, Acts:
        "segment.bytes of the offsets topic.";
    "principal.builder.class" Class = Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"), Any, ReadOnly, Refused:
        "Java class that builds principals.";
    "process.roles" List = Some("broker"), ListOf(&["broker", "controller"]), ReadOnly, Inert:
        "Kafka's roles of this process; StreamHouse is always both.";
    "producer.id.expiration.check.interval.ms" Int = Some("600000"), AtLeast(1), ReadOnly, Acts:
        "How often producers are checked for expiration.";
    "producer.id.expiration.ms" Int = Some("86400000"), AtLeast(1), ClusterWide, Acts:
        "How long the state of an idle idempotent producer is kept.";
    "producer.purgatory.purge.interval.requests" Int = Some("1000"), Any, ReadOnly, Inert:
        "Kafka's purge interval of waiting produces.";
    "queued.max.request.bytes" Long = Some("-1"), Any, ReadOnly, Inert:
        "Kafka's bytes of waiting requests; streamhouse.memory.bytes bounds them here.";
    "queued.max.requests" Int = Some("500"), AtLeast(1), ReadOnly, Inert:
        "Kafka's count of waiting requests; streamhouse.memory.bytes bounds them here.";
    "replica.alter.log.dirs.io.max.bytes.per.second" Long = Some("9223372036854775807"), AtLeast(0), ClusterWide, Inert:
        "Kafka's bytes a second of moves between log directories.";
    "request.timeout.ms" Int = Some("30000"), Any, ReadOnly, Inert:
        "Kafka's time limit of its own requests to other nodes.";
    "security.inter.broker.protocol" String = Some("PLAINTEXT"), OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), ReadOnly, Refused:
        "Security protocol between brokers.";
    "socket.connection.setup.timeout.max.ms" Long = Some("30000"), Any, ReadOnly, Inert:
        "Kafka's largest time to set up its own connections.";
    "socket.connection.setup.timeout.ms" Long = Some("10000"), Any, ReadOnly, Inert:
        "Kafka's time to set up its own connections.";
    "socket.listen.backlog.size" Int = Some("50"), AtLeast(1), ReadOnly, Inert:
        "Kafka's connections that may wait to be accepted; up to 1024 may wait here.";
    "socket.receive.buffer.bytes" Int = Some("102400"), Any, ReadOnly, Inert:
        "Kafka's SO_RCVBUF; the operating system tunes it here.";
    "socket.request.max.bytes" Int = Some("104857600"), AtLeast(1), ReadOnly, Acts:
        "Largest request; a larger one closes its connection.";
    "socket.send.buffer.bytes" Int = Some("102400"), Any, ReadOnly, Inert:
        "Kafka's SO_SNDBUF; the operating system tunes it here.";
    "telemetry.max.bytes" Int = Some("1048576"), AtLeast(1), ReadOnly, Inert:
        "Largest metrics push of a client (KIP-714).";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms" Int = Some("10000"), AtLeast(1), ReadOnly, Acts:
        "How soon the abort of a timed-out transaction is tried again; the first one is in time.";
    "transaction.max.timeout.ms" Int = Some("900000"), AtLeast(1), ReadOnly, Acts:
        "Largest timeout a transaction may ask for.";
    "transaction.partition.verification.enable" Boolean = Some("true"), Any, ClusterWide, Acts:
        "Whether a transactional produce is verified with the coordinator.";
    "transaction.remove.expired.transaction.cleanup.interval.ms" Int = Some("3600000"), AtLeast(1), ReadOnly, Acts:
        "How often expired transactional ids are removed.";
    "transaction.state.log.load.buffer.size" Int = Some("5242880"), AtLeast(1), ReadOnly, Inert:
        "Bytes read at once while transaction state is loaded.";
    "transaction.state.log.min.isr" Int = Some("2"), AtLeast(1), ReadOnly, Acts:
        "Least in-sync replicas stored for the transaction topic.";
    "transaction.state.log.num.partitions" Int = Some("50"), AtLeast(1), ReadOnly, Acts:
        "Partitions of the transaction topic; fixed once it exists.";
    "transaction.state.log.replication.factor" Short = Some("3"), AtLeast(1), ReadOnly, Acts:
        "Replication factor stored for the transaction topic.";
    "transaction.state.log.segment.bytes" Int = Some("104857600"), AtLeast(1), ReadOnly, Acts:
        "segment.bytes of the transaction topic.";
    "transaction.two.phase.commit.enable" Boolean = Some("false"), Any, ReadOnly, Acts:
        "Whether transactions may be prepared by the client (KIP-939).";
    "transactional.id.expiration.ms" Int = Some("604800000"), AtLeast(1), ReadOnly, Acts:
        "How long an idle transactional id is kept.";
    "unclean.leader.election.enable" Boolean = Some("false"), Any, ClusterWide, Inert:
        "Default of the topic key of the same name.";
};

//! Entry point of the load generator: parses the command line and runs one load on one thread.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use streamhouse_bench::process::Process;
use streamhouse_bench::report::Report;
use streamhouse_bench::{
    cluster, commits, compaction, consume, groups, latency, produce, rebalance, transactions,
};

/// Loads a Kafka broker with prepared batches over many connections, and prints `RESULT` lines.
#[derive(Debug, Parser)]
#[command(name = "streamhouse-bench")]
struct Arguments {
    /// Broker, host:port.
    #[arg(long)]
    bootstrap: String,
    /// Name of the broker in the figures.
    #[arg(long, default_value = "broker")]
    label: String,
    /// Process id of the broker: adds its CPU seconds and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Topic.
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 12)]
    partitions: i32,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the topic.
    Create {
        /// `key=value` of the topic, such as flush.messages=1.
        #[arg(long)]
        config: Vec<String>,
    },
    /// Delete the topic.
    Delete,
    /// Wait until the broker answers and print how long that took.
    Await {
        /// Name of the run in the figures.
        #[arg(long, default_value = "start")]
        test: String,
    },
    /// Produce as fast as acknowledged.
    Produce(ProduceArguments),
    /// Produce at a fixed rate and time the acknowledgements, with --tail also the arrivals.
    Latency(LatencyArguments),
    /// Commit small transactions one after the other, and time them.
    Transactions(TransactionsArguments),
    /// Read the topic from its start to its end.
    Consume {
        /// Connections.
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// Name of the run in the figures.
        #[arg(long, default_value = "consume")]
        test: String,
        /// fetch.max.bytes.
        #[arg(long, default_value_t = 52_428_800)]
        max_bytes: i32,
        /// max.partition.fetch.bytes.
        #[arg(long, default_value_t = 1_048_576)]
        partition_max_bytes: i32,
    },
    /// Rebalance a group of the classic protocol.
    Rebalance {
        /// The group, which must be empty.
        #[arg(long, default_value = "bench-rebalance")]
        group: String,
        /// Members, a connection each.
        #[arg(long, default_value_t = 100)]
        members: usize,
        /// Rebalances after the one that forms the group.
        #[arg(long, default_value_t = 20)]
        rounds: u32,
    },
    /// Form many groups whose members heartbeat and do nothing else.
    Groups(GroupsArguments),
    /// Wait until a broker that was started anew has loaded the groups of such a run.
    GroupsLoaded(GroupsArguments),
    /// Commit offsets for many groups as fast as acknowledged.
    Commits(CommitsArguments),
    /// Fill a compacted topic, which is made, and wait until it is clean.
    Compaction(CompactionArguments),
    /// Leave the broker alone and see what it uses.
    Idle {
        /// Seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}

#[derive(Debug, Args)]
struct ProduceArguments {
    /// Connections, each a producer.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests in flight per connection.
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
    /// Batches per request, of different partitions.
    #[arg(long, default_value_t = 3)]
    batches_per_request: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Bytes of a batch before compression.
    #[arg(long, default_value_t = 16_384)]
    batch_bytes: usize,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none")]
    compression: String,
    /// 0, 1 or -1.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    acks: i16,
    /// With producer ids and sequence numbers.
    #[arg(long)]
    idempotent: bool,
    /// Seconds before the clock starts.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct LatencyArguments {
    /// Connections.
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Records per second.
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// 1 or -1.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    acks: i16,
    /// A reader follows; its latencies are reported too.
    #[arg(long)]
    tail: bool,
    /// Seconds before latencies count.
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct TransactionsArguments {
    /// Producers, each with a connection and a transactional id.
    #[arg(long, default_value_t = 1)]
    producers: usize,
    /// Partitions that each transaction writes a record to.
    #[arg(long, default_value_t = 1)]
    partitions_per_transaction: i32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// As clients before KIP-890.
    #[arg(long)]
    old_protocol: bool,
    /// Seconds before the clock starts.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct GroupsArguments {
    /// classic or consumer.
    #[arg(long, value_enum, default_value = "classic")]
    protocol: groups::Protocol,
    /// What the groups' ids begin with.
    #[arg(long, default_value = "bench-groups")]
    prefix: String,
    /// Groups.
    #[arg(long, default_value_t = 1000)]
    groups: usize,
    /// Members of each.
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// Connections that members share.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests in flight per connection.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Classic groups that are formed at once.
    #[arg(long, default_value_t = 32)]
    lanes: usize,
    /// Seconds between two heartbeats of a member in the paced part.
    #[arg(long, default_value_t = 3.0)]
    interval: f64,
    /// Seconds of each part.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct CommitsArguments {
    #[command(flatten)]
    groups: GroupsArguments,
    /// Each group has a member, which commits.
    #[arg(long)]
    with_members: bool,
    /// Partitions in a commit.
    #[arg(long, default_value_t = 5)]
    partitions_per_commit: i32,
    /// Seconds before the clock starts.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
}

#[derive(Debug, Args)]
struct CompactionArguments {
    /// MiB of values that are cleaned.
    #[arg(long, default_value_t = 512)]
    fill_mib: u64,
    /// Keys of each partition.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Bytes of a batch.
    #[arg(long, default_value_t = 16_384)]
    batch_bytes: usize,
    /// segment.bytes in MiB.
    #[arg(long, default_value_t = 16)]
    segment_mib: u64,
    /// `key=value` of the topic.
    #[arg(long)]
    config: Vec<String>,
}

// One thread: the second core is the broker's.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let address = cluster::resolve(&arguments.bootstrap).await?;
    let (topic, partitions) = (arguments.topic.clone(), arguments.partitions);
    let (label, process) = (arguments.label.as_str(), Process(arguments.pid));
    match arguments.command {
        Command::Create { config } => {
            cluster::create_topic(address, &topic, partitions, &pairs(&config)).await
        }
        Command::Await { test } => {
            let report = Report::begin(label, &test, process)?;
            cluster::wait_until_it_answers(address).await?;
            report.end().map(drop)
        }
        Command::Delete => cluster::delete_topic(address, &topic).await,
        Command::Produce(asked) => {
            let load = asked.load(topic, partitions);
            produce::run(address, load, label, process).await
        }
        Command::Latency(asked) => {
            let load = asked.load(topic, partitions);
            latency::run(address, load, label, process).await
        }
        Command::Transactions(asked) => {
            let load = asked.load(topic, partitions);
            transactions::run(address, load, label, process).await
        }
        Command::Consume { connections, test, max_bytes, partition_max_bytes } => {
            let load =
                consume::Load { topic, partitions, connections, max_bytes, partition_max_bytes };
            consume::run(address, &load, label, &test, process).await
        }
        Command::Rebalance { group, members, rounds } => {
            let load =
                rebalance::Load { group, members: members.max(1), rounds, topic, partitions };
            rebalance::run(address, load, label, process).await
        }
        Command::Groups(asked) => {
            groups::run(address, asked.load(topic, partitions), label, process).await
        }
        Command::GroupsLoaded(asked) => {
            groups::loaded(address, asked.load(topic, partitions), label, process).await
        }
        Command::Commits(asked) => {
            commits::run(address, asked.load(topic, partitions), label, process).await
        }
        Command::Compaction(asked) => {
            compaction::run(address, asked.load(topic, partitions), label, process).await
        }
        Command::Idle { seconds } => {
            let report = Report::begin(label, "idle", process)?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            report.end().map(drop)
        }
    }
}

fn pairs(config: &[String]) -> Vec<(String, String)> {
    let pairs = config.iter().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl ProduceArguments {
    fn load(self, topic: String, partitions: i32) -> produce::Load {
        produce::Load {
            topic,
            partitions,
            connections: self.connections.max(1),
            in_flight: self.in_flight.max(1),
            batches_per_request: self.batches_per_request.max(1),
            record_bytes: self.record_bytes,
            batch_bytes: self.batch_bytes,
            compression: self.compression,
            acks: self.acks,
            idempotent: self.idempotent,
            warm_up: Duration::from_secs_f64(self.warm_up),
            duration: Duration::from_secs_f64(self.seconds),
        }
    }
}

impl LatencyArguments {
    fn load(self, topic: String, partitions: i32) -> latency::Load {
        latency::Load {
            topic,
            partitions,
            connections: self.connections.max(1),
            rate: self.rate,
            record_bytes: self.record_bytes,
            acks: self.acks,
            tail: self.tail,
            warm_up: Duration::from_secs_f64(self.warm_up),
            duration: Duration::from_secs_f64(self.seconds),
        }
    }
}

impl TransactionsArguments {
    fn load(self, topic: String, partitions: i32) -> transactions::Load {
        transactions::Load {
            topic,
            partitions,
            producers: self.producers.max(1),
            partitions_per_transaction: self.partitions_per_transaction.max(1),
            record_bytes: self.record_bytes,
            old_protocol: self.old_protocol,
            warm_up: Duration::from_secs_f64(self.warm_up),
            duration: Duration::from_secs_f64(self.seconds),
        }
    }
}

impl GroupsArguments {
    fn load(self, topic: String, partitions: i32) -> groups::Load {
        groups::Load {
            protocol: self.protocol,
            prefix: self.prefix,
            groups: self.groups.max(1),
            members: self.members.max(1),
            topic,
            partitions,
            connections: self.connections.max(1),
            in_flight: self.in_flight.max(1),
            lanes: self.lanes.max(1),
            interval: Duration::from_secs_f64(self.interval.max(0.001)),
            duration: Duration::from_secs_f64(self.seconds),
        }
    }
}

impl CommitsArguments {
    fn load(self, topic: String, partitions: i32) -> commits::Load {
        commits::Load {
            groups: groups::Load { members: 1, ..self.groups.load(topic, partitions) },
            with_members: self.with_members,
            partitions_per_commit: self.partitions_per_commit.max(1),
            warm_up: Duration::from_secs_f64(self.warm_up),
        }
    }
}

impl CompactionArguments {
    fn load(self, topic: String, partitions: i32) -> compaction::Load {
        compaction::Load {
            topic,
            partitions,
            fill_mib: self.fill_mib,
            keys: self.keys,
            record_bytes: self.record_bytes,
            batch_bytes: self.batch_bytes,
            segment_mib: self.segment_mib,
            configs: pairs(&self.config),
        }
    }
}

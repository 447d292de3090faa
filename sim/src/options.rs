//! What one seed decides: the swarm toggles of the faults, the load, and the sizes.
//!
//! Each fault is on with probability one half, so that some runs have none, some have one, and the
//! others combine them (swarm testing). Invariant: the seed decides all of it.

use std::fmt;

use common::rng::Rng;

use crate::groups::Protocol;

/// The faults of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultToggles {
    /// The machine loses power at a random operation of its disk.
    pub power_loss: bool,
    /// The process is killed at a random time; the disk keeps what was written.
    pub kill: bool,
    /// A clean shutdown ends some lives.
    pub clean_stop: bool,
    /// Writes to the WAL fail.
    pub write_errors: bool,
    /// A sync of the WAL fails and drops the data.
    pub sync_failure: bool,
    /// The disk is full for a while.
    pub disk_full: bool,
    /// Operations of the disk take up to half a second.
    pub slow_disk: bool,
    /// Requests to the object store fail, before or after their effect, or never answer.
    pub object_errors: bool,
    /// The object store is away for simulated minutes.
    pub object_outage: bool,
    /// The object store is slow.
    pub object_latency: bool,
    /// Clients cut their connections with requests in flight.
    pub network_cuts: bool,
}

/// How one producer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerOptions {
    /// Whether it has a producer id and sequence numbers (then acks is -1).
    pub idempotent: bool,
    /// `acks`: 0, 1 or -1.
    pub acks: i16,
    /// Requests in flight at most.
    pub in_flight: usize,
    /// Batches that it makes in all.
    pub batches: u32,
    /// Longest pause between batches, milliseconds.
    pub pause_ms_max: u64,
}

/// A group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupOptions {
    /// What its members speak.
    pub protocol: Protocol,
    /// Its members.
    pub members: u32,
}

/// Everything that a seed decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Lives of the broker under faults; one without follows.
    pub lives: u32,
    /// The faults.
    pub faults: FaultToggles,
    /// Partitions of the topic with durability local.
    pub local_partitions: i32,
    /// Partitions of the topic with durability object; 0 for no such topic.
    pub object_partitions: i32,
    /// The producers.
    pub producers: Vec<ProducerOptions>,
    /// Consumers.
    pub fetchers: u32,
    /// Transactional producers.
    pub transactors: u32,
    /// Groups that consume the topic with durability local.
    pub groups: Vec<GroupOptions>,
    /// Whether DeleteRecords happen.
    pub delete_records: bool,
    /// Whether a topic is created, filled and deleted again and again.
    pub topic_churn: bool,
    /// Longest value, bytes.
    pub value_bytes_max: usize,
    /// Size of a WAL file, bytes.
    pub wal_file_bytes: u64,
    /// Bound on all WAL files, bytes.
    pub wal_max_bytes: u64,
    /// Bound on the tail in memory, bytes.
    pub tail_bytes: u64,
    /// Whether topics change their durability class.
    pub class_changes: bool,
}

impl Options {
    /// What `seed` decides.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let on = || rng.below(2) == 0;
        let faults = FaultToggles {
            power_loss: on(),
            kill: on(),
            clean_stop: on(),
            write_errors: on(),
            sync_failure: on(),
            disk_full: on(),
            slow_disk: on(),
            object_errors: on(),
            object_outage: on(),
            object_latency: on(),
            network_cuts: on(),
        };
        let producers = 1 + rng.below(4) as usize;
        Self {
            seed,
            lives: 1 + rng.below(4) as u32,
            faults,
            local_partitions: 1 + rng.below(3) as i32,
            object_partitions: if on() { 1 + rng.below(2) as i32 } else { 0 },
            producers: (0..producers).map(|index| ProducerOptions::sample(&rng, index)).collect(),
            fetchers: 1 + rng.below(3) as u32,
            delete_records: on(),
            topic_churn: on(),
            value_bytes_max: if on() { 600 } else { 40_000 },
            wal_file_bytes: 1 << 20,
            wal_max_bytes: if on() { 4 << 20 } else { 64 << 20 },
            tail_bytes: if on() { 1 << 20 } else { 8 << 20 },
            class_changes: on(),
            transactors: rng.below(3) as u32,
            groups: GroupOptions::sample(seed),
        }
    }
}

impl GroupOptions {
    /// None, one, or one of each protocol. Drawn apart, so that the rest of a seed stays what it was.
    fn sample(seed: u64) -> Vec<Self> {
        let rng = Rng::seeded(seed ^ 0x6B0_0F5);
        let (classic, consumer) = (rng.below(2) == 0, rng.below(2) == 0);
        let mut groups = Vec::new();
        for (on, protocol) in [(classic, Protocol::Classic), (consumer, Protocol::Consumer)] {
            if on {
                groups.push(Self { protocol, members: 1 + rng.below(4) as u32 });
            }
        }
        groups
    }
}

impl ProducerOptions {
    /// The first producer of a run is idempotent; the others are what comes.
    fn sample(rng: &Rng, index: usize) -> Self {
        let idempotent = index == 0 || rng.below(2) == 0;
        let acks = match rng.below(4) {
            0 => 0,
            1 => 1,
            _ => -1,
        };
        Self {
            idempotent,
            acks: if idempotent { -1 } else { acks },
            in_flight: 1 + rng.below(5) as usize,
            batches: 20 + rng.below(100) as u32,
            pause_ms_max: [10, 200, 800][rng.below(3) as usize],
        }
    }
}

impl FaultToggles {
    /// The names of those that are on.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            (self.power_loss, "power-loss"),
            (self.kill, "kill"),
            (self.clean_stop, "clean-stop"),
            (self.write_errors, "write-errors"),
            (self.sync_failure, "sync-failure"),
            (self.disk_full, "disk-full"),
            (self.slow_disk, "slow-disk"),
            (self.object_errors, "object-errors"),
            (self.object_outage, "object-outage"),
            (self.object_latency, "object-latency"),
            (self.network_cuts, "network-cuts"),
        ];
        all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} lives {} faults [{}] partitions local {} object {} fetchers {} transactors {} \
             delete-records {} topic-churn {} class-changes {} value {} B wal {}/{} MiB tail {} MiB producers",
            self.seed,
            self.lives,
            self.faults.names().join(" "),
            self.local_partitions,
            self.object_partitions,
            self.fetchers,
            self.transactors,
            self.delete_records,
            self.topic_churn,
            self.class_changes,
            self.value_bytes_max,
            self.wal_file_bytes >> 20,
            self.wal_max_bytes >> 20,
            self.tail_bytes >> 20,
        )?;
        for producer in &self.producers {
            let kind = if producer.idempotent { "idempotent" } else { "plain" };
            write!(
                f,
                " [{kind} acks {} in-flight {} batches {}]",
                producer.acks, producer.in_flight, producer.batches
            )?;
        }
        for group in &self.groups {
            write!(f, " [group {:?} members {}]", group.protocol, group.members)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_decides_one_way() {
        assert_eq!(Options::from_seed(7), Options::from_seed(7));
        assert_ne!(Options::from_seed(7), Options::from_seed(8));
    }

    #[test]
    fn every_fault_is_on_in_about_half_of_the_seeds() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..400 {
            for name in Options::from_seed(seed).faults.names() {
                *counts.entry(name).or_insert(0) += 1;
            }
        }
        assert_eq!(counts.len(), 11);
        assert!(counts.values().all(|count| (140..260).contains(count)), "{counts:?}");
    }
}

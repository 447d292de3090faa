//! The offsets of a shard: by group, topic and partition, committed ones and those of transactions
//! that are not over.

use std::collections::{BTreeMap, BTreeSet};

use common::ProducerId;
use protocol::coordinator_records::offset_commit::OffsetCommitValue;
use uuid::Uuid;

/// An offset as a group committed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Where the record lies: of two commits the later record counts.
    pub record_offset: i64,
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record read, if known.
    pub leader_epoch: Option<i32>,
    /// What the committer wanted to keep.
    pub metadata: String,
    /// When it was committed, Unix milliseconds.
    pub commit_timestamp_ms: i64,
    /// When it expires by the committer's own wish, Unix milliseconds.
    pub expire_timestamp_ms: Option<i64>,
    /// The topic, nil where the committer did not know.
    pub topic_id: Uuid,
}

impl CommittedOffset {
    /// What a record says.
    #[must_use]
    pub fn replayed(record_offset: i64, value: OffsetCommitValue) -> Self {
        Self {
            record_offset,
            offset: value.offset,
            leader_epoch: Some(value.leader_epoch).filter(|epoch| *epoch >= 0),
            metadata: value.metadata,
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: Some(value.expire_timestamp).filter(|time| *time >= 0),
            topic_id: value.topic_id,
        }
    }
}

/// Offsets by group, topic and partition.
type ByGroup<T> = BTreeMap<String, BTreeMap<String, BTreeMap<i32, T>>>;

/// All offsets of a shard.
#[derive(Debug, Default)]
pub struct Offsets {
    committed: ByGroup<CommittedOffset>,
    pending: BTreeMap<ProducerId, ByGroup<CommittedOffset>>,
    /// Whose transactions hold offsets of a partition.
    open: ByGroup<BTreeSet<ProducerId>>,
}

impl Offsets {
    /// The committed offset of a partition.
    #[must_use]
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.committed.get(group)?.get(topic)?.get(&partition)
    }

    /// A group's committed offsets, by topic and partition.
    #[must_use]
    pub fn of_group(
        &self,
        group: &str,
    ) -> Option<&BTreeMap<String, BTreeMap<i32, CommittedOffset>>> {
        self.committed.get(group)
    }

    /// Every group with committed offsets.
    pub fn groups(
        &self,
    ) -> impl Iterator<Item = (&String, &BTreeMap<String, BTreeMap<i32, CommittedOffset>>)> {
        self.committed.iter()
    }

    /// Whether an open transaction holds an offset of the partition.
    #[must_use]
    pub fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let topics = self.open.get(group);
        topics.and_then(|topics| topics.get(topic)).is_some_and(|p| p.contains_key(&partition))
    }

    /// Whether an open transaction holds offsets of the group.
    #[must_use]
    pub fn has_pending(&self, group: &str) -> bool {
        self.open.contains_key(group)
    }

    /// The partitions of which open transactions hold offsets.
    pub fn pending_partitions(&self, group: &str) -> impl Iterator<Item = (&str, i32)> {
        let topics = self.open.get(group).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| partitions.keys().map(move |p| (topic.as_str(), *p)))
    }

    /// Every offset of every open transaction: group, topic, partition, offset.
    pub fn pending(&self) -> impl Iterator<Item = (&str, &str, i32, &CommittedOffset)> {
        self.pending.values().flat_map(all)
    }

    /// How many offsets are committed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.committed.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }

    pub(crate) fn insert(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: CommittedOffset,
    ) {
        insert(&mut self.committed, group, topic, partition, offset);
    }

    pub(crate) fn insert_pending(
        &mut self,
        producer_id: ProducerId,
        group: &str,
        topic: &str,
        partition: i32,
        offset: CommittedOffset,
    ) {
        let pending = self.pending.entry(producer_id).or_default();
        insert(pending, group, topic, partition, offset);
        entry(&mut self.open, group, topic, partition).insert(producer_id);
    }

    /// Forgets a partition's offset, and what open transactions hold of it.
    pub(crate) fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        remove(&mut self.committed, group, topic, partition);
        for producer_id in remove(&mut self.open, group, topic, partition).unwrap_or_default() {
            if let Some(pending) = self.pending.get_mut(&producer_id) {
                remove(pending, group, topic, partition);
            }
        }
    }

    /// A producer's transaction is over: its offsets are committed or dropped.
    pub(crate) fn complete_transaction(&mut self, producer_id: ProducerId, committed: bool) {
        for (group, topics) in self.pending.remove(&producer_id).unwrap_or_default() {
            for (topic, partitions) in topics {
                for (partition, offset) in partitions {
                    self.close(producer_id, &group, &topic, partition);
                    let newest = self.committed(&group, &topic, partition);
                    // A plain commit that came after the transaction's stays.
                    let wins = newest.is_none_or(|old| offset.record_offset > old.record_offset);
                    if committed && wins {
                        self.insert(&group, &topic, partition, offset);
                    }
                }
            }
        }
    }

    fn close(&mut self, producer_id: ProducerId, group: &str, topic: &str, partition: i32) {
        let topics = self.open.get_mut(group).and_then(|topics| topics.get_mut(topic));
        let Some(producers) = topics.and_then(|partitions| partitions.get_mut(&partition)) else {
            return;
        };
        producers.remove(&producer_id);
        if producers.is_empty() {
            remove(&mut self.open, group, topic, partition);
        }
    }
}

fn all<T>(offsets: &ByGroup<T>) -> impl Iterator<Item = (&str, &str, i32, &T)> {
    offsets.iter().flat_map(|(group, topics)| {
        topics.iter().flat_map(move |(topic, partitions)| {
            partitions.iter().map(move |(p, value)| (group.as_str(), topic.as_str(), *p, value))
        })
    })
}

fn insert<T>(offsets: &mut ByGroup<T>, group: &str, topic: &str, partition: i32, value: T) {
    // The common case allocates nothing: group and topic are there already.
    if let Some(partitions) = offsets.get_mut(group).and_then(|topics| topics.get_mut(topic)) {
        partitions.insert(partition, value);
        return;
    }
    let topics = offsets.entry(group.to_owned()).or_default();
    topics.entry(topic.to_owned()).or_default().insert(partition, value);
}

fn entry<'a, T: Default>(
    offsets: &'a mut ByGroup<T>,
    group: &str,
    topic: &str,
    partition: i32,
) -> &'a mut T {
    let topics = offsets.entry(group.to_owned()).or_default();
    topics.entry(topic.to_owned()).or_default().entry(partition).or_default()
}

/// Removes a value, and the maps that it leaves empty.
fn remove<T>(offsets: &mut ByGroup<T>, group: &str, topic: &str, partition: i32) -> Option<T> {
    let topics = offsets.get_mut(group)?;
    let partitions = topics.get_mut(topic)?;
    let removed = partitions.remove(&partition);
    if partitions.is_empty() {
        topics.remove(topic);
        if topics.is_empty() {
            offsets.remove(group);
        }
    }
    removed
}

//! The expected log: what clients sent, what was acknowledged, and what must still be there.
//!
//! Invariant: the model only learns from what a client could know. An acknowledgement or a read
//! *pins* a batch to an offset for ever; a batch without either may be in the log or not.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::{PartitionKey, TopicId, invariant::InvariantId};

use crate::invariants::Violation;

/// Number of a batch, unique in a run; the value of its first record begins with it.
pub type BatchId = u64;

/// Where an idempotent producer's batch stands in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Number of the batch's first record.
    pub base_sequence: i32,
}

/// What is known of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It may be in the log or not.
    Unknown,
    /// A durable acknowledgement (acks=all) promised this base offset.
    Acked(i64),
    /// Refused for good: it must never be read.
    Failed,
}

/// A batch that some client sent.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Where to.
    pub key: PartitionKey,
    /// The bytes as sent.
    pub bytes: Bytes,
    /// Records in it.
    pub records: i64,
    /// Whether its bytes do not match its CRC: it must be refused.
    pub damaged: bool,
    /// Its place in an idempotent producer's sequence.
    pub sequence: Option<Sequence>,
    /// How often it was put on a wire.
    pub attempts: u32,
    /// What became of it.
    pub fate: Fate,
}

/// A batch at its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The batch.
    pub id: BatchId,
    /// Offset of its last record.
    pub last_offset: i64,
}

/// What a client knew of a partition's offsets when it sent a request: no answer may say less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floors {
    /// The high watermark.
    pub high_watermark: i64,
    /// The log start.
    pub log_start: i64,
}

/// What is known of one partition.
#[derive(Debug, Clone, Default)]
pub struct PartitionLog {
    /// Batches whose offset is certain, by base offset.
    pub pinned: BTreeMap<i64, Placed>,
    /// The offsets of each pinned batch.
    pub placed: BTreeMap<BatchId, BTreeSet<i64>>,
    /// What the offsets may not fall behind.
    pub floors: Floors,
    /// The highest log start that a DeleteRecords asked for; no other retention runs.
    pub log_start_ceiling: i64,
    /// Sent and never acknowledged DeleteRecords make the log start uncertain up to the ceiling.
    pub deletions: u32,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Model {
    batches: BTreeMap<BatchId, Batch>,
    partitions: BTreeMap<PartitionKey, PartitionLog>,
    deleted: BTreeSet<TopicId>,
    next_id: BatchId,
}

impl Model {
    /// Knows of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number for the next batch.
    pub fn next_batch_id(&mut self) -> BatchId {
        self.next_id += 1;
        self.next_id
    }

    /// Learns of a partition.
    pub fn add_partition(&mut self, key: PartitionKey) {
        self.partitions.entry(key).or_default();
    }

    /// Learns of a batch before it is sent for the first time.
    pub fn add_batch(&mut self, id: BatchId, batch: Batch) {
        self.batches.insert(id, batch);
    }

    /// A batch.
    #[must_use]
    pub fn batch(&self, id: BatchId) -> Option<&Batch> {
        self.batches.get(&id)
    }

    /// Every batch, in order of numbers.
    pub fn batches(&self) -> impl Iterator<Item = (BatchId, &Batch)> {
        self.batches.iter().map(|(id, batch)| (*id, batch))
    }

    /// A partition, if its topic is not being deleted.
    #[must_use]
    pub fn partition(&self, key: &PartitionKey) -> Option<&PartitionLog> {
        self.partitions.get(key).filter(|_| !self.deleted.contains(&key.topic_id))
    }

    /// Every partition of a topic that is not being deleted.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionKey, &PartitionLog)> {
        let live = self.partitions.iter().filter(|(key, _)| !self.deleted.contains(&key.topic_id));
        live.map(|(key, partition)| (*key, partition))
    }

    /// A DeleteTopics was sent: from now on nothing is promised of the topic.
    pub fn delete_topic(&mut self, id: TopicId) {
        self.deleted.insert(id);
    }

    /// Whether a DeleteTopics was sent.
    #[must_use]
    pub fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted.contains(&id)
    }

    /// The batch goes on a wire, perhaps again.
    pub fn sending(&mut self, id: BatchId) {
        if let Some(batch) = self.batches.get_mut(&id) {
            batch.attempts += 1;
        }
    }

    /// The broker refused the batch in a way that rules out that it is in the log. Of an earlier
    /// attempt that proves nothing.
    pub fn refused(&mut self, id: BatchId) {
        if let Some(batch) = self.batches.get_mut(&id).filter(|batch| batch.attempts == 1) {
            batch.fate = Fate::Failed;
        }
    }

    /// An acks=all answer without an error.
    ///
    /// # Errors
    /// Where the offset contradicts what is known.
    pub fn acked(&mut self, id: BatchId, base_offset: i64) -> Result<(), Violation> {
        let Some(batch) = self.batches.get_mut(&id) else { return Ok(()) };
        let (key, records) = (batch.key, batch.records);
        if let Fate::Acked(before) = batch.fate
            && before != base_offset
            && batch.sequence.is_some()
        {
            let message = format!("{key}: batch {id} acked at {base_offset}, before at {before}");
            return Err(Violation::new(InvariantId::Idm1, message));
        }
        if base_offset < 0 {
            let message = format!("{key}: batch {id} acked at offset {base_offset}");
            return Err(Violation::new(InvariantId::Log1, message));
        }
        batch.fate = Fate::Acked(base_offset);
        self.pin(key, base_offset, id)?;
        if let Some(partition) = self.partitions.get_mut(&key) {
            let end = base_offset + records;
            partition.floors.high_watermark = partition.floors.high_watermark.max(end);
        }
        Ok(())
    }

    /// What the offsets of a partition may not fall behind, from now on.
    #[must_use]
    pub fn floors(&self, key: &PartitionKey) -> Floors {
        self.partitions.get(key).map(|partition| partition.floors).unwrap_or_default()
    }

    /// A DeleteRecords is being sent: the log start may move as far as this.
    pub fn deleting_records(&mut self, key: &PartitionKey, before: i64) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.log_start_ceiling = partition.log_start_ceiling.max(before);
            partition.deletions += 1;
        }
    }

    /// A batch is at an offset for ever.
    ///
    /// # Errors
    /// LOG-2 where another batch was there, IDM-1 where this batch is elsewhere too and no retry
    /// of a plain producer explains it.
    pub fn pin(&mut self, key: PartitionKey, base: i64, id: BatchId) -> Result<(), Violation> {
        let Some(batch) = self.batches.get(&id) else { return Ok(()) };
        let Some(partition) = self.partitions.get_mut(&key) else { return Ok(()) };
        let last_offset = base + batch.records - 1;
        let overlapping = partition.pinned.range(..=last_offset).next_back();
        if let Some((other_base, other)) = overlapping.filter(|(_, p)| p.last_offset >= base)
            && (*other_base, other.id) != (base, id)
        {
            let message = format!(
                "{key}: offsets {base}..={last_offset} hold batch {id}, before batch {} at {}..={}",
                other.id, other_base, other.last_offset
            );
            return Err(Violation::new(InvariantId::Log2, message));
        }
        partition.pinned.insert(base, Placed { id, last_offset });
        let offsets = partition.placed.entry(id).or_default();
        offsets.insert(base);
        let allowed = if batch.sequence.is_some() { 1 } else { batch.attempts as usize };
        if offsets.len() > allowed.max(1) {
            let message = format!(
                "{key}: batch {id} ({:?}, sent {} times) is at offsets {offsets:?}",
                batch.sequence, batch.attempts
            );
            return Err(Violation::new(InvariantId::Idm1, message));
        }
        Ok(())
    }

    /// An answer to a request that was sent at `floors` named these offsets.
    ///
    /// # Errors
    /// LOG-4 where one moved back, LOG-1 where the log start passed what anybody asked for.
    pub fn observe_offsets(
        &mut self,
        key: &PartitionKey,
        floors: Floors,
        log_start: Option<i64>,
        high_watermark: Option<i64>,
    ) -> Result<(), Violation> {
        let Some(partition) = self.partitions.get_mut(key) else { return Ok(()) };
        if let Some(found) = high_watermark {
            check_floor(key, "high watermark", found, floors.high_watermark)?;
            partition.floors.high_watermark = partition.floors.high_watermark.max(found);
        }
        if let Some(found) = log_start {
            check_floor(key, "log start", found, floors.log_start)?;
            if found > partition.log_start_ceiling {
                let ceiling = partition.log_start_ceiling;
                let message = format!("{key}: log start {found} is past the deletions' {ceiling}");
                return Err(Violation::new(InvariantId::Log1, message));
            }
            partition.floors.log_start = partition.floors.log_start.max(found);
        }
        if let (Some(log_start), Some(high_watermark)) = (log_start, high_watermark)
            && log_start > high_watermark
        {
            let message = format!("{key}: log start {log_start} > high watermark {high_watermark}");
            return Err(Violation::new(InvariantId::Log4, message));
        }
        Ok(())
    }
}

fn check_floor(key: &PartitionKey, what: &str, found: i64, floor: i64) -> Result<(), Violation> {
    if found >= floor {
        return Ok(());
    }
    let message = format!("{key}: {what} {found}, was {floor} before the request");
    Err(Violation::new(InvariantId::Log4, message))
}

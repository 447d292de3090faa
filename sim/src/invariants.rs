//! The rules of reliability that a run checks, over what reads return and what offsets say.
//!
//! LOG-1 acknowledged records stay readable, LOG-2 one value per offset, LOG-3 and LOG-5 no gap
//! and no overlap, LOG-4 offsets never move back, LOG-6 bytes read are bytes sent, IDM-1..3 no
//! duplicate, reordering or gap of an idempotent producer. The ids are those of
//! `common::invariant`.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use common::{PartitionKey, invariant::InvariantId};
use protocol::records::{Batch as WireBatch, CRC_POSITION, DecompressLimit, batches};

use crate::model::{BatchId, Fate, Floors, Model, Sequence};

/// Most that a batch of the simulator decompresses to, bytes.
const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;
/// Where a batch's part begins that a broker never changes: the CRC and what it covers.
const UNPATCHED_FROM: usize = CRC_POSITION;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Broken,
    /// What was found.
    pub message: String,
}

/// What a violation breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A named invariant.
    Invariant(InvariantId),
    /// After the faults, everything works again within the liveness phase.
    Liveness,
    /// The broker neither panics nor stops without a reason.
    Crash,
    /// An answer that Kafka's protocol does not allow.
    Protocol,
}

impl Violation {
    /// A broken invariant.
    #[must_use]
    pub fn new(invariant: InvariantId, message: String) -> Self {
        Self { invariant: Broken::Invariant(invariant), message }
    }

    /// Something did not work again after the faults.
    #[must_use]
    pub fn liveness(message: String) -> Self {
        Self { invariant: Broken::Liveness, message }
    }

    /// The broker stopped, or a task of it panicked.
    #[must_use]
    pub fn crash(message: String) -> Self {
        Self { invariant: Broken::Crash, message }
    }

    /// An answer that makes no sense.
    #[must_use]
    pub fn protocol(message: String) -> Self {
        Self { invariant: Broken::Protocol, message }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.invariant {
            Broken::Invariant(id) => write!(f, "{id}: {}", self.message),
            Broken::Liveness => write!(f, "LIVENESS: {}", self.message),
            Broken::Crash => write!(f, "CRASH: {}", self.message),
            Broken::Protocol => write!(f, "PROTOCOL: {}", self.message),
        }
    }
}

/// A fetch as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// The partition.
    pub key: PartitionKey,
    /// Where from.
    pub offset: i64,
    /// What the client knew when it asked.
    pub floors: Floors,
}

/// What a fetch answered, without an error.
#[derive(Debug, Clone)]
pub struct Answered {
    /// First readable offset.
    pub log_start: i64,
    /// Bound of the last stable offset.
    pub last_stable: i64,
    /// End of what is durable.
    pub high_watermark: i64,
    /// The record batches.
    pub records: Bytes,
}

/// A batch found by a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub id: BatchId,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
}

/// Checks the answer of a fetch and learns from it.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_read(
    model: &mut Model,
    read: &Read,
    answered: &Answered,
) -> Result<Vec<Found>, Violation> {
    let Answered { log_start, last_stable, high_watermark, .. } = *answered;
    let key = &read.key;
    model.observe_offsets(key, read.floors, Some(log_start), Some(high_watermark))?;
    if last_stable > high_watermark || last_stable < log_start {
        let message = format!("{key}: LSO {last_stable} not in {log_start}..={high_watermark}");
        return Err(Violation::new(InvariantId::Log4, message));
    }
    let mut found = Vec::new();
    let mut expected = None;
    let mut epoch = -1;
    for batch in batches(&answered.records) {
        let batch = batch.map_err(|error| damaged(read, &format!("unreadable batch: {error}")))?;
        let header = batch.header();
        let placed = (header.base_offset, header.last_offset());
        check_place(read, expected, placed, high_watermark)?;
        if header.partition_leader_epoch < epoch {
            let now = header.partition_leader_epoch;
            let message = format!("{key}: leader epoch {now} after {epoch} at {}", placed.0);
            return Err(Violation::new(InvariantId::Log3, message));
        }
        epoch = header.partition_leader_epoch;
        let id = check_bytes(model, read, &batch)?;
        model.pin(*key, placed.0, id)?;
        found.push(Found { id, base_offset: placed.0, last_offset: placed.1 });
        expected = Some(placed.1 + 1);
    }
    Ok(found)
}

/// The first batch contains the offset asked for, the next ones follow without a gap, and none
/// reaches past the high watermark.
fn check_place(
    read: &Read,
    expected: Option<i64>,
    (base, last): (i64, i64),
    high_watermark: i64,
) -> Result<(), Violation> {
    let Read { key, offset, .. } = read;
    let in_order = match expected {
        None => base <= *offset && *offset <= last,
        Some(expected) => base == expected,
    };
    if !in_order {
        let wanted = expected.unwrap_or(*offset);
        let message = format!("{key}: read from {offset}: batch {base}..={last}, wanted {wanted}");
        return Err(Violation::new(InvariantId::Log5, message));
    }
    if last >= high_watermark {
        let message = format!("{key}: batch {base}..={last} at high watermark {high_watermark}");
        return Err(Violation::new(InvariantId::Log4, message));
    }
    Ok(())
}

/// The bytes are those that somebody sent to this partition, but for what a broker fills in.
fn check_bytes(model: &Model, read: &Read, batch: &WireBatch) -> Result<BatchId, Violation> {
    let base = batch.header().base_offset;
    batch.verify_crc().map_err(|error| damaged(read, &format!("at {base}: {error}")))?;
    let id = batch_id(batch).map_err(|reason| damaged(read, &format!("at {base}: {reason}")))?;
    let Some(sent) = model.batch(id) else {
        return Err(damaged(read, &format!("batch {id} at {base} was never sent")));
    };
    if sent.key != read.key {
        return Err(damaged(read, &format!("batch {id} at {base} was sent to {}", sent.key)));
    }
    if sent.bytes.get(UNPATCHED_FROM..) != batch.bytes().get(UNPATCHED_FROM..) {
        return Err(damaged(read, &format!("batch {id} at {base} is not what was sent")));
    }
    if sent.fate == Fate::Failed {
        return Err(damaged(read, &format!("batch {id} at {base} was refused")));
    }
    Ok(id)
}

fn damaged(read: &Read, what: &str) -> Violation {
    let message = format!("{}: read from {}: {what}", read.key, read.offset);
    Violation::new(InvariantId::Log6, message)
}

/// The number at the start of the first record's value.
fn batch_id(batch: &WireBatch) -> Result<BatchId, String> {
    let limit = DecompressLimit { max_bytes: DECOMPRESSED_BYTES_MAX };
    let view = batch.borrowed();
    let plain = view.decompressed(limit).map_err(|error| error.to_string())?;
    let first = plain.iter().next().ok_or("no records")?.map_err(|error| error.to_string())?;
    let id = first.value.and_then(|value| value.first_chunk::<8>()).ok_or("no number")?;
    Ok(BatchId::from_be_bytes(*id))
}

/// Checks an error where the offset must be readable.
///
/// # Errors
/// LOG-1 where the offset was durable and no deletion can have reached it.
pub fn check_out_of_range(model: &Model, read: &Read) -> Result<(), Violation> {
    let Some(partition) = model.partition(&read.key) else { return Ok(()) };
    if read.offset > read.floors.high_watermark || read.offset < partition.log_start_ceiling {
        return Ok(());
    }
    let message = format!(
        "{}: offset {} is out of range, high watermark was {}, deleted below {}",
        read.key, read.offset, read.floors.high_watermark, partition.log_start_ceiling
    );
    Err(Violation::new(InvariantId::Log1, message))
}

/// Checks a partition once it was read from its log start to its end after all faults.
///
/// # Errors
/// LOG-1 for a promised batch that is not where it was, IDM-2 and IDM-3 for the order of an
/// idempotent producer's batches.
pub fn check_whole(
    model: &Model,
    key: &PartitionKey,
    log_start: i64,
    found: &[Found],
) -> Result<(), Violation> {
    let Some(partition) = model.partition(key) else { return Ok(()) };
    let by_offset: BTreeMap<i64, &Found> = found.iter().map(|f| (f.base_offset, f)).collect();
    for (base, placed) in &partition.pinned {
        let there = by_offset.get(base).is_some_and(|found| found.id == placed.id);
        if placed.last_offset >= log_start && !there {
            let fate = model.batch(placed.id).map(|batch| batch.fate);
            let message = format!(
                "{key}: batch {} ({fate:?}) is no more at {base}..={}",
                placed.id, placed.last_offset
            );
            return Err(Violation::new(InvariantId::Log1, message));
        }
    }
    for (id, batch) in model.batches() {
        if let (Fate::Acked(base), true) = (batch.fate, batch.key == *key)
            && base + batch.records > log_start
            && by_offset.get(&base).is_none_or(|found| found.id != id)
        {
            let message = format!("{key}: batch {id} acked at {base} was not read");
            return Err(Violation::new(InvariantId::Log1, message));
        }
    }
    check_sequences(model, key, found)
}

/// In the order of offsets, each producer's sequence numbers go on without a gap.
fn check_sequences(model: &Model, key: &PartitionKey, found: &[Found]) -> Result<(), Violation> {
    let mut next: BTreeMap<(i64, i16), i32> = BTreeMap::new();
    for Found { id, base_offset, .. } in found {
        let Some(batch) = model.batch(*id) else { continue };
        let Some(Sequence { producer_id, producer_epoch, base_sequence }) = batch.sequence else {
            continue;
        };
        let records = i32::try_from(batch.records).unwrap_or(i32::MAX);
        let after = base_sequence.wrapping_add(records);
        let expected = next.insert((producer_id, producer_epoch), after);
        let Some(expected) = expected.filter(|expected| *expected != base_sequence) else {
            continue;
        };
        let rule = if base_sequence < expected { InvariantId::Idm2 } else { InvariantId::Idm3 };
        let message = format!(
            "{key}: producer {producer_id} epoch {producer_epoch}: sequence {base_sequence} at \
             offset {base_offset}, expected {expected}"
        );
        return Err(Violation::new(rule, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

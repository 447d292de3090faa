//! Producers and their transactions in a partition's section of the footer.
//!
//! Invariant: what [`ProducerUpdate`] had before there were markers keeps its bytes; markers are an
//! addition to the section, which only footers with an incompatible feature bit have.

use super::{FormatError, PartitionFooter, Reader, Writer};
use crate::txn_index::AbortedTransaction;

/// What an extent does to the state of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerUpdate {
    /// The producer.
    pub producer_id: i64,
    /// Its newest epoch.
    pub producer_epoch: i16,
    /// Offset of its last transaction marker in the extent.
    pub marker_offset: Option<i64>,
    /// Epoch of the coordinator that wrote that marker, or an earlier one; -1 for none.
    pub coordinator_epoch: i32,
    /// First offset, as far as the extent shows, of the transaction that is open at its end.
    pub txn_first_offset: Option<i64>,
    /// Largest timestamp among its batches, milliseconds.
    pub last_timestamp: i64,
    /// Its last batches of that epoch, oldest first, at most five.
    pub batches: Vec<ProducerBatch>,
}

/// A batch remembered for duplicate detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence of its first record.
    pub base_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Its max timestamp, milliseconds.
    pub timestamp: i64,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
}

/// An aborted transaction, as far as an extent shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedUpdate {
    /// Its producer.
    pub producer_id: i64,
    /// Its first offset, as far as the extent shows; `None` where it shows none.
    pub first_offset: Option<i64>,
    /// Whether it may have begun before the extent.
    pub may_begin_before: bool,
    /// Offset of its marker.
    pub last_offset: i64,
}

impl From<&AbortedTransaction> for AbortedUpdate {
    fn from(aborted: &AbortedTransaction) -> Self {
        Self {
            producer_id: aborted.producer_id,
            first_offset: Some(aborted.first_offset),
            may_begin_before: false,
            last_offset: aborted.last_offset,
        }
    }
}

impl PartitionFooter {
    pub(super) fn has_markers(&self) -> bool {
        !self.aborted.is_empty()
            || self.producers.iter().any(|producer| producer.coordinator_epoch >= 0)
    }

    pub(super) fn encode_markers(&self, out: &mut Writer) {
        let ended = || self.producers.iter().filter(|producer| producer.coordinator_epoch >= 0);
        out.uvarint(ended().count() as u64);
        for producer in ended() {
            out.varint(producer.producer_id);
            out.varint(i64::from(producer.coordinator_epoch));
        }
        out.uvarint(self.aborted.len() as u64);
        for aborted in &self.aborted {
            out.varint(aborted.producer_id);
            out.varint(aborted.last_offset);
            let first_offset = aborted.first_offset.unwrap_or(aborted.last_offset);
            out.uvarint(aborted.last_offset.wrapping_sub(first_offset) as u64);
            out.u8(u8::from(aborted.may_begin_before));
        }
    }
}

/// Reads what [`PartitionFooter::encode_markers`] wrote: the coordinators' epochs go to their
/// producers, which ascend by id.
pub(super) fn decode_markers(
    producers: &mut [ProducerUpdate],
    reader: &mut Reader<'_>,
) -> Result<Vec<AbortedUpdate>, FormatError> {
    for _ in 0..reader.count(2)? {
        let producer_id = reader.varint()?;
        let coordinator_epoch = i32::try_from(reader.varint()?)
            .map_err(|_| FormatError::Invalid("coordinator epoch beyond 32 bits"))?;
        let at = producers.binary_search_by_key(&producer_id, |found| found.producer_id);
        let producer = at.ok().and_then(|at| producers.get_mut(at));
        producer
            .ok_or(FormatError::Invalid("a coordinator epoch without its producer"))?
            .coordinator_epoch = coordinator_epoch;
    }
    let count = reader.count(AbortedUpdate::ENCODED_BYTES_MIN)?;
    let mut aborted: Vec<AbortedUpdate> = Vec::with_capacity(count);
    for _ in 0..count {
        let next = AbortedUpdate::decode(reader)?;
        if aborted.last().is_some_and(|last| last.last_offset >= next.last_offset) {
            return Err(FormatError::Invalid("aborted transactions out of order"));
        }
        aborted.push(next);
    }
    Ok(aborted)
}

impl AbortedUpdate {
    const ENCODED_BYTES_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (producer_id, last_offset) = (reader.varint()?, reader.varint()?);
        // A transaction has a record before its marker, so no distance means that none is shown.
        let first_offset = match reader.uvarint()? {
            0 => None,
            distance => Some(
                i64::try_from(distance)
                    .ok()
                    .and_then(|distance| last_offset.checked_sub(distance))
                    .filter(|first_offset| *first_offset >= 0)
                    .ok_or(FormatError::Invalid("a transaction before the log"))?,
            ),
        };
        let may_begin_before = reader.u8()? != 0;
        Ok(Self { producer_id, first_offset, may_begin_before, last_offset })
    }
}

impl ProducerUpdate {
    pub(super) const ENCODED_BYTES_MIN: usize = 5;
    const HAS_MARKER: u8 = 1;
    const HAS_TXN: u8 = 2;

    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(self.producer_id);
        out.varint(i64::from(self.producer_epoch));
        out.varint(self.last_timestamp);
        let mut flags = 0;
        if self.marker_offset.is_some() {
            flags |= Self::HAS_MARKER;
        }
        if self.txn_first_offset.is_some() {
            flags |= Self::HAS_TXN;
        }
        out.u8(flags);
        for offset in [self.marker_offset, self.txn_first_offset].into_iter().flatten() {
            out.varint(offset);
        }
        out.uvarint(self.batches.len() as u64);
        for batch in &self.batches {
            out.varint(i64::from(batch.base_sequence));
            out.varint(i64::from(batch.last_sequence));
            out.varint(batch.base_offset);
            out.varint(batch.last_offset);
            out.varint(batch.timestamp);
            out.u8(u8::from(batch.transactional));
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let producer_id = reader.varint()?;
        let producer_epoch = i16::try_from(reader.varint()?)
            .map_err(|_| FormatError::Invalid("producer epoch beyond 16 bits"))?;
        let last_timestamp = reader.varint()?;
        let flags = reader.u8()?;
        let mut optional = |flag| (flags & flag != 0).then(|| reader.varint()).transpose();
        let marker_offset = optional(Self::HAS_MARKER)?;
        let txn_first_offset = optional(Self::HAS_TXN)?;
        let count = reader.count(6)?;
        if count > common::limits::PRODUCER_BATCHES_RETAINED {
            return Err(FormatError::Invalid("more batches of a producer than are kept"));
        }
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            batches.push(ProducerBatch {
                base_sequence: sequence(reader)?,
                last_sequence: sequence(reader)?,
                base_offset: reader.varint()?,
                last_offset: reader.varint()?,
                timestamp: reader.varint()?,
                transactional: reader.u8()? != 0,
            });
        }
        Ok(Self {
            producer_id,
            producer_epoch,
            marker_offset,
            coordinator_epoch: -1,
            txn_first_offset,
            last_timestamp,
            batches,
        })
    }
}

fn sequence(reader: &mut Reader<'_>) -> Result<i32, FormatError> {
    i32::try_from(reader.varint()?).map_err(|_| FormatError::Invalid("sequence beyond 32 bits"))
}

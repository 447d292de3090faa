//! Which batches of a run a read takes: whole ones, from the offset asked for on, below the bound
//! and as many as fit. Decided from the batches' headers alone, wherever their bytes are.

use std::{io, ops::Range};

use bytes::Bytes;
use protocol::{Records, Slice, records::BatchHeader};

use super::ReadRequest;

/// Collects batches up to a byte bound.
pub(super) struct Gather {
    pub(super) records: Records,
    pub(super) next_offset: i64,
    bytes: usize,
    max_bytes: usize,
    min_one_batch: bool,
    bound: i64,
    full: bool,
}

/// What is still wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    next_offset: i64,
    bound: i64,
    room: usize,
    needs_first: bool,
}

/// The part of a run that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selected {
    /// Whole batches; empty where none fits.
    pub(super) range: Range<usize>,
    next_offset: i64,
    full: bool,
}

/// Why a run cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// These cannot be the bytes that were written.
    Damage(String),
    /// The system's.
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Gather {
    pub(super) fn new(request: &ReadRequest, bound: i64) -> Self {
        Self {
            records: Records::default(),
            bytes: 0,
            max_bytes: request.max_bytes,
            min_one_batch: request.min_one_batch,
            next_offset: request.offset,
            bound,
            full: false,
        }
    }

    pub(super) fn wants_more(&self) -> bool {
        !self.full && (self.bytes < self.max_bytes || self.needs_first())
    }

    pub(super) fn needs_first(&self) -> bool {
        self.min_one_batch && self.bytes == 0
    }

    pub(super) fn room(&self) -> usize {
        self.max_bytes.saturating_sub(self.bytes)
    }

    pub(super) fn want(&self) -> Want {
        Want {
            next_offset: self.next_offset,
            bound: self.bound,
            room: self.room(),
            needs_first: self.needs_first(),
        }
    }

    /// Takes the run's batches from `next_offset` on, as far as there is room. An error says why
    /// these cannot be the bytes that were written.
    pub(super) fn take_run(&mut self, run: &Bytes) -> Result<(), String> {
        let header_at = |at| {
            BatchHeader::parse(run.get(at..).unwrap_or_default())
                .map_err(|error| Unreadable::Damage(error.to_string()))
        };
        let selected = self.want().select(run.len(), header_at).map_err(|error| match error {
            Unreadable::Damage(reason) => reason,
            Unreadable::Io(error) => error.to_string(),
        })?;
        self.take_bytes(&selected, run.slice(selected.range.clone()));
        Ok(())
    }

    /// Takes what was selected, in memory.
    pub(super) fn take_bytes(&mut self, selected: &Selected, bytes: Bytes) {
        self.took(selected);
        self.records.push(bytes);
    }

    /// Takes what was selected, where it lies.
    pub(super) fn take_slice(&mut self, selected: &Selected, slice: Slice) {
        self.took(selected);
        self.records.push_slice(slice);
    }

    fn took(&mut self, selected: &Selected) {
        self.bytes += selected.range.len();
        self.next_offset = selected.next_offset;
        self.full |= selected.full;
    }

    /// Takes what was read from an object up to `next_offset`.
    pub(super) fn take_cold(&mut self, records: Records, next_offset: i64) {
        self.full = records.is_empty();
        self.bytes += records.len();
        self.next_offset = next_offset;
        self.records.append(records);
    }
}

impl Want {
    /// The batches to take from a run of `len` bytes, whose headers `header_at` reads.
    pub(super) fn select(
        &self,
        len: usize,
        mut header_at: impl FnMut(usize) -> Result<BatchHeader, Unreadable>,
    ) -> Result<Selected, Unreadable> {
        let (mut from, mut to, mut next_offset) = (None, 0, self.next_offset);
        let (mut at, mut full) = (0, false);
        while at < len {
            let header = header_at(at)?;
            if header.base_offset >= self.bound {
                full = true;
                break;
            }
            let batch = header.total_len();
            if batch > len - at {
                let reason = format!("a batch of {batch} bytes where {} are left", len - at);
                return Err(Unreadable::Damage(reason));
            }
            if header.last_offset() >= self.next_offset {
                let start = *from.get_or_insert(at);
                let first = self.needs_first && start == at;
                if at + batch - start > self.room && !first {
                    full = true;
                    break;
                }
                to = at + batch;
                next_offset = header.next_offset();
            }
            at += batch;
        }
        match from {
            None if !full => Err(Unreadable::Damage("its batches are of other offsets".to_owned())),
            Some(from) if to > from => Ok(Selected { range: from..to, next_offset, full }),
            _ => Ok(Selected { range: 0..0, next_offset: self.next_offset, full }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use protocol::records::{BatchBuilder, Compression, set_base_offset};

    use super::*;
    use crate::read::IsolationLevel;

    fn gather() -> Gather {
        let request = ReadRequest {
            offset: 7,
            max_bytes: 1 << 20,
            min_one_batch: true,
            isolation: IsolationLevel::ReadUncommitted,
        };
        Gather::new(&request, 100)
    }

    fn batch_at(offset: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(0, 0, None, Some(b"value"), &[]).unwrap();
        let mut bytes = builder.build().unwrap().to_vec();
        set_base_offset(&mut bytes, offset).unwrap();
        bytes
    }

    #[test]
    fn a_run_is_taken_up_to_the_bound() {
        let mut gather = gather();
        let bytes = [batch_at(7), batch_at(8), batch_at(100)].concat();
        gather.take_run(&bytes.into()).unwrap();
        assert_eq!((gather.next_offset, gather.full), (9, true));
    }

    #[test]
    fn damaged_offsets_and_lengths_are_errors_not_endless_reads_or_panics() {
        assert!(gather().take_run(&batch_at(3).into()).is_err());
        let mut long = batch_at(7);
        long[10] = 1;
        assert!(gather().take_run(&long.into()).is_err());
        assert!(gather().take_run(&Bytes::new()).is_err());
    }
}

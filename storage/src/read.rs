//! Reading a partition: hot from arenas, warm from the WAL's file, cold from objects (design D6).
//!
//! A read plans one step under the partition's lock, does its I/O without it, and plans again
//! from where it got to, because extents may be replaced meanwhile. What it returns is whole
//! batches, the first of which contains the offset asked for, all below the bound of its
//! isolation level.

mod gather;
mod slice;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use metadata::Extent;
use protocol::Records;

use self::gather::Gather;
use crate::{
    error::ReadError,
    object::{self, Form, ObjectRef, Wanted},
    partition::{Partition, State},
    txn_index::AbortedTransaction,
    wal::WalFileRef,
};

/// Attempts to plan a read anew when its object has gone.
const RESOLVE_ATTEMPTS: usize = 5;

/// Which records a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All durable ones.
    ReadUncommitted,
    /// Those below the last stable offset, with aborted transactions named.
    ReadCommitted,
}

/// A read of one partition.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest {
    /// First offset wanted.
    pub offset: i64,
    /// Bound on the batches' bytes.
    pub max_bytes: usize,
    /// Return the first batch even if it alone is larger than `max_bytes` (KIP-74).
    pub min_one_batch: bool,
    /// What may be seen.
    pub isolation: IsolationLevel,
}

/// What a read found.
#[derive(Debug)]
pub struct ReadResult {
    /// Whole batches, in order; the first contains the offset asked for.
    pub records: Records,
    /// Aborted transactions that overlap them, in read_committed.
    pub aborted: Vec<AbortedTransaction>,
    /// The high watermark when the read was planned.
    pub high_watermark: i64,
    /// The last stable offset when the read was planned.
    pub last_stable_offset: i64,
    /// The log start when the read was planned.
    pub log_start_offset: i64,
}

/// One step of a read.
#[derive(Debug)]
pub(crate) enum Step {
    /// Neither a run nor an extent has the offset, which breaks LOG-5.
    Missing,
    Hot(Bytes),
    Warm {
        file: Arc<WalFileRef>,
        position: u64,
        len: u32,
    },
    Cold {
        object: Arc<ObjectRef>,
        extent: Extent,
        end_offset: i64,
    },
}

impl Partition {
    /// Reads batches from `request.offset` on. Empty where the offset is at or above the bound.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] outside `[log_start, log_end]`; storage failures and damage
    /// otherwise.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadResult, ReadError> {
        self.read_as(request, Form::Memory).await
    }

    /// As [`Self::read`], but what lies in local files may come as slices of them, for a socket.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_for_socket(&self, request: ReadRequest) -> Result<ReadResult, ReadError> {
        self.read_as(request, Form::Slices).await
    }

    async fn read_as(&self, request: ReadRequest, form: Form) -> Result<ReadResult, ReadError> {
        loop {
            if let Some(result) = self.try_read(&request, form).await? {
                return Ok(result);
            }
        }
    }

    /// Reads; `None` where what the aborted transactions were has been forgotten meanwhile.
    async fn try_read(
        &self,
        request: &ReadRequest,
        form: Form,
    ) -> Result<Option<ReadResult>, ReadError> {
        let Begun { mut result, bound, aborted_version } = self.begin_read(request)?;
        let mut gather = Gather::new(request, bound);
        let mut attempts = 0;
        while gather.wants_more() && gather.next_offset < bound {
            match self.plan(gather.next_offset, bound)? {
                Step::Missing if gather.records.is_empty() => {
                    let reason = "nothing holds the offset (invariant LOG-5)";
                    return Err(self.damaged(gather.next_offset, reason));
                }
                // What was found is answered first.
                Step::Missing => break,
                Step::Hot(run) => self.take_run(&mut gather, &run)?,
                Step::Warm { file, position, len } if form == Form::Slices => {
                    self.take_slice(&mut gather, file, position, len as usize).await?;
                }
                Step::Warm { file, position, len } => {
                    let run = self.read_wal(file, position, len, gather.next_offset).await?;
                    self.take_run(&mut gather, &run)?;
                }
                Step::Cold { object, extent, end_offset } => {
                    match self.read_object(&gather, &object, &extent, end_offset, form).await {
                        Ok((records, next_offset)) => gather.take_cold(records, next_offset),
                        Err(object::Error::Gone { .. }) if attempts < RESOLVE_ATTEMPTS => {
                            attempts += 1;
                        }
                        Err(error) => return Err(self.cold_error(gather.next_offset, &error)),
                    }
                }
            }
        }
        if let Some(version) = aborted_version.filter(|_| !gather.records.is_empty()) {
            let range = request.offset..gather.next_offset;
            let Some(aborted) = self.aborted_in(range, version)? else { return Ok(None) };
            result.aborted = aborted;
        }
        result.records = gather.records;
        Ok(Some(result))
    }

    /// Whether a read from `offset` has to ask an object for its first bytes, which takes its time.
    #[must_use]
    pub fn is_cold(&self, offset: i64) -> bool {
        let state = self.lock();
        matches!(state.plan(offset, state.high_watermark), Step::Cold { .. })
    }

    /// The aborted transactions among what was read. What lies below a log start that has moved
    /// meanwhile is forgotten, so that the read must be refused; so is what compaction by key has
    /// removed, and the bytes that were read may be older: then there is no answer.
    fn aborted_in(
        &self,
        range: Range<i64>,
        version: u64,
    ) -> Result<Option<Vec<AbortedTransaction>>, ReadError> {
        let state = self.lock();
        if range.start < state.log_start {
            return Err(state.out_of_range(range.start));
        }
        let transactions = state.producers.transactions();
        let is_whole = transactions.aborted_version() == version;
        Ok(is_whole.then(|| transactions.aborted(range.start, range.end)))
    }

    fn take_run(&self, gather: &mut Gather, run: &Bytes) -> Result<(), ReadError> {
        let offset = gather.next_offset;
        gather.take_run(run).map_err(|reason| self.damaged(offset, &reason))
    }

    fn begin_read(&self, request: &ReadRequest) -> Result<Begun, ReadError> {
        let state = self.lock();
        if let Some(reason) = state.closed {
            return Err(reason.into());
        }
        if request.offset < state.log_start || request.offset > state.log_end {
            return Err(state.out_of_range(request.offset));
        }
        let last_stable_offset = state.last_stable();
        // What lies below the bound is decided: if nothing was aborted by now, nothing of it was.
        let (bound, aborted_version) = match request.isolation {
            IsolationLevel::ReadUncommitted => (state.high_watermark, None),
            IsolationLevel::ReadCommitted => {
                let transactions = state.producers.transactions();
                let version = transactions.has_aborted().then(|| transactions.aborted_version());
                (last_stable_offset, version)
            }
        };
        let result = ReadResult {
            records: Records::default(),
            aborted: Vec::new(),
            high_watermark: state.high_watermark,
            last_stable_offset,
            log_start_offset: state.log_start,
        };
        Ok(Begun { result, bound, aborted_version })
    }

    fn plan(&self, offset: i64, bound: i64) -> Result<Step, ReadError> {
        let state = self.lock();
        if let Some(reason) = state.closed {
            return Err(reason.into());
        }
        if offset < state.log_start {
            return Err(state.out_of_range(offset));
        }
        Ok(state.plan(offset, bound))
    }

    pub(crate) async fn read_wal(
        &self,
        file: Arc<WalFileRef>,
        position: u64,
        len: u32,
        offset: i64,
    ) -> Result<Bytes, ReadError> {
        let read = self
            .shared
            .spawner
            .blocking(move || file.read_at(position, len as usize))
            .await
            .and_then(|result| result);
        read.map_err(|error| self.storage_error(offset, &error))
    }

    async fn read_object(
        &self,
        gather: &Gather,
        object: &Arc<ObjectRef>,
        extent: &Extent,
        end_offset: i64,
        form: Form,
    ) -> Result<(Records, i64), object::Error> {
        let end_offset = end_offset.min(extent.end_offset);
        self.shared
            .reader
            .read_as(
                object,
                &self.key,
                Wanted {
                    from_offset: gather.next_offset,
                    end_offset,
                    max_bytes: gather.room(),
                    min_one_batch: gather.needs_first(),
                },
                form,
            )
            .await
    }

    pub(crate) fn cold_error(&self, offset: i64, error: &object::Error) -> ReadError {
        if matches!(error, object::Error::Damaged { .. }) {
            self.damaged(offset, &error.to_string())
        } else {
            self.storage_error(offset, error)
        }
    }

    pub(crate) fn storage_error(&self, offset: i64, error: &impl ToString) -> ReadError {
        ReadError::Storage {
            topic: self.topic.to_string(),
            partition: self.key.partition,
            offset,
            reason: error.to_string(),
        }
    }

    pub(crate) fn damaged(&self, offset: i64, reason: &str) -> ReadError {
        ReadError::Damaged {
            topic: self.topic.to_string(),
            partition: self.key.partition,
            offset,
            reason: reason.to_owned(),
        }
    }
}

/// What a read begins with.
struct Begun {
    result: ReadResult,
    bound: i64,
    /// Where there may be aborted transactions in what is read: how often any was forgotten.
    aborted_version: Option<u64>,
}

impl State {
    fn out_of_range(&self, offset: i64) -> ReadError {
        ReadError::OffsetOutOfRange { offset, log_start: self.log_start, log_end: self.log_end }
    }

    pub(crate) fn plan(&self, offset: i64, bound: i64) -> Step {
        let at = self.runs.partition_point(|run| run.last_offset < offset);
        if let Some(run) = self.runs.get(at).filter(|run| run.base_offset <= offset) {
            match (&run.data, &run.place) {
                (Some(data), _) => return Step::Hot(data.clone()),
                (None, Some(place)) => {
                    let (file, position) = (Arc::clone(&place.file), place.position);
                    return Step::Warm { file, position, len: run.len };
                }
                // An object has it.
                (None, None) => {}
            }
        }
        let stored = self.extents.range(..=offset).next_back().map(|(_, stored)| stored);
        match stored.filter(|stored| offset < stored.extent.end_offset) {
            Some(stored) => Step::Cold {
                object: Arc::clone(&stored.object),
                extent: stored.extent,
                end_offset: bound,
            },
            None => Step::Missing,
        }
    }
}

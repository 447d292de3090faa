//! What recovery does with each block of the WAL: runs go to their partitions, headers to the
//! producers; damaged ranges are fetched from uploaded objects.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use common::ProducerId;
use metadata::{ObjectRow, ObjectState};
use tracing::{error, warn};

use crate::{
    log::Log,
    object::ObjectRef,
    producer_state::ProducerBatch,
    wal::{RecoverError, RecoveredBlock, RecoveredRun, RecoverySink, WalFileRef},
};

pub(super) struct WalSink {
    log: Arc<Log>,
    /// Committed objects made of WAL ranges, by (file, first byte).
    objects: BTreeMap<(u64, u64), Arc<ObjectRef>>,
    /// Per file, the start of its first block with something that no object was ever committed
    /// for; where there is none, the end of its last block.
    committed: BTreeMap<u64, CommittedPart>,
    pub(super) bytes: u64,
}

/// How far a file's blocks are committed.
#[derive(Debug, Clone, Copy)]
struct CommittedPart {
    end: u64,
    whole_so_far: bool,
}

impl WalSink {
    pub(super) fn new(log: Arc<Log>, objects: &[ObjectRow]) -> Self {
        let committed = objects.iter().filter(|row| row.state == ObjectState::Committed);
        let of_wal = committed.filter_map(|row| {
            row.origin
                .map(|range| ((range.file_id, range.from), Arc::new(ObjectRef::from_row(row))))
        });
        Self { objects: of_wal.collect(), log, committed: BTreeMap::new(), bytes: 0 }
    }

    /// Per file, where its committed part ends. The objects' own ranges do not tell: compaction,
    /// retention and DeleteRecords make objects go while their file is still here.
    pub(super) fn committed_ends(&self) -> BTreeMap<u64, u64> {
        self.committed.iter().map(|(file_id, part)| (*file_id, part.end)).collect()
    }

    /// Ranges are committed in the order of the log and at block boundaries, so the first run that
    /// is above its partition's committed end begins what is not committed.
    fn note_committed(&mut self, file_id: u64, block: &RecoveredBlock) {
        let is_open = block.runs.iter().any(|recovered| {
            let partition = self.log.partition(&recovered.key);
            partition.is_some_and(|p| p.offsets().committed_end <= recovered.run.last_offset)
        });
        let start = CommittedPart { end: block.position, whole_so_far: true };
        let part = self.committed.entry(file_id).or_insert(start);
        part.whole_so_far &= !is_open;
        if part.whole_so_far {
            part.end = block.end;
        }
    }

    fn restore(&mut self, recovered: RecoveredRun) -> Result<(), RecoverError> {
        let RecoveredRun { key, mut run, batches } = recovered;
        // A topic that was deleted leaves its runs behind until the file goes.
        let Some(partition) = self.log.partition(&key) else { return Ok(()) };
        self.bytes += u64::from(run.len);
        // Kept on disk: the tail in memory is for what is appended from now on.
        run.data = None;
        partition.restore_run(run).map_err(|error| RecoverError::Refused(error.to_string()))?;
        let mut state = partition.lock();
        for header in batches.iter().filter(|header| header.has_producer_id()) {
            let batch = ProducerBatch {
                producer_epoch: header.producer_epoch,
                base_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                timestamp: header.max_timestamp,
            };
            state.producers.restore(ProducerId(header.producer_id), batch);
        }
        Ok(())
    }
}

#[async_trait]
impl RecoverySink for WalSink {
    async fn block(
        &mut self,
        file: &Arc<WalFileRef>,
        block: RecoveredBlock,
    ) -> Result<(), RecoverError> {
        self.note_committed(file.id, &block);
        for run in block.runs {
            self.restore(run)?;
        }
        Ok(())
    }

    async fn repair(&mut self, file_id: u64, from: u64, to: u64) -> Option<Bytes> {
        let mut candidates = self.objects.range((file_id, 0)..=(file_id, from));
        let (start, object) =
            candidates.next_back().map(|((_, start), object)| (*start, object))?;
        let origin = object.origin?;
        if to > origin.to {
            return None;
        }
        match self.log.shared().reader.raw(object, from - start..to - start).await {
            Ok(bytes) => {
                warn!(file_id, from, to, object = %object.id, "damage repaired from an object");
                Some(bytes)
            }
            Err(failure) => {
                error!(file_id, from, to, object = %object.id, error = %failure, "repair failed");
                None
            }
        }
    }

    /// Files go in order and only once objects hold all of them, so a missing file that lies
    /// above every known object was never released.
    async fn released(&mut self, missing: Range<u64>) -> bool {
        let newest = self.objects.keys().next_back().map(|(file_id, _)| *file_id);
        newest.is_none_or(|newest| missing.end <= newest + 1)
    }
}

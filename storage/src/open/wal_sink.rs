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
    pub(super) bytes: u64,
}

impl WalSink {
    pub(super) fn new(log: Arc<Log>, objects: &[ObjectRow]) -> Self {
        let committed = objects.iter().filter(|row| row.state == ObjectState::Committed);
        let of_wal = committed.filter_map(|row| {
            row.origin
                .map(|range| ((range.file_id, range.from), Arc::new(ObjectRef::from_row(row))))
        });
        Self { objects: of_wal.collect(), log, bytes: 0 }
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
        _file: &Arc<WalFileRef>,
        block: RecoveredBlock,
    ) -> Result<(), RecoverError> {
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

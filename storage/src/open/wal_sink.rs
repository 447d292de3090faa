//! What recovery does with each block of the WAL: runs go to their partitions, headers to the
//! producers; damaged ranges are fetched from uploaded objects.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use common::{PartitionKey, ProducerId};
use metadata::{ObjectRow, ObjectState};
use protocol::records::{BatchHeader, BatchRef, EndTransactionMarker};
use tracing::{error, warn};

use crate::{
    log::Log,
    marker::EndTransaction,
    object::ObjectRef,
    wal::{RecoverError, RecoveredBlock, RecoveredRun, RecoverySink, Run, WalFileRef},
};

pub(super) struct WalSink {
    log: Arc<Log>,
    /// Committed objects made of WAL ranges, by (file, first byte).
    objects: BTreeMap<(u64, u64), Arc<ObjectRef>>,
    /// Above every WAL file that objects held.
    file_id_floor: u64,
    /// Per file, the start of its first block with something that no object was ever committed
    /// for; where there is none, the end of its last block.
    committed: BTreeMap<u64, CommittedPart>,
    /// What belongs to partitions that are not served here.
    unknown: BTreeMap<PartitionKey, UnknownRuns>,
    pub(super) bytes: u64,
}

/// Runs of a partition that metadata does not know.
#[derive(Debug, Clone, Copy)]
struct UnknownRuns {
    base_offset: i64,
    last_offset: i64,
    runs: u64,
    bytes: u64,
}

impl UnknownRuns {
    fn take(known: Option<Self>, run: &Run) -> Self {
        let known = known.unwrap_or(Self {
            base_offset: run.base_offset,
            last_offset: run.last_offset,
            runs: 0,
            bytes: 0,
        });
        Self {
            base_offset: known.base_offset.min(run.base_offset),
            last_offset: known.last_offset.max(run.last_offset),
            runs: known.runs + 1,
            bytes: known.bytes + u64::from(run.len),
        }
    }
}

/// How far a file's blocks are committed.
#[derive(Debug, Clone, Copy)]
struct CommittedPart {
    end: u64,
    whole_so_far: bool,
}

impl WalSink {
    /// `file_id_floor` is above every file that objects held.
    pub(super) fn new(log: Arc<Log>, objects: &[ObjectRow], file_id_floor: u64) -> Self {
        let committed = objects.iter().filter(|row| row.state == ObjectState::Committed);
        let of_wal = committed.filter_map(|row| {
            row.origin
                .map(|range| ((range.file_id, range.from), Arc::new(ObjectRef::from_row(row))))
        });
        Self {
            objects: of_wal.collect(),
            log,
            file_id_floor,
            committed: BTreeMap::new(),
            unknown: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Per file, where its committed part ends. The objects' own ranges do not tell: compaction,
    /// retention and DeleteRecords make objects go while their file is still here.
    pub(super) fn committed_ends(&self) -> BTreeMap<u64, u64> {
        self.committed.iter().map(|(file_id, part)| (*file_id, part.end)).collect()
    }

    /// Says what was left out. A topic that was deleted leaves its runs behind until the file goes;
    /// any other cause has lost records.
    pub(super) fn report_unknown(&self) {
        for (key, unknown) in &self.unknown {
            warn!(
                topic_id = %key.topic_id,
                partition = key.partition,
                base_offset = unknown.base_offset,
                last_offset = unknown.last_offset,
                runs = unknown.runs,
                bytes = unknown.bytes,
                "the write-ahead log holds records of a topic that is not (or no longer) known"
            );
            metrics::counter!("streamhouse_recovery_unknown_bytes_total").increment(unknown.bytes);
        }
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
        let Some(partition) = self.log.partition(&key) else {
            let known = self.unknown.get(&key).copied();
            self.unknown.insert(key, UnknownRuns::take(known, &run));
            return Ok(());
        };
        self.bytes += u64::from(run.len);
        // Kept on disk: the tail in memory is for what is appended from now on.
        let data = run.data.take().unwrap_or_default();
        partition.restore_run(run).map_err(|error| RecoverError::Refused(error.to_string()))?;
        let mut state = partition.lock();
        let mut rest = &data[..];
        for header in &batches {
            let (bytes, behind) = rest.split_at_checked(header.total_len()).unwrap_or_default();
            rest = behind;
            if header.is_control() {
                if let Some(end) = end_of(header, bytes)? {
                    state.producers.restore_end(&end, header);
                }
            } else if header.has_producer_id() {
                state.producers.restore_batch(header);
            }
        }
        let high_watermark = state.high_watermark;
        state.producers.settle(high_watermark);
        Ok(())
    }
}

/// The end of a transaction that a control batch says.
fn end_of(header: &BatchHeader, bytes: &[u8]) -> Result<Option<EndTransaction>, RecoverError> {
    let marker = BatchRef::parse(bytes).and_then(|batch| EndTransactionMarker::of_batch(&batch));
    let marker = marker.map_err(|error| {
        let offset = header.base_offset;
        RecoverError::Refused(format!("the control batch at offset {offset}: {error}"))
    })?;
    Ok(marker.map(|marker| EndTransaction {
        producer_id: ProducerId(header.producer_id),
        producer_epoch: header.producer_epoch,
        commit: marker.commit,
        coordinator_epoch: marker.coordinator_epoch,
        // Checked when it was appended.
        transaction_version: 0,
    }))
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

    /// Files go in order and only once objects held all of them, which is noted first. The objects
    /// may have gone since.
    async fn released(&mut self, missing: Range<u64>) -> bool {
        missing.end <= self.file_id_floor
    }
}

#[cfg(test)]
mod tests {
    use crate::wal::{AtOnce, SimWalFs};

    use super::*;

    #[tokio::test]
    async fn runs_of_unknown_partitions_are_counted_from_the_first_to_the_last_offset() {
        use crate::wal::WalFs;
        let fs = SimWalFs::new(common::rng::Rng::seeded(1));
        let file = fs.create("f", 4096, vec![0; 4096].into(), &AtOnce).await.unwrap();
        let file = Arc::new(WalFileRef::new(1, 2, file.reader().unwrap()));
        let run = |base_offset: i64, len: u32| Run {
            base_offset,
            last_offset: base_offset + 9,
            max_timestamp: 0,
            leader_epoch: 0,
            file: Arc::clone(&file),
            position: 0,
            len,
            data: None,
        };
        let known = UnknownRuns::take(None, &run(20, 100));
        let known = UnknownRuns::take(Some(known), &run(30, 50));
        let found = (known.base_offset, known.last_offset, known.runs, known.bytes);
        assert_eq!(found, (20, 39, 2, 150));
    }
}

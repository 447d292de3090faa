//! Producers as objects know them: the newest snapshot, then the footers behind it, in WAL order.

use std::{collections::BTreeMap, sync::Arc};

use common::{PartitionKey, ProducerId};
use metadata::{ObjectLevel, ObjectRow, ObjectState};
use tracing::error;

use crate::{
    error::Error,
    log::Log,
    object::{ObjectRef, ProducerUpdate},
    producer_snapshot,
    producer_state::ProducerBatch,
};

impl Log {
    /// Restores what the snapshot and the footers say. Footers of objects that are older than the
    /// snapshot, or whose producers have expired, are not read.
    pub(super) async fn restore_producers(&self, objects: &[ObjectRow]) -> Result<(), Error> {
        let covered = self.load_snapshot().await?;
        let expired =
            self.deps.clock.now_ms().saturating_sub(self.deps.config.producer_expiration_ms);
        let mut rows: Vec<_> =
            objects.iter().filter(|row| row.state == ObjectState::Committed).collect();
        // L1 objects lie below the L0 objects of their partition.
        rows.sort_by_key(|row| {
            let origin = row.origin.map(|range| (range.file_id, range.from));
            let first = row.extents.first().map(|extent| (extent.key, extent.base_offset));
            (row.level == ObjectLevel::L0, origin, first)
        });
        for row in rows {
            let wanted: Vec<_> = row
                .extents
                .iter()
                .filter(|extent| extent.max_timestamp >= expired)
                .filter(|extent| {
                    covered.get(&extent.key).is_none_or(|end| extent.end_offset > *end)
                })
                .map(|extent| extent.key)
                .collect();
            let object = Arc::new(ObjectRef::from_row(row));
            for key in wanted {
                let updates = self.shared().reader.producer_updates(&object, &key).await?;
                self.restore_updates(&key, &updates);
            }
        }
        Ok(())
    }

    fn restore_updates(&self, key: &PartitionKey, updates: &[ProducerUpdate]) {
        let Some(partition) = self.partition(key) else { return };
        let mut state = partition.lock();
        for update in updates {
            for batch in &update.batches {
                let batch = ProducerBatch {
                    producer_epoch: update.producer_epoch,
                    base_sequence: batch.base_sequence,
                    last_sequence: batch.last_sequence,
                    base_offset: batch.base_offset,
                    last_offset: batch.last_offset,
                    timestamp: batch.timestamp,
                };
                state.producers.restore(ProducerId(update.producer_id), batch);
            }
        }
    }

    /// The end offsets that the newest snapshot covers. It may know of producers whose records are
    /// deleted and whose footers are gone, so one that cannot be read now fails the start. One that
    /// is damaged or missing never can be, so the footers have to do, loudly.
    async fn load_snapshot(&self) -> Result<BTreeMap<PartitionKey, i64>, Error> {
        let Some(pointer) = self.deps.metadata.pointer(producer_snapshot::POINTER).await? else {
            return Ok(BTreeMap::new());
        };
        let key = String::from_utf8_lossy(&pointer).into_owned();
        let Some(size) = self.deps.objects.size(&key).await? else {
            error!(key, "the producer snapshot is missing, reading all footers");
            return Ok(BTreeMap::new());
        };
        let bytes = self.deps.objects.get_range(&key, 0..size).await?;
        Ok(self.take_snapshot(&key, &bytes))
    }

    fn take_snapshot(&self, key: &str, bytes: &[u8]) -> BTreeMap<PartitionKey, i64> {
        let snapshot = match producer_snapshot::decode(bytes) {
            Ok(snapshot) => snapshot,
            Err(reason) => {
                error!(key, %reason, "the producer snapshot is damaged, reading all footers");
                return BTreeMap::new();
            }
        };
        let mut covered = BTreeMap::new();
        for entry in snapshot {
            covered.insert(entry.key, entry.end_offset);
            let Some(partition) = self.partition(&entry.key) else { continue };
            let mut state = partition.lock();
            for producer in entry.producers {
                for batch in producer.batches {
                    state.producers.restore(producer.producer_id, batch);
                }
            }
        }
        covered
    }
}

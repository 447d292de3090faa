//! Producers and transactions as objects know them: the newest snapshot, then the footers behind it
//! in the order of offsets.

use std::{collections::BTreeMap, sync::Arc};

use common::PartitionKey;
use metadata::{ObjectRow, ObjectState};
use tracing::{error, info};

use crate::{
    error::Error, log::Log, object::ObjectRef, producer_snapshot, producer_state::ExtentProducers,
};

/// What the footers behind the snapshot say, by partition and base offset.
type Extents = BTreeMap<(PartitionKey, i64), ExtentProducers>;

impl Log {
    /// Restores what the snapshot and the footers say. Footers that the snapshot covers are not
    /// read; a snapshot covers every partition that there was.
    pub(super) async fn restore_producers(&self, objects: &[ObjectRow]) -> Result<(), Error> {
        let covered = self.load_snapshot().await?;
        let mut extents = Extents::new();
        let mut footers = 0_u64;
        for row in objects.iter().filter(|row| row.state == ObjectState::Committed) {
            let is_behind = |key: &PartitionKey, end_offset: i64| {
                covered.get(key).is_none_or(|covered| end_offset > *covered)
            };
            if row.extents.iter().any(|extent| is_behind(&extent.key, extent.end_offset)) {
                self.read_footer(row, is_behind, &mut extents).await?;
                footers += 1;
            }
        }
        info!(footers, objects = objects.len(), "producers restored from footers");
        for ((key, _), extent) in &extents {
            if let Some(partition) = self.partition(key) {
                partition.lock().producers.restore_extent(extent);
            }
        }
        Ok(())
    }

    async fn read_footer(
        &self,
        row: &ObjectRow,
        is_behind: impl Fn(&PartitionKey, i64) -> bool,
        extents: &mut Extents,
    ) -> Result<(), Error> {
        let footer = self.shared().reader.footer(&Arc::new(ObjectRef::from_row(row))).await?;
        for extent in row.extents.iter().filter(|found| is_behind(&found.key, found.end_offset)) {
            let Some(partition) = footer.partition(&extent.key) else { continue };
            if partition.producers.is_empty() && partition.aborted.is_empty() {
                continue;
            }
            let known = ExtentProducers {
                end_offset: extent.end_offset,
                updates: partition.producers.clone(),
                aborted: partition.aborted.clone(),
            };
            extents.insert((extent.key, extent.base_offset), known);
        }
        Ok(())
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
            covered.insert(entry.key, entry.restored.end_offset);
            if let Some(partition) = self.partition(&entry.key) {
                let mut state = partition.lock();
                let high_watermark = state.high_watermark;
                state.producers.restore_snapshot(entry.restored, high_watermark);
            }
        }
        covered
    }
}

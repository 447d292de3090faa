//! Opening and closing the log: what a start does between metadata and the first request, and what
//! a shutdown leaves behind.
//!
//! The order matters: extents first (what objects hold), then producers as objects know them, then
//! the WAL behind both (LOG-5 is checked run by run), then the durability classes in force and the epochs' start offsets, and only
//! then does the writer take appends.

mod producers;
mod wal_sink;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use common::PartitionKey;
use metadata::{Image, NewEpochStart, ObjectRow, Topic};
use tracing::{info, warn};

use self::wal_sink::WalSink;
use crate::{
    config::TopicLogConfig,
    error::Error,
    log::{Log, LogDeps, Shared},
    object::{ObjectReader, ObjectRef, Partitions, ReaderOptions},
    partition::{Partition, Restored, StoredExtent},
    tail::TailCache,
    upload::{self, ObjectsInUse, UploaderDeps, UploaderHandle, UploaderOptions},
    wal::{self, WalDeps, WalHandle, WalOptions},
};

/// How long a shutdown waits for the object store.
const SHUTDOWN_UPLOAD_MAX: Duration = Duration::from_secs(10);

impl Log {
    /// Recovers every partition of `image` and starts serving. The caller has opened the metadata
    /// session and acquired the partitions, so that `image` holds the new epochs.
    ///
    /// # Errors
    /// Damage inside acknowledged data that no object repairs, contradictions between WAL and
    /// metadata, failures of the file system or of the stores.
    pub async fn open(
        deps: LogDeps,
        image: &Image,
        config_of: impl Fn(&Topic) -> Arc<TopicLogConfig> + Send,
    ) -> Result<Arc<Self>, Error> {
        upload::settle_registered(
            &deps.metadata,
            &deps.fence,
            &deps.objects,
            &deps.wal_fs,
            deps.wal_directory.as_deref(),
            &deps.spawner,
        )
        .await?;
        let objects = deps.metadata.committed_objects().await?;
        let reader_options =
            ReaderOptions { cache_bytes: deps.config.cache_bytes, ..ReaderOptions::default() };
        let shared = Arc::new(Shared {
            metadata: Arc::clone(&deps.metadata),
            fence: deps.fence,
            key_prefix: image.cluster_id.clone(),
            clock: Arc::clone(&deps.clock),
            spawner: deps.spawner.clone(),
            reader: ObjectReader::new(
                Arc::clone(&deps.objects),
                deps.spawner.clone(),
                &reader_options,
            ),
            tail: TailCache::new(deps.config.tail_bytes),
            wal: OnceLock::new(),
        });
        let log = Arc::new(Self::new(shared, deps));
        log.restore_partitions(image, &objects, config_of);
        log.restore_producers(&objects).await?;
        let (recovered, committed) = log.recover_wal(&objects).await?;
        log.complete_producers();
        log.check_bounds()?;
        log.settle_classes(&log.partitions()).await?;
        log.begin_epochs().await?;
        log.start(recovered, committed).await?;
        Ok(log)
    }

    fn restore_partitions(
        &self,
        image: &Image,
        objects: &[ObjectRow],
        config_of: impl Fn(&Topic) -> Arc<TopicLogConfig>,
    ) {
        let mut extents = extents_by_partition(objects);
        for topic in &image.topics {
            let config = config_of(topic);
            let name: Arc<str> = topic.name.as_str().into();
            for row in &topic.partitions {
                let key = PartitionKey { topic_id: topic.id, partition: row.partition };
                let restored = Restored::new(row, extents.remove(&key).unwrap_or_default());
                self.insert(Partition::new(
                    key,
                    Arc::clone(&name),
                    Arc::clone(self.shared()),
                    Arc::clone(&config),
                    restored,
                ));
            }
        }
    }

    /// Replays the WAL; also returns how far each of its files is committed to objects.
    async fn recover_wal(
        self: &Arc<Self>,
        objects: &[ObjectRow],
    ) -> Result<(wal::Recovered, BTreeMap<u64, u64>), Error> {
        let started = self.deps.clock.monotonic();
        let released = upload::last_released(&self.deps.metadata).await?;
        let file_id_floor = file_id_floor(objects, released);
        let mut sink = WalSink::new(Arc::clone(self), objects, file_id_floor);
        let fs = Arc::clone(&self.deps.wal_fs);
        let recovered = wal::recover(fs, file_id_floor, &mut sink).await?;
        info!(
            files = recovered.files.len(),
            records_bytes = sink.bytes,
            elapsed_ms = (self.deps.clock.monotonic() - started).as_millis(),
            "write-ahead log replayed"
        );
        sink.report_unknown();
        Ok((recovered, sink.committed_ends()))
    }

    /// All that is known of producers was restored.
    fn complete_producers(&self) {
        for partition in self.partitions() {
            let mut state = partition.lock();
            let (log_start, log_end) = (state.log_start, state.log_end);
            let high_watermark = state.high_watermark;
            state.producers.complete_restore(log_end, high_watermark);
            state.producers.trim(log_start);
        }
        self.expire_producers();
    }

    /// LOG-4 and LOG-5 after recovery: the log start lies within what was found.
    fn check_bounds(&self) -> Result<(), Error> {
        for partition in self.partitions() {
            let offsets = partition.offsets();
            if offsets.log_start > offsets.log_end {
                return Err(Error::Inconsistent(format!(
                    "{}-{}: the log starts at {} but ends at {}: WAL files are missing",
                    partition.topic(),
                    partition.key().partition,
                    offsets.log_start,
                    offsets.log_end
                )));
            }
        }
        Ok(())
    }

    async fn begin_epochs(&self) -> Result<(), Error> {
        let begin = |partition: &Arc<Partition>| {
            let (epoch, start_offset) = partition.begin_epoch();
            NewEpochStart { key: partition.key(), epoch, start_offset }
        };
        let starts: Vec<_> = self.partitions().iter().map(begin).collect();
        if !starts.is_empty() {
            self.deps.metadata.record_epoch_starts(&self.deps.fence, starts).await?;
        }
        Ok(())
    }

    /// Starts the writer, the uploader and the background work.
    async fn start(
        self: &Arc<Self>,
        recovered: wal::Recovered,
        committed: BTreeMap<u64, u64>,
    ) -> Result<(), Error> {
        let deps = &self.deps;
        let wal_deps = WalDeps {
            fs: Arc::clone(&deps.wal_fs),
            clock: Arc::clone(&deps.clock),
            rng: deps.rng.clone(),
            spawner: deps.spawner.clone(),
        };
        let options = WalOptions {
            file_bytes: deps.config.wal_file_bytes,
            max_bytes: deps.config.wal_max_bytes,
            queue_bytes: deps.config.wal_queue_bytes,
            first_file_bytes: WalOptions::default()
                .first_file_bytes
                .min(deps.config.wal_file_bytes),
            reserve_bytes: deps.config.disk_reserve_bytes,
            ..WalOptions::default()
        };
        let (handle, events) = wal::start(wal_deps, options, recovered).await?;
        // The log is opened once, so the cell is empty.
        let _ = self.shared().wal.set(handle.clone());
        let options = UploaderOptions {
            key_prefix: self.shared().key_prefix.clone(),
            ..deps.config.upload.clone()
        };
        let in_use = ObjectsInUse::default();
        let uploader = UploaderHandle::start(
            self.upload_deps(handle, in_use.clone()),
            options,
            committed,
            events,
        );
        let watch = watch_uploader(Arc::clone(self), uploader.clone());
        deps.spawner.spawn("log-upload-watch", watch);
        let _ = self.uploader.set(uploader);
        self.start_background(in_use);
        Ok(())
    }

    fn upload_deps(self: &Arc<Self>, wal: WalHandle, in_use: ObjectsInUse) -> UploaderDeps {
        let deps = &self.deps;
        UploaderDeps {
            metadata: Arc::clone(&deps.metadata),
            fence: deps.fence,
            storage: Arc::clone(&deps.objects),
            wal_fs: Arc::clone(&deps.wal_fs),
            wal_directory: deps.wal_directory.clone(),
            wal: Arc::new(wal),
            partitions: Arc::clone(self) as Arc<dyn Partitions>,
            in_use,
            clock: Arc::clone(&deps.clock),
            rng: deps.rng.clone(),
            spawner: deps.spawner.clone(),
        }
    }

    /// Ends the log in order: what is queued is written and synced, the file is sealed and, if the
    /// object store answers in time, uploaded; producers are snapshotted. Appends fail from then on.
    pub async fn shutdown(&self) {
        self.background.cancel();
        if let Some(wal) = self.shared().wal.get()
            && let Err(error) = wal.shutdown().await
        {
            warn!(%error, "the write-ahead log had ended before");
        }
        if let Some(uploader) = self.uploader.get()
            && tokio::time::timeout(SHUTDOWN_UPLOAD_MAX, uploader.ended()).await.is_err()
        {
            uploader.stop();
            info!("the object store did not take everything in time; the next start goes on");
        }
        self.fail_pending();
        if let Err(error) = self.snapshot_producers().await {
            warn!(%error, "no producer snapshot: the next start reads footers instead");
        }
    }
}

/// A log without its uploader fills the disk, and one whose session is another process' must not
/// acknowledge anything (FEN-2): the process stops.
async fn watch_uploader(log: Arc<Log>, uploader: UploaderHandle) {
    let ended = uploader.ended().await;
    if !log.background.is_cancelled() {
        let reason = format!("the uploader ended while the log was open: {ended:?}");
        log.deps.spawner.fatal().stop(&reason);
        log.fail_pending();
    }
}

fn extents_by_partition(objects: &[ObjectRow]) -> BTreeMap<PartitionKey, Vec<StoredExtent>> {
    let mut extents: BTreeMap<PartitionKey, Vec<StoredExtent>> = BTreeMap::new();
    for row in objects {
        let object = Arc::new(ObjectRef::from_row(row));
        for extent in &row.extents {
            let stored = StoredExtent { object: Arc::clone(&object), extent: *extent };
            extents.entry(extent.key).or_default().push(stored);
        }
    }
    for stored in extents.values_mut() {
        stored.sort_by_key(|stored| stored.extent.base_offset);
    }
    extents
}

/// Above the number of every WAL file that was released or that a committed object was made of.
fn file_id_floor(objects: &[ObjectRow], released: Option<u64>) -> u64 {
    let ids = objects.iter().filter_map(|row| row.origin).map(|range| range.file_id);
    ids.chain(released).max().map_or(0, |id| id + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_numbers_go_on_above_released_files_whose_objects_are_gone() {
        assert_eq!(file_id_floor(&[], None), 0);
        assert_eq!(file_id_floor(&[], Some(7)), 8);
    }
}

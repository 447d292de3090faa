//! What the log does by the clock: retention, producer expiry, sealing an old WAL file, producer
//! snapshots. None of it is on an acknowledgement's path; all of it may fail and be tried again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::{debug, warn};

use crate::{
    error::Error,
    log::Log,
    producer_snapshot::{self, PartitionProducers},
    producer_state::RestoredProducers,
};

/// Longest time between looks at what is due.
const TICK_MAX: Duration = Duration::from_secs(10);
/// Shortest.
const TICK_MIN: Duration = Duration::from_millis(10);

/// WAL files between producer snapshots: bounds the footers that a start reads.
const SNAPSHOT_EVERY_FILES: u64 = 32;

impl Log {
    /// Runs for ever: drop the future to stop.
    pub(crate) async fn maintain(self: Arc<Self>) {
        let config = &self.deps.config;
        let tick = config.retention_interval.min(config.producer_expiration_interval);
        let tick = tick.clamp(TICK_MIN, TICK_MAX);
        let mut schedule = Schedule::default();
        loop {
            tokio::time::sleep(tick).await;
            self.maintain_once(&mut schedule, tick).await;
        }
    }

    async fn maintain_once(self: &Arc<Self>, schedule: &mut Schedule, tick: Duration) {
        let config = &self.deps.config;
        schedule.since_retention += tick;
        if schedule.since_retention >= config.retention_interval {
            schedule.since_retention = Duration::ZERO;
            self.enforce_retention().await;
        }
        schedule.since_expiry += tick;
        if schedule.since_expiry >= config.producer_expiration_interval {
            schedule.since_expiry = Duration::ZERO;
            self.expire_producers();
        }
        let Some(wal) = self.shared().wal.get() else { return };
        let position = wal.synced_position();
        schedule.file_age =
            if schedule.file_id == position.file_id { schedule.file_age + tick } else { tick };
        schedule.file_id = position.file_id;
        if schedule.file_age >= config.seal_age {
            schedule.file_age = Duration::ZERO;
            if let Err(error) = wal.seal().await {
                debug!(%error, "sealing an old file");
            }
        }
        if position.file_id >= schedule.snapshot_file_id + SNAPSHOT_EVERY_FILES {
            match self.snapshot_producers().await {
                Ok(()) => schedule.snapshot_file_id = position.file_id,
                Err(error) => warn!(%error, "producer snapshot failed, will try again"),
            }
        }
    }

    /// Forgets producers that were idle for `producer.id.expiration.ms`.
    pub(crate) fn expire_producers(&self) {
        let now_ms = self.shared().clock.now_ms();
        let expiration_ms = self.live_config().producer_expiration_ms;
        for partition in self.partitions() {
            partition.lock().producers.expire(now_ms, expiration_ms);
        }
    }

    /// Writes a snapshot of all partitions' producers and transactions and points metadata at it.
    /// A partition without any is in it, too: its footers need not be read.
    ///
    /// # Errors
    /// As the object store and the metadata store fail; the former snapshot stays then.
    pub(crate) async fn snapshot_producers(&self) -> Result<(), Error> {
        let now_ms = self.shared().clock.now_ms();
        let partitions: Vec<_> = self
            .partitions()
            .iter()
            .map(|partition| {
                let state = partition.lock();
                let restored = RestoredProducers {
                    end_offset: state.synced_end,
                    producers: state.producers.snapshot(now_ms),
                    ended: state.producers.transactions().ended_below(state.synced_end),
                };
                PartitionProducers { key: partition.key(), restored }
            })
            .collect();
        let bytes: Bytes = producer_snapshot::encode(&partitions);
        let deps = &self.deps;
        let former = deps.metadata.pointer(producer_snapshot::POINTER).await?;
        let key = format!("{}/producers/{}.snap", self.shared().key_prefix, deps.rng.uuid());
        deps.objects.put(&key, &[bytes]).await?;
        let pointer = key.clone().into_bytes();
        deps.metadata.put_pointer(&deps.fence, producer_snapshot::POINTER, pointer).await?;
        if let Some(former) = former.and_then(|former| String::from_utf8(former).ok()) {
            deps.objects.delete(&former).await?;
        }
        Ok(())
    }
}

/// When what was done last.
#[derive(Debug, Default)]
struct Schedule {
    since_retention: Duration,
    since_expiry: Duration,
    file_id: u64,
    file_age: Duration,
    snapshot_file_id: u64,
}

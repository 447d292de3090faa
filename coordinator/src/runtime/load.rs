//! Loading a shard: all of its log, record by record, through the same `replay` as live use.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::ProducerId;
use protocol::records::{
    BatchRef, DecompressLimit, EndTransactionMarker, PlainRecords, batch_refs,
};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::{
    Inner,
    slot::{Active, Phase, Slot},
};
use crate::{
    log::LogError,
    shard::{Answer, Context, LogRecord as _, Replayed, Shard, Timers},
};

/// The most bytes that one compressed batch may unpack to.
const BATCH_PLAIN_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long to wait for what is appended and not yet durable, before looking again.
const UNSETTLED_WAIT: Duration = Duration::from_millis(5);
/// The waits between attempts while the storage fails, the last one again and again.
const RETRY_WAITS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];
/// The waits between attempts where the log is damaged, the last one again and again: somebody has to
/// mend it, or delete the records with it, and no restart should be needed to see that.
const DAMAGED_WAITS: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(300),
];

impl<S: Shard> Inner<S> {
    pub(super) fn spawn_load(self: &Arc<Self>, slot: Arc<Slot<S>>, incarnation: u64) {
        let inner = Arc::clone(self);
        self.deps.spawner.spawn_critical("coordinator-load", async move {
            tokio::select! {
                () = inner.stopped.cancelled() => {}
                () = inner.load(&slot, incarnation) => {}
            }
        });
    }

    async fn load(&self, slot: &Slot<S>, incarnation: u64) {
        let (mut attempt, mut damaged_attempt) = (0, 0);
        loop {
            let started = self.deps.clock.monotonic();
            let (coordinator, partition) = (self.deps.name, slot.partition);
            match self.replay_log(slot, incarnation).await {
                Ok(Some((shard, next_offset))) => {
                    let took = self.deps.clock.monotonic().saturating_sub(started);
                    self.activate(slot, incarnation, shard, next_offset, took);
                    return;
                }
                Ok(None) => return,
                Err(LogError::NotHosted) => {
                    debug!(coordinator, partition, "the partition went while it was loaded");
                    self.settle(slot, incarnation, Phase::Unloaded);
                    return;
                }
                Err(LogError::Damaged(reason)) => {
                    let wait = DAMAGED_WAITS[damaged_attempt.min(DAMAGED_WAITS.len() - 1)];
                    error!(
                        coordinator,
                        partition,
                        reason,
                        next_attempt_s = wait.as_secs(),
                        "the shard cannot be loaded"
                    );
                    self.settle(slot, incarnation, Phase::Failed);
                    damaged_attempt += 1;
                    sleep(wait).await;
                }
                Err(error) => {
                    let wait = RETRY_WAITS[attempt.min(RETRY_WAITS.len() - 1)];
                    warn!(coordinator, partition, %error, "loading failed and is tried again");
                    attempt += 1;
                    sleep(wait).await;
                }
            }
        }
    }

    fn settle(&self, slot: &Slot<S>, incarnation: u64, phase: Phase<S>) {
        let mut state = slot.lock();
        if state.incarnation == incarnation {
            state.phase = phase;
        }
    }

    fn activate(
        &self,
        slot: &Slot<S>,
        incarnation: u64,
        mut shard: S,
        next_offset: i64,
        took: Duration,
    ) {
        let mut timers = Timers::default();
        let mut answers = Vec::new();
        shard.loaded(&mut Context {
            now: self.deps.clock.monotonic(),
            now_ms: self.deps.clock.now_ms(),
            rng: &self.deps.rng,
            batch_bytes_max: self.deps.log.batch_bytes_max(slot.partition),
            timers: &mut timers,
            answers: &mut answers,
        });
        let mut state = slot.lock();
        if state.incarnation != incarnation {
            return;
        }
        let mut active = Box::new(Active::new(shard, timers, state.timers_from, next_offset));
        let deadline = active.next_deadline();
        self.alarm.set(slot.partition, &mut active.alarm, deadline);
        state.phase = Phase::Active(active);
        state.loads += 1;
        state.load_time = took;
        drop(state);
        // All that was replayed is durable.
        answers.into_iter().for_each(Answer::release);
        if next_offset > 0 {
            info!(
                coordinator = self.deps.name,
                partition = slot.partition,
                next_offset,
                took_ms = took.as_millis(),
                "shard loaded"
            );
        }
    }

    /// Replays the log from its start to its end, which must not move behind: what is appended and
    /// not yet durable is waited for. `None` where the incarnation has ended meanwhile.
    async fn replay_log(
        &self,
        slot: &Slot<S>,
        incarnation: u64,
    ) -> Result<Option<(S, i64)>, LogError> {
        let partition = slot.partition;
        let mut shard = (self.new_shard)(partition);
        let mut next_offset = self.deps.log.bounds(partition)?.log_start;
        loop {
            if slot.lock().incarnation != incarnation {
                return Ok(None);
            }
            let bounds = self.deps.log.bounds(partition)?;
            if next_offset < bounds.high_watermark {
                let records = self.deps.log.read(partition, next_offset).await?.to_bytes();
                next_offset = replay_batches(&mut shard, &records, next_offset)?;
            } else if bounds.high_watermark < bounds.log_end {
                sleep(UNSETTLED_WAIT).await;
            } else {
                return Ok(Some((shard, bounds.log_end)));
            }
        }
    }
}

/// Replays what one read gave; returns the offset behind it.
fn replay_batches<S: Shard>(shard: &mut S, bytes: &Bytes, from: i64) -> Result<i64, LogError> {
    let mut next_offset = from;
    for batch in batch_refs(bytes) {
        let batch = batch.map_err(damaged)?;
        replay_batch(shard, &batch, from)?;
        next_offset = batch.header().next_offset();
    }
    if next_offset <= from {
        return Err(LogError::Damaged(format!("nothing at offset {from}, below the log's end")));
    }
    Ok(next_offset)
}

fn replay_batch<S: Shard>(shard: &mut S, batch: &BatchRef<'_>, from: i64) -> Result<(), LogError> {
    let header = *batch.header();
    let limit = DecompressLimit { max_bytes: BATCH_PLAIN_BYTES_MAX };
    let plain = batch.decompressed(limit).map_err(damaged)?;
    let producer = (ProducerId(header.producer_id), header.producer_epoch);
    if header.is_control() {
        return replay_control(shard, &plain, producer);
    }
    for record in plain.iter() {
        let record = record.map_err(damaged)?;
        let offset = header.base_offset + i64::from(record.offset_delta);
        if offset < from {
            continue;
        }
        let at = Replayed {
            offset,
            timestamp_ms: header.record_timestamp(record.timestamp_delta),
            transaction: header.is_transactional().then_some(producer),
        };
        let key = Bytes::copy_from_slice(record.key.unwrap_or_default());
        let value = record.value.map(Bytes::copy_from_slice);
        match S::Record::decode(&key, value.as_ref()) {
            Ok(Some(record)) => shard.replay(at, record),
            Ok(None) => debug!(offset, "a record of an unknown type is skipped"),
            Err(error) => return Err(LogError::Damaged(format!("offset {offset}: {error}"))),
        }
    }
    Ok(())
}

fn replay_control<S: Shard>(
    shard: &mut S,
    plain: &PlainRecords<'_>,
    (producer_id, producer_epoch): (ProducerId, i16),
) -> Result<(), LogError> {
    for record in plain.iter() {
        let record = record.map_err(damaged)?;
        let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
        if let Some(marker) = EndTransactionMarker::decode(key, value).map_err(damaged)? {
            shard.replay_marker(producer_id, producer_epoch, marker.commit);
        }
    }
    Ok(())
}

fn damaged(error: impl std::fmt::Display) -> LogError {
    LogError::Damaged(error.to_string())
}

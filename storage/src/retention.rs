//! What makes records go: retention by time and size, and DeleteRecords.
//!
//! The log start moves in metadata first, then here (LOG-4: it never moves back). The next pass of
//! retention trims the extents below it; the objects die with their last extent and GC deletes
//! them. What idempotent producers did outlives their records (IDM-1): their state is in the
//! objects' footers too, so a snapshot of it is durable before the first extent goes. Retention
//! works on whole extents and runs, as Kafka works on whole segments, and the last of them never
//! goes by size. A record's own timestamp decides its age.

use std::sync::Arc;

use metadata::LogStart;
use tracing::{info, warn};

use crate::{
    error::Error,
    log::Log,
    partition::{Partition, State},
};

impl Partition {
    /// Moves the log start to `before_offset`; `-1` stands for the high watermark. Returns the
    /// log start afterwards, which is the answer's low watermark.
    ///
    /// # Errors
    /// [`Error::AboveHighWatermark`]; [`Error::Metadata`], where the outcome may be unknown and
    /// the call may be repeated.
    pub async fn delete_records(&self, before_offset: i64) -> Result<i64, Error> {
        let target = {
            let state = self.lock();
            if state.closed.is_some() {
                return Err(Error::NotServed);
            }
            let high_watermark = state.high_watermark;
            let target = if before_offset == -1 { high_watermark } else { before_offset };
            if target > high_watermark || target < 0 {
                return Err(Error::AboveHighWatermark { offset: target, high_watermark });
            }
            target
        };
        self.advance_log_start(target).await
    }

    async fn advance_log_start(&self, target: i64) -> Result<i64, Error> {
        let Some(row) = self.log_start_row(target) else { return Ok(self.offsets().log_start) };
        let (metadata, fence) = (&self.shared.metadata, &self.shared.fence);
        metadata.advance_log_start(fence, vec![row]).await?;
        self.move_log_start(target);
        Ok(self.offsets().log_start)
    }

    /// The row that moves the log start to `target`; `None` where it is there already.
    fn log_start_row(&self, target: i64) -> Option<LogStart> {
        let state = self.lock();
        let leader_epoch = state.leader_epoch.0;
        (target > state.log_start).then_some(LogStart {
            key: self.key,
            leader_epoch,
            log_start_offset: target,
        })
    }

    /// Moves the log start, durable in metadata by now; false where it was there already.
    fn move_log_start(&self, target: i64) -> bool {
        let mut state = self.lock();
        let moves = target > state.log_start;
        if moves {
            let last_stable = state.last_stable();
            state.log_start = target;
            state.producers.trim(target);
            if state.last_stable() > last_stable {
                state.wake_readers();
            }
        }
        state.drop_stored_runs();
        moves
    }

    fn has_extents_below(&self, offset: i64) -> bool {
        self.lock().has_extents_below(offset)
    }

    fn has_producers(&self) -> bool {
        !self.lock().producers.is_empty()
    }

    /// Forgets extents that metadata has dropped.
    fn drop_extents_below(&self, offset: i64) {
        self.lock().extents.retain(|_, stored| stored.extent.end_offset > offset);
    }

    /// The row that retention wants: one with a later log start, or with the one of now where
    /// extents lie below it. They were committed after it had moved, or a pass did not get to them.
    fn retention_row(&self, now_ms: i64) -> Option<LogStart> {
        let state = self.lock();
        if state.closed.is_some() {
            return None;
        }
        let mut target = state.log_start;
        if state.config.cleanup_policy.delete {
            let wanted = state.expired_end(now_ms).max(state.oversized_end(1));
            target = target.max(state.held_back(wanted, now_ms).min(state.last_stable()));
        }
        (target > state.log_start || state.has_extents_below(target)).then_some(LogStart {
            key: self.key,
            leader_epoch: state.leader_epoch.0,
            log_start_offset: target,
        })
    }
}

impl Log {
    /// One pass of retention over all partitions: one transaction moves the log starts, one drops
    /// the extents. A partition that goes meanwhile fails the pass; the next one does without it.
    pub async fn enforce_retention(&self) {
        let now_ms = self.shared().clock.now_ms();
        let mut moved = Vec::new();
        for partition in self.partitions() {
            if let Some(row) = partition.retention_row(now_ms) {
                moved.push((partition, row));
            }
        }
        if moved.is_empty() {
            return;
        }
        if let Err(error) = self.move_log_starts(&moved).await {
            warn!(%error, "retention failed, will try again");
        }
    }

    async fn move_log_starts(&self, moved: &[(Arc<Partition>, LogStart)]) -> Result<(), Error> {
        let (metadata, fence) = (&self.shared().metadata, &self.shared().fence);
        let rows = moved.iter().map(|(_, row)| *row).collect();
        metadata.advance_log_start(fence, rows).await?;
        let mut trimmed = Vec::new();
        for (partition, row) in moved {
            if partition.move_log_start(row.log_start_offset) {
                info!(
                    topic = partition.topic(),
                    partition = partition.key().partition,
                    log_start = row.log_start_offset,
                    "retention moved the log start"
                );
            }
            if partition.has_extents_below(row.log_start_offset) {
                trimmed.push((partition, *row));
            }
        }
        if trimmed.is_empty() {
            return Ok(());
        }
        if trimmed.iter().any(|(partition, _)| partition.has_producers()) {
            self.snapshot_producers().await?;
        }
        metadata.trim_objects(fence, trimmed.iter().map(|(_, row)| *row).collect()).await?;
        for (partition, row) in trimmed {
            partition.drop_extents_below(row.log_start_offset);
        }
        Ok(())
    }
}

impl State {
    fn has_extents_below(&self, offset: i64) -> bool {
        let first = self.extents.first_key_value();
        first.is_some_and(|(_, stored)| stored.extent.end_offset <= offset)
    }

    pub(crate) fn expired_end(&self, now_ms: i64) -> i64 {
        let Some(retention_ms) = self.config.retention_ms else { return self.log_start };
        self.older_end(now_ms.saturating_sub(retention_ms))
    }

    /// The end of the leading units whose records are all older than `cutoff`.
    pub(crate) fn older_end(&self, cutoff: i64) -> i64 {
        let mut end_offset = self.log_start;
        for unit in self.retention_units().take_while(|unit| unit.max_timestamp < cutoff) {
            // What has no timestamp at all goes with the next unit that has one.
            if unit.max_timestamp >= 0 {
                end_offset = unit.end_offset;
            }
        }
        end_offset
    }

    /// The end of what goes for the rest to have `factor` times `retention.bytes`.
    pub(crate) fn oversized_end(&self, factor: u64) -> i64 {
        let Some(retention_bytes) = self.config.retention_bytes else { return self.log_start };
        let kept = retention_bytes.saturating_mul(factor);
        let mut excess = self.size_bytes().saturating_sub(kept);
        let mut end_offset = self.log_start;
        let mut units = self.retention_units().peekable();
        while let Some(unit) = units.next() {
            if unit.bytes > excess || units.peek().is_none() {
                break;
            }
            excess -= unit.bytes;
            end_offset = unit.end_offset;
        }
        end_offset
    }

    /// Extents, then the runs that no object holds yet, in offset order.
    fn retention_units(&self) -> impl Iterator<Item = Unit> + '_ {
        let extents = self.extents.values().map(|stored| Unit {
            end_offset: stored.extent.end_offset,
            max_timestamp: stored.extent.max_timestamp,
            bytes: stored.extent.bytes,
        });
        let unstored = self.runs.iter().filter(|run| run.base_offset >= self.committed_end);
        extents.chain(unstored.map(|run| Unit {
            end_offset: run.last_offset + 1,
            max_timestamp: run.max_timestamp,
            bytes: u64::from(run.len),
        }))
    }
}

/// What goes as a whole.
struct Unit {
    end_offset: i64,
    max_timestamp: i64,
    bytes: u64,
}

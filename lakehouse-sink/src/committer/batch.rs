//! What is on its way into one commit.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use deltalake::{datafile::writer::DeltaWriter, kernel::Add};
use table::{decode::DeadRecord, schema::TableSchema, table::Offsets};

use crate::{
    delta::{Advance, TableLog},
    error::SinkError,
};

/// Rows in files that nothing names yet, and the progress that they would make.
pub(super) struct Batch {
    pub(super) schema: Arc<TableSchema>,
    /// What the table has.
    progress: Offsets,
    /// What has been read.
    read: Offsets,
    writer: Option<DeltaWriter>,
    started: Option<Duration>,
    pub(super) rows: u64,
    pub(super) bytes: usize,
    pub(super) dead: Vec<DeadRecord>,
    pub(super) dead_count: u64,
    pub(super) rescued_values: u64,
}

impl Batch {
    /// Empty, after what the table has.
    pub(super) fn new(schema: Arc<TableSchema>, progress: Offsets) -> Self {
        Self {
            schema,
            read: progress.clone(),
            progress,
            writer: None,
            started: None,
            rows: 0,
            bytes: 0,
            dead: Vec::new(),
            dead_count: 0,
            rescued_values: 0,
        }
    }

    pub(super) fn progress(&self) -> &Offsets {
        &self.progress
    }

    /// Up to where the log has been read.
    pub(super) fn read(&self) -> &Offsets {
        &self.read
    }

    /// The next offset to read of a partition, if it is known.
    pub(super) fn next(&self, partition: i32) -> Option<i64> {
        self.read.get(&partition).copied()
    }

    pub(super) fn advance(&mut self, partition: i32, next_offset: i64) {
        self.read.insert(partition, next_offset);
    }

    pub(super) async fn write(
        &mut self,
        log: &TableLog,
        rows: &RecordBatch,
        target_file_bytes: usize,
        now: Duration,
    ) -> Result<(), SinkError> {
        self.started.get_or_insert(now);
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(log.writer(self.schema.arrow(), target_file_bytes)?),
        };
        writer.write(rows).await?;
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// How long until it is due, if there is anything to commit.
    pub(super) fn due_in(&self, now: Duration, interval: Duration) -> Option<Duration> {
        let has_something = self.rows > 0 || self.dead_count > 0;
        let started = self.started.filter(|_| has_something)?;
        Some((started + interval).saturating_sub(now))
    }

    pub(super) fn is_due(&self, now: Duration, interval: Duration) -> bool {
        self.due_in(now, interval).is_some_and(|due| due.is_zero())
    }

    /// The progress that it makes; `None` where there is nothing to commit.
    pub(super) fn advances(&self, application_id: impl Fn(i32) -> String) -> Option<Vec<Advance>> {
        if self.rows == 0 && self.dead_count == 0 {
            return None;
        }
        let moved: BTreeMap<_, _> = self
            .read
            .iter()
            .filter(|(partition, next)| self.progress.get(partition) != Some(next))
            .collect();
        let advances = moved.into_iter().map(|(partition, next)| Advance {
            application_id: application_id(*partition),
            partition: *partition,
            from: self.progress.get(partition).copied(),
            to: *next,
        });
        Some(advances.collect())
    }

    /// The files, whole.
    pub(super) async fn close(&mut self) -> Result<Vec<Add>, SinkError> {
        match self.writer.take() {
            Some(writer) => Ok(writer.close().await?),
            None => Ok(Vec::new()),
        }
    }

    /// The table has it: the next one begins.
    pub(super) fn committed(&mut self) {
        let next = Self::new(Arc::clone(&self.schema), self.read.clone());
        *self = next;
    }
}

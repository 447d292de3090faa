//! What is on its way into one commit.

use std::{collections::HashSet, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, row::OwnedRow};
use deltalake::{datafile::writer::DeltaWriter, kernel::Add};
use table::{
    decode::{DeadRecord, Decoded},
    rules::TableMode,
    schema::TableSchema,
    table::Offsets,
};

use crate::{
    budget::Share,
    delta::{Advance, TableLog},
    error::SinkError,
    upsert,
};

/// Bytes of the log that one commit holds at most, and so what a crash has read anew.
const COMMIT_BYTES_MAX: usize = 512 << 20;
/// The same where they are held in memory.
const CHANGES_BYTES_MAX: usize = 64 << 20;

/// Rows in files that nothing names yet, and the progress that they would make.
pub(super) struct Batch {
    pub(super) schema: Arc<TableSchema>,
    /// What the table has.
    progress: Offsets,
    /// What has been read.
    read: Offsets,
    writer: Option<DeltaWriter>,
    /// The rows of an upsert table, in memory: they change others.
    changes: Vec<RecordBatch>,
    /// The values of the partition columns that it has rows of: a file each.
    divisions: HashSet<OwnedRow>,
    started: Option<Duration>,
    pub(super) rows: u64,
    /// The bytes of the log that it holds.
    pub(super) share: Share,
    pub(super) dead: Vec<DeadRecord>,
    pub(super) dead_count: u64,
    pub(super) rescued_values: u64,
    /// Records that say nothing: there is progress all the same.
    pub(super) ignored: u64,
}

impl Batch {
    /// Empty, after what the table has.
    pub(super) fn new(schema: Arc<TableSchema>, progress: Offsets, share: Share) -> Self {
        Self {
            schema,
            read: progress.clone(),
            progress,
            writer: None,
            changes: Vec::new(),
            divisions: HashSet::new(),
            started: None,
            rows: 0,
            share,
            dead: Vec::new(),
            dead_count: 0,
            rescued_values: 0,
            ignored: 0,
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
        decoded: &Decoded,
        target_file_bytes: usize,
        now: Duration,
    ) -> Result<(), SinkError> {
        self.started.get_or_insert(now);
        let rows = &decoded.rows;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.rows += rows.num_rows() as u64;
        if self.schema.rules.mode == TableMode::Upsert {
            self.changes.push(decoded.rows_with_tombstones()?);
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let divided = self.schema.rules.partition_columns();
                none.insert(log.writer(self.schema.arrow(), divided, target_file_bytes)?)
            }
        };
        writer.write(rows).await?;
        Ok(())
    }

    /// Whether it should be committed for its size.
    pub(super) fn is_full(&self) -> bool {
        let at_most = match self.schema.rules.mode {
            TableMode::Append => COMMIT_BYTES_MAX,
            TableMode::Upsert => CHANGES_BYTES_MAX,
        };
        self.share.bytes() >= at_most || self.share.is_over()
    }

    /// Whether it would have rows of more than `at_most` partitions with these, and has some.
    pub(super) fn would_divide_too_much(
        &self,
        divisions: &HashSet<OwnedRow>,
        at_most: usize,
    ) -> bool {
        let new = divisions.difference(&self.divisions).count();
        !self.divisions.is_empty() && self.divisions.len() + new > at_most
    }

    pub(super) fn add_divisions(&mut self, divisions: HashSet<OwnedRow>) {
        self.divisions.extend(divisions);
    }

    fn has_something(&self) -> bool {
        self.rows > 0 || self.dead_count > 0 || self.ignored > 0
    }

    /// How long until it is due, if there is anything to commit.
    pub(super) fn due_in(&self, now: Duration, interval: Duration) -> Option<Duration> {
        let started = self.started.filter(|_| self.has_something())?;
        Some((started + interval).saturating_sub(now))
    }

    pub(super) fn is_due(&self, now: Duration, interval: Duration) -> bool {
        self.due_in(now, interval).is_some_and(|due| due.is_zero())
    }

    /// The progress that it makes; `None` where there is nothing to commit.
    pub(super) fn advances(&self, application_id: impl Fn(i32) -> String) -> Option<Vec<Advance>> {
        if !self.has_something() {
            return None;
        }
        let moved =
            self.read.iter().filter(|(partition, next)| self.progress.get(partition) != Some(next));
        let advances = moved.map(|(partition, next)| Advance {
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

    /// The newest change of each key.
    pub(super) fn changes(&self) -> Result<Option<RecordBatch>, SinkError> {
        Ok(upsert::newest(&self.changes, &self.schema.rules.identity())?)
    }

    /// The table has it: the next one begins.
    pub(super) fn committed(&mut self) {
        self.share.clear();
        self.progress.clone_from(&self.read);
        self.writer = None;
        self.changes.clear();
        self.divisions.clear();
        self.started = None;
        self.rows = 0;
        self.dead.clear();
        self.dead_count = 0;
        self.rescued_values = 0;
        self.ignored = 0;
    }
}

//! The one task that writes a table.
//!
//! A session opens the table, goes on from the progress that it finds there, and commits batch
//! after batch. Whatever fails ends the session: files that no commit names are nobody's, and the
//! next session starts from what the table says. So nothing here has to know how far a failed
//! attempt got.

mod batch;

use std::{sync::Arc, time::Duration};

use common::clock::SharedClock;
use storage::{Hold, Partition, ReadWaiter};
use table::{
    catalog::TableCatalog,
    config::OnError,
    decode::{self, Decoded},
    partition,
    reader::Chunk,
    schema::TableSchema,
    state::Gap,
    table::{Offsets, Table},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::batch::Batch;
use crate::{
    budget::Budget,
    dead_letter,
    delta::TableLog,
    error::SinkError,
    status::{Activity, Committed, StatusCell},
    store::TableStore,
};

/// Bytes of the log read at a time from one partition.
const CHUNK_BYTES: usize = 4 << 20;
/// Pause between two looks at a topic that is being written: rows come in fewer, larger batches.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// How long a wait for records lasts before configuration and partitions are looked at again.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// First and longest pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Committer {
    pub(crate) table: Arc<Table>,
    pub(crate) catalog: Arc<TableCatalog>,
    pub(crate) store: TableStore,
    pub(crate) clock: SharedClock,
    pub(crate) status: Arc<StatusCell>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) stop: CancellationToken,
}

/// Why reading went no further for now.
enum Round {
    /// There may be more at once.
    More,
    /// Everything committed has been read.
    Dry,
    /// A record stands in the way.
    Blocked { partition: i32, offset: i64, reason: String },
}

impl Committer {
    /// Runs until it is stopped.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        let _held = Held(Arc::clone(&self.table));
        let mut pause = RETRY_PAUSE;
        loop {
            let commits = self.status.get().version;
            let ended = tokio::select! {
                ended = self.session() => ended,
                () = stop.cancelled() => return,
            };
            let Err(error) = ended else { return };
            warn!(table = self.table.name(), %error, "writing the table failed; starting over");
            self.status.activity(Activity::Failing { error: error.to_string() });
            if self.status.get().version != commits {
                pause = RETRY_PAUSE;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Holds back retention and compaction of what the table lacks.
    fn hold(&self, progress: &Offsets) {
        let bound = self.table.config().hold.as_millis();
        for partition in self.table.partitions() {
            let holder = self.table.incarnation();
            let hold = Hold {
                from: progress.get(&partition.key().partition).copied().unwrap_or(0),
                bound_ms: i64::try_from(bound).unwrap_or(i64::MAX),
            };
            partition.hold(holder, Some(hold));
        }
    }

    /// How many offsets can be read that the table does not have.
    fn lag(&self, progress: &Offsets) -> u64 {
        let lag = |partition: &Arc<Partition>| {
            let offsets = partition.offsets();
            let next = progress.get(&partition.key().partition).copied().unwrap_or(0);
            u64::try_from(offsets.last_stable - next.max(offsets.log_start)).unwrap_or(0)
        };
        self.table.partitions().iter().map(lag).sum()
    }

    async fn session(&self) -> Result<(), SinkError> {
        // Before anything that may take long: what was known last, or all there is.
        self.hold(&self.status.get().offsets);
        let schema = self.settled().await?;
        let directory = self.table.directory();
        let mut log = match TableLog::open(&self.store, &directory).await? {
            Some(log) => log,
            None => {
                let (columns, divided) = (schema.arrow(), schema.rules.partition_columns());
                let name = self.table.name();
                TableLog::create(&self.store, &directory, name, &columns, divided).await?
            }
        };
        let progress = log.progress_of(&self.table).await?;
        info!(
            table = self.table.name(),
            version = log.version(),
            offsets = ?progress,
            "writing the table"
        );
        self.hold(&progress);
        self.status.update(|status| {
            status.activity = Activity::Running;
            status.version = Some(log.version());
            status.offsets.clone_from(&progress);
        });
        let mut batch = Batch::new(schema, progress, self.budget.share());
        loop {
            let config = self.table.config();
            let round = self.round(&mut log, &mut batch).await?;
            if let Round::Blocked { partition, offset, reason } = round {
                self.commit(&mut log, &mut batch).await?;
                self.status.lags(self.lag(batch.progress()));
                self.suspend(partition, offset, reason).await;
                continue;
            }
            let now = self.clock.monotonic();
            let has_caught_up = matches!(round, Round::Dry) && self.table.is_shadow();
            if has_caught_up || batch.is_full() || batch.is_due(now, config.commit_interval) {
                self.commit(&mut log, &mut batch).await?;
            }
            if has_caught_up {
                self.catalog.replace(&self.table, self.clock.now_ms()).await?;
                info!(table = self.table.name(), "the rebuilt table is the table now");
            }
            self.status.lags(self.lag(batch.progress()));
            if matches!(round, Round::Dry) {
                let due = batch.due_in(now, config.commit_interval).unwrap_or(IDLE_WAIT);
                let read = batch.read().clone();
                self.wait(&read, due.min(IDLE_WAIT)).await;
            }
        }
    }

    /// The schema in force; waits for the sample that settles the first.
    async fn settled(&self) -> Result<Arc<TableSchema>, SinkError> {
        let mut first_seen = None;
        loop {
            if let Some(schema) = self.table.schema() {
                return Ok(schema);
            }
            let config = self.table.config();
            let partitions = self.table.partitions();
            let ends = ends(&partitions);
            let records: i64 = partitions
                .iter()
                .map(|p| ends.get(&p.key().partition).unwrap_or(&0) - self.table.first_value(p))
                .sum();
            let now = self.clock.monotonic();
            let mut at_most = IDLE_WAIT;
            if records > 0 {
                let waited = now.saturating_sub(*first_seen.get_or_insert(now));
                let is_enough = usize::try_from(records).unwrap_or(0) >= config.sample_records;
                if is_enough || waited >= config.sample_time {
                    let (schema, is_known) = self.table.provisional_schema(&ends).await?;
                    if is_known {
                        return Ok(self.table.settle(&schema).await?);
                    }
                    // Nothing of it has a value: from here on the same again.
                    first_seen = None;
                } else {
                    at_most = at_most.min(config.sample_time - waited);
                }
            }
            self.wait(&ends, at_most).await;
        }
    }

    /// Reads a chunk of each partition into the batch.
    async fn round(&self, log: &mut TableLog, batch: &mut Batch) -> Result<Round, SinkError> {
        let mut outcome = Round::Dry;
        for partition in self.table.partitions() {
            let index = partition.key().partition;
            let offsets = partition.offsets();
            let next = match batch.next(index) {
                Some(next) if next >= offsets.log_start => next,
                Some(next) => self.gap(index, next, offsets.log_start).await?,
                None => offsets.log_start,
            };
            let chunk = Chunk::read(&partition, next, offsets.last_stable, CHUNK_BYTES).await?;
            if chunk.next_offset == next && chunk.is_empty() {
                batch.advance(index, next);
                continue;
            }
            if chunk.next_offset < offsets.last_stable {
                outcome = Round::More;
            }
            if let Some(blocked) = self.take(log, batch, &partition, chunk).await? {
                return Ok(blocked);
            }
        }
        Ok(outcome)
    }

    /// Decodes a chunk and writes its rows.
    async fn take(
        &self,
        log: &mut TableLog,
        batch: &mut Batch,
        partition: &Partition,
        chunk: Chunk,
    ) -> Result<Option<Round>, SinkError> {
        let index = chunk.partition();
        let mut decoded = self.decode(log, batch, &chunk).await?;
        let on_error = self.table.config().on_error;
        let first_dead = decoded.dead.first().filter(|_| on_error == OnError::Suspend).cloned();
        let mut next_offset = chunk.next_offset;
        if let Some(dead) = &first_dead {
            let before = Chunk::read(partition, chunk.first_offset(), dead.offset, CHUNK_BYTES);
            decoded = decode::decode(&before.await?, &batch.schema)?;
            next_offset = dead.offset;
        }
        let config = self.table.config();
        let divisions = partition::divisions(&batch.schema.rules.partition_by, &decoded.rows)?;
        if batch.would_divide_too_much(&divisions, config.partitions_max) {
            self.commit(log, batch).await?;
        }
        batch.dead_count += decoded.dead.len() as u64;
        batch.rescued_values += decoded.rescued_values;
        batch.ignored += decoded.ignored;
        if on_error == OnError::DeadLetter {
            batch.dead.append(&mut decoded.dead);
        }
        let target = config.target_file_bytes;
        batch.write(log, &decoded, target, self.clock.monotonic()).await?;
        batch.add_divisions(divisions);
        batch.share.add(chunk.bytes);
        batch.advance(index, next_offset);
        Ok(first_dead.map(|dead| Round::Blocked {
            partition: index,
            offset: dead.offset,
            reason: dead.reason,
        }))
    }

    /// Decodes by the newest schema, which gets columns for what is new in the chunk first. What
    /// the batch already has is committed before its schema changes.
    async fn decode(
        &self,
        log: &mut TableLog,
        batch: &mut Batch,
        chunk: &Chunk,
    ) -> Result<Decoded, SinkError> {
        let decoded = decode::decode(chunk, &batch.schema)?;
        let mut newest = self.table.schema().unwrap_or_else(|| Arc::clone(&batch.schema));
        if decoded.met_unknown_fields {
            let index = chunk.partition();
            let from = Offsets::from([(index, chunk.first_offset())]);
            let ends = Offsets::from([(index, chunk.next_offset)]);
            newest = self.table.schema_up_to(&newest, &from, &ends).await?;
        }
        if newest.version == batch.schema.version {
            return Ok(decoded);
        }
        self.commit(log, batch).await?;
        batch.schema = newest;
        Ok(decode::decode(chunk, &batch.schema)?)
    }

    async fn commit(&self, log: &mut TableLog, batch: &mut Batch) -> Result<(), SinkError> {
        let started = self.clock.monotonic();
        let Some(advances) = batch.advances(|partition| self.table.application_id(partition))
        else {
            return Ok(());
        };
        let now_ms = self.clock.now_ms();
        if !batch.dead.is_empty() {
            dead_letter::add(&self.store, &self.table, &batch.dead, now_ms).await?;
        }
        let schema = batch.schema.arrow();
        let files = batch.close().await?;
        let committed_files = files.len() as u64;
        match batch.changes()? {
            Some(changes) => {
                let identity = batch.schema.rules.identity();
                log.merge(changes, &identity, &schema, &advances, now_ms).await?;
            }
            None => log.commit(files, &schema, &advances, now_ms).await?,
        }
        self.status.committed(&Committed {
            version: log.version(),
            offsets: batch.read().clone(),
            rows: batch.rows,
            files: committed_files,
            dead: batch.dead_count,
            rescued_values: batch.rescued_values,
            now_ms,
            took: self.clock.monotonic().saturating_sub(started),
        });
        batch.committed();
        self.hold(batch.progress());
        Ok(())
    }

    /// Records that the log no longer has what comes next, and returns what does.
    async fn gap(&self, partition: i32, from: i64, to: i64) -> Result<i64, SinkError> {
        warn!(
            table = self.table.name(),
            partition, from, to, "records expired or were deleted before the table had them"
        );
        metrics::counter!(
            "streamhouse_table_missed_records_total", "table" => self.table.name().to_owned()
        )
        .increment(u64::try_from(to - from).unwrap_or(0));
        let gap = Gap { partition, from, to, found_ms: self.clock.now_ms() };
        self.table.record_gap(gap).await?;
        Ok(to)
    }

    /// Stands still until the configuration is another one.
    async fn suspend(&self, partition: i32, offset: i64, reason: String) {
        warn!(
            table = self.table.name(),
            partition, offset, reason, "a record cannot be decoded: the table is suspended"
        );
        self.status.activity(Activity::Suspended { partition, offset, reason });
        let config = self.table.config();
        while self.table.config() == config {
            sleep(IDLE_WAIT).await;
        }
        self.status.activity(Activity::Running);
    }

    /// Waits for records, but not longer than `at_most`.
    async fn wait(&self, read: &Offsets, at_most: Duration) {
        let waiter = Arc::new(ReadWaiter::new());
        let partitions = self.table.partitions();
        partitions.iter().for_each(|partition| partition.watch(&waiter));
        // What came between the look and the watch.
        let has_more = partitions.iter().any(|partition| {
            let next = read.get(&partition.key().partition).copied().unwrap_or(0);
            partition.offsets().last_stable > next
        });
        if !has_more {
            // Either way there is a reason to look again.
            let _ = timeout(at_most, waiter.woken()).await;
        }
        sleep(ROUND_PAUSE.min(at_most)).await;
    }
}

/// Lets go of a table's partitions at its end.
struct Held(Arc<Table>);

impl Drop for Held {
    fn drop(&mut self) {
        let holder = self.0.incarnation();
        self.0.partitions().iter().for_each(|partition| partition.hold(holder, None));
    }
}

/// Up to where partitions are committed.
fn ends(partitions: &[Arc<Partition>]) -> Offsets {
    partitions.iter().map(|p| (p.key().partition, p.offsets().last_stable)).collect()
}

//! Replay of dead letters: what can be decoded now becomes rows of the table, once and in order.
//!
//! Both tables are Delta tables of their own, so there are two commits for each file of dead
//! letters: the rows to the table, then the file without them to the dead-letter table. Both carry
//! the number of the replay as an application transaction. Where the numbers differ, the second
//! commit is outstanding, and the next replay begins with it: rows that the table has are no dead
//! letters. Two replays at once build on the same number, so one of them loses at the first commit.
//!
//! Rows keep their partitions and offsets. They come later than others of higher offsets; the
//! commit says which (`kafkaReplayed`), and the progress of partitions stays as it is.

mod fix;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{array::BooleanArray, compute::filter_record_batch, record_batch::RecordBatch};
use deltalake::{kernel::Action, protocol::DeltaOperation};
use serde::Serialize;
use table::{
    decode::{self, DeadRecord},
    partition,
    reader::Chunk,
    rules::TableMode,
    schema::TableSchema,
    table::Table,
};
use tracing::info;

use self::fix::Fix;
use crate::{
    dead_letter::{
        self,
        files::{self, DeadFile, Place},
    },
    delta::{self, APPEND, Advance, TableLog},
    error::SinkError,
    store::TableStore,
};

/// Where both commits say which records they are about.
const REPLAYED_INFO: &str = "kafkaReplayed";
/// How often a replay begins anew because files were merged meanwhile.
const PASSES_MAX: usize = 5;
/// The partition of the mark of a replay.
const NO_PARTITION: i32 = -1;
/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Dead letters that are rows of the table now.
    pub rows: u64,
    /// Those that still cannot be decoded.
    pub left: u64,
    /// The table's version after the last of its commits; none where there was nothing to commit.
    pub version: Option<u64>,
}

/// Why dead letters were not replayed, or not all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// There is no such table.
    #[error("there is no table {0}")]
    NoTable(String),
    /// The table has none, or they cannot be put into it.
    #[error("{0}")]
    Impossible(String),
    /// The expression that mends values is wrong.
    #[error("fix: {0}")]
    Fix(String),
    /// One replay at a time.
    #[error("another replay is under way")]
    Busy,
    /// The object store or a log failed; what was replayed until then stays.
    #[error(transparent)]
    Sink(SinkError),
}

impl From<SinkError> for ReplayError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Overtaken { partition: NO_PARTITION, .. } => Self::Busy,
            SinkError::Fix(error) => Self::Fix(error),
            error => Self::Sink(error),
        }
    }
}

/// Replays the dead letters of one table.
pub(crate) struct Replay<'a> {
    store: &'a TableStore,
    table: &'a Table,
    fix: Option<Fix>,
    now_ms: i64,
}

impl<'a> Replay<'a> {
    /// `fix` is an SQL expression for the values.
    pub(crate) fn new(
        store: &'a TableStore,
        table: &'a Table,
        fix: Option<&str>,
        now_ms: i64,
    ) -> Result<Self, ReplayError> {
        let fix = fix.map(Fix::new).transpose()?;
        Ok(Self { store, table, fix, now_ms })
    }

    pub(crate) async fn run(&self) -> Result<Replayed, ReplayError> {
        let (name, mut replayed) = (self.table.name(), Replayed::default());
        let mut passes = 1;
        while let Err(error) = self.pass(&mut replayed).await {
            // Files were merged meanwhile: others have the dead letters that are left.
            let has_moved = matches!(error, ReplayError::Sink(SinkError::NoFile(_)));
            if !has_moved || passes == PASSES_MAX {
                return Err(error);
            }
            passes += 1;
            replayed.left = 0;
        }
        info!(table = name, rows = replayed.rows, left = replayed.left, "dead letters replayed");
        metrics::counter!("streamhouse_table_replayed_records_total", "table" => name.to_owned())
            .increment(replayed.rows);
        Ok(replayed)
    }

    async fn pass(&self, replayed: &mut Replayed) -> Result<(), ReplayError> {
        let name = self.table.name();
        let refused = |why: &str| Err(ReplayError::Impossible(format!("table {name} {why}")));
        let Some(schema) = self.table.schema() else { return refused("has no schema yet") };
        if schema.rules.mode == TableMode::Upsert {
            return refused(
                "is an upsert table: an older record cannot be told from one whose key was \
                 deleted since; rebuild it instead",
            );
        }
        let Some(mut log) = TableLog::open(self.store, &self.table.directory()).await? else {
            return refused("was never written");
        };
        let directory = dead_letter::directory(self.table);
        let Some(mut dead) = TableLog::open(self.store, &directory).await? else {
            return Ok(());
        };
        self.finish_interrupted(&log, &mut dead).await?;
        for file in files::in_order(&dead).await? {
            let file = DeadFile::read(&dead, file).await?;
            self.replay(&mut log, &mut dead, file, replayed).await?;
        }
        Ok(())
    }

    /// Takes what a replay put into the table out of the dead-letter table, where that ended in
    /// between.
    async fn finish_interrupted(
        &self,
        log: &TableLog,
        dead: &mut TableLog,
    ) -> Result<(), SinkError> {
        let id = self.table.replay_id();
        let (put, taken) = (log.progress(&id).await?, dead.progress(&id).await?);
        let Some(number) = put.filter(|_| put != taken) else { return Ok(()) };
        let mark = self.mark(taken, number);
        for file in files::in_order(dead).await? {
            let file = DeadFile::read(dead, file).await?;
            let there = files::places_within(log, &file.places()?).await?;
            if !there.is_empty() {
                return self.take(dead, &file, &there, &mark).await.map(|_| ());
            }
        }
        // They have expired from the table since, or were taken by a commit without a known end.
        self.commit(dead, |_| Ok(Vec::new()), &BTreeSet::new(), &mark, &APPEND).await
    }

    /// Replays one file, in as many commits as the bound on partitions asks for.
    async fn replay(
        &self,
        log: &mut TableLog,
        dead: &mut TableLog,
        mut file: DeadFile,
        replayed: &mut Replayed,
    ) -> Result<(), SinkError> {
        loop {
            let records = self.records(&file)?;
            let Some((rows, schema)) = self.decode(records).await? else {
                replayed.left += file.rows.num_rows() as u64;
                return Ok(());
            };
            let rows = self.bounded(rows, &schema)?;
            let places = files::places_of(&rows)?;
            let id = self.table.replay_id();
            let from = log.progress(&id).await?;
            let mark = self.mark(from, from.unwrap_or(0) + 1);
            self.put(log, &rows, &schema, &places, &mark).await?;
            replayed.rows += rows.num_rows() as u64;
            replayed.version = Some(log.version());
            let mark = Advance { from: dead.progress(&id).await?, ..mark };
            match self.take(dead, &file, &places, &mark).await? {
                Some(rest) => file = rest,
                None => return Ok(()),
            }
        }
    }

    /// The dead letters of a file that may be rows now, with mended values.
    fn records(&self, file: &DeadFile) -> Result<Vec<DeadRecord>, SinkError> {
        let mut records = file.records()?;
        if let Some(fix) = &self.fix {
            let values = fix.values(&file.rows)?;
            let mended = records
                .into_iter()
                .zip(values)
                .filter_map(|(record, value)| Some(DeadRecord { value: Some(value?), ..record }));
            records = mended.collect();
        }
        Ok(records)
    }

    /// The rows of those that can be decoded, in the order of partitions and offsets.
    async fn decode(
        &self,
        records: Vec<DeadRecord>,
    ) -> Result<Option<(RecordBatch, Arc<TableSchema>)>, SinkError> {
        let Some(mut schema) = self.table.schema() else { return Ok(None) };
        let mut by_partition: BTreeMap<i32, Vec<DeadRecord>> = BTreeMap::new();
        for record in records {
            by_partition.entry(record.partition).or_default().push(record);
        }
        let topic = self.table.topic();
        let chunks = by_partition
            .iter()
            .map(|(partition, records)| Chunk::of_dead_letters(topic, *partition, records))
            .collect::<Result<Vec<_>, _>>()?;
        let decoded = |schema: &Arc<TableSchema>| {
            chunks.iter().map(|chunk| decode::decode(chunk, schema)).collect::<Result<Vec<_>, _>>()
        };
        let mut found = decoded(&schema)?;
        let version = schema.version;
        for (chunk, _) in chunks.iter().zip(&found).filter(|(_, found)| found.met_unknown_fields) {
            schema = self.table.schema_with(&schema, chunk).await?;
        }
        if schema.version != version {
            found = decoded(&schema)?;
        }
        let rows: Vec<_> = found.into_iter().map(|decoded| decoded.rows).collect();
        let rows = arrow::compute::concat_batches(&schema.arrow(), &rows)?;
        Ok((rows.num_rows() > 0).then_some((rows, schema)))
    }

    /// The first of the rows, so many that they are in few enough partitions of the table.
    fn bounded(
        &self,
        mut rows: RecordBatch,
        schema: &TableSchema,
    ) -> Result<RecordBatch, SinkError> {
        let at_most = self.table.config().partitions_max;
        while rows.num_rows() > 1
            && partition::divisions(&schema.rules.partition_by, &rows)?.len() > at_most
        {
            rows = rows.slice(0, rows.num_rows().div_ceil(2));
        }
        Ok(rows)
    }

    /// Commits rows to the table.
    async fn put(
        &self,
        log: &mut TableLog,
        rows: &RecordBatch,
        schema: &TableSchema,
        places: &BTreeSet<Place>,
        mark: &Advance,
    ) -> Result<(), SinkError> {
        let columns = schema.arrow();
        let target = self.table.config().target_file_bytes;
        let mut writer =
            log.writer(Arc::clone(&columns), schema.rules.partition_columns(), target)?;
        writer.write(rows).await?;
        let files = writer.close().await?;
        let added = |log: &TableLog| log.added(&files, &columns);
        self.commit(log, added, places, mark, &APPEND).await
    }

    /// Takes rows out of a file of dead letters. Returns the file that has the others.
    async fn take(
        &self,
        dead: &mut TableLog,
        file: &DeadFile,
        places: &BTreeSet<Place>,
        mark: &Advance,
    ) -> Result<Option<DeadFile>, SinkError> {
        let stays = file.places()?.into_iter().map(|place| Some(!places.contains(&place)));
        let rest = filter_record_batch(&file.rows, &BooleanArray::from_iter(stays))?;
        let columns = dead_letter::columns();
        let mut files = Vec::new();
        if rest.num_rows() > 0 {
            let mut writer = dead.writer(Arc::clone(&columns), Vec::new(), usize::MAX)?;
            writer.write(&rest).await?;
            files = writer.close().await?;
        }
        let actions = |dead: &TableLog| {
            let mut actions = dead.added(&files, &columns)?;
            actions.push(Action::Remove(files::remove(dead, &file.path, true, self.now_ms)?));
            Ok(actions)
        };
        let operation = DeltaOperation::Delete { predicate: None };
        self.commit(dead, actions, places, mark, &operation).await?;
        // One file, as there is no bound on its size and nothing that divides it.
        Ok(files.into_iter().next().map(|file| DeadFile { path: file.path, rows: rest }))
    }

    /// Commits to either table, with the number of the replay.
    async fn commit(
        &self,
        log: &mut TableLog,
        actions: impl Fn(&TableLog) -> Result<Vec<Action>, SinkError>,
        places: &BTreeSet<Place>,
        mark: &Advance,
        operation: &DeltaOperation,
    ) -> Result<(), SinkError> {
        let marks = std::slice::from_ref(mark);
        let properties = || delta::marked_commit(marks, replayed_info(places), self.now_ms);
        log.commit_actions(actions, marks, properties, operation).await
    }

    fn mark(&self, from: Option<i64>, to: i64) -> Advance {
        Advance { application_id: self.table.replay_id(), partition: NO_PARTITION, from, to }
    }
}

/// Which records, for people and programs that read the history: how many of each partition, and
/// between which offsets.
fn replayed_info(places: &BTreeSet<Place>) -> (String, serde_json::Value) {
    let mut partitions: BTreeMap<i32, (u64, i64, i64)> = BTreeMap::new();
    for (partition, offset) in places {
        let entry = partitions.entry(*partition).or_insert((0, *offset, *offset));
        *entry = (entry.0 + 1, entry.1, *offset);
    }
    let shown = partitions.into_iter().map(|(partition, (records, first, last))| {
        let range = serde_json::json!({ "records": records, "first": first, "last": last });
        (partition.to_string(), range)
    });
    (REPLAYED_INFO.to_owned(), shown.collect::<serde_json::Map<_, _>>().into())
}

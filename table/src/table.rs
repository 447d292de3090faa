//! One table: its topic's partitions, its configuration and its schema, shared by sink and query.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use common::TopicId;
use metadata::{Fence, MetadataStore};
use storage::Partition;
use tokio::sync::Mutex;

use crate::{
    config::TableConfig,
    decode::{self, DecodeError},
    infer::Sample,
    name::TableName,
    reader::{Chunk, ReadChunkError},
    rules::ValueFormat,
    schema::TableSchema,
    state::{Gap, Incarnation, Replaced, StateError, TableState},
};

/// Bytes read at a time where values are only looked at.
const OBSERVE_BYTES: usize = 1 << 20;

/// Offsets by partition: the next one to read.
pub type Offsets = BTreeMap<i32, i64>;

/// A topic as a table: one incarnation of it.
pub struct Table {
    topic_id: TopicId,
    topic: String,
    sql_name: TableName,
    /// The same as text.
    name: String,
    incarnation: u32,
    stored: Arc<Stored>,
    view: RwLock<View>,
    changing: Mutex<Changing>,
    /// Up to where there is no value, only tombstones and what is not committed.
    valueless: RwLock<Offsets>,
}

/// The persisted state, shared by the incarnations.
struct Stored {
    pointer: String,
    metadata: Arc<dyn MetadataStore>,
    fence: Fence,
    state: RwLock<Arc<TableState>>,
    writing: Mutex<()>,
}

/// What readers see.
#[derive(Debug, Clone)]
struct View {
    config: Arc<TableConfig>,
    partitions: Vec<Arc<Partition>>,
    schema: Option<Arc<TableSchema>>,
}

/// What one at a time changes.
#[derive(Debug, Default)]
struct Changing {
    /// Up to where every field was looked at for the schema in force.
    observed: Offsets,
}

/// Why a table's schema or state is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The log refused or failed.
    #[error(transparent)]
    Read(#[from] ReadChunkError),
    /// Records are damaged.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The metadata store refused or failed.
    #[error("metadata: {0}")]
    Metadata(#[from] metadata::Error),
    /// The persisted state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A rebuild has replaced this incarnation.
    #[error("incarnation {0} of the table was replaced")]
    Replaced(u32),
    /// A rebuild was asked for and cannot be.
    #[error("{0}")]
    Rebuild(String),
    /// The state could not be written as bytes.
    #[error("encoding the state: {0}")]
    Encode(#[from] serde_json::Error),
}

impl Table {
    /// Restores a table, or begins it.
    ///
    /// # Errors
    /// Where the persisted state is not to be had.
    pub(crate) async fn open(
        metadata: Arc<dyn MetadataStore>,
        fence: Fence,
        topic: (TopicId, &str),
        name: TableName,
        config: TableConfig,
        partitions: Vec<Arc<Partition>>,
    ) -> Result<Self, TableError> {
        let (topic_id, topic) = topic;
        let pointer = pointer(&topic_id.to_string());
        let state = match metadata.pointer(&pointer).await? {
            Some(bytes) => TableState::decode(topic, &bytes)?,
            None => TableState::new(directory(&name, topic_id, 1)),
        };
        let incarnation = state.current.number;
        let schema = state.current.schemas.last().cloned().map(Arc::new);
        let state = RwLock::new(Arc::new(state));
        let stored = Stored { pointer, metadata, fence, state, writing: Mutex::default() };
        let table = Self {
            topic_id,
            topic: topic.to_owned(),
            name: name.to_string(),
            sql_name: name,
            incarnation,
            stored: Arc::new(stored),
            view: RwLock::new(View { config: Arc::new(config), partitions, schema }),
            changing: Mutex::default(),
            valueless: RwLock::default(),
        };
        Ok(table)
    }

    /// The incarnation that a rebuild fills, if one does.
    pub(crate) fn shadow(&self) -> Option<Self> {
        let shadow = self.stored.state().shadow.clone()?;
        let View { config, partitions, .. } = self.view();
        let schema = shadow.schemas.last().cloned().map(Arc::new);
        Some(Self {
            topic_id: self.topic_id,
            topic: self.topic.clone(),
            name: self.name.clone(),
            sql_name: self.sql_name.clone(),
            incarnation: shadow.number,
            stored: Arc::clone(&self.stored),
            view: RwLock::new(View { config, partitions, schema }),
            changing: Mutex::default(),
            valueless: RwLock::default(),
        })
    }

    /// The number of the incarnation that a rebuild fills.
    pub(crate) fn shadow_number(&self) -> Option<u32> {
        self.stored.state().shadow.as_ref().map(|shadow| shadow.number)
    }

    /// Which incarnation this is.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Whether a rebuild fills it, so that readers do not see it yet.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.stored.state().current.number != self.incarnation
    }

    /// Directories that rebuilds left behind.
    #[must_use]
    pub fn replaced(&self) -> Vec<Replaced> {
        self.stored.state().replaced.clone()
    }

    /// The topic's identity.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its name in SQL, as people and programs see it: [`TableName`]'s text.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name in SQL.
    #[must_use]
    pub fn sql_name(&self) -> &TableName {
        &self.sql_name
    }

    /// The name of its dead-letter table.
    #[must_use]
    pub fn dead_letters(&self) -> TableName {
        self.config().dead_letters(&self.sql_name)
    }

    /// Its directory below the cluster's prefix of the object store.
    #[must_use]
    pub fn directory(&self) -> String {
        self.own(|own| own.directory.clone())
    }

    /// Its configuration now.
    #[must_use]
    pub fn config(&self) -> Arc<TableConfig> {
        self.view().config
    }

    /// Its topic's partitions, by index.
    #[must_use]
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        self.view().partitions
    }

    /// What it lacks.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.own(|own| own.gaps.clone())
    }

    /// The name under which Delta keeps the progress of a partition.
    #[must_use]
    pub fn application_id(&self, partition: i32) -> String {
        format!("streamhouse/{}/{}/{partition}", self.topic_id, self.incarnation)
    }

    /// The name under which Delta counts replays of dead letters.
    #[must_use]
    pub fn replay_id(&self) -> String {
        format!("streamhouse/{}/{}/replay", self.topic_id, self.incarnation)
    }

    /// The schema in force; `None` until the first sample is settled.
    #[must_use]
    pub fn schema(&self) -> Option<Arc<TableSchema>> {
        self.view().schema
    }

    /// Takes over what changed of the topic.
    pub(crate) fn update(&self, config: TableConfig, partitions: Vec<Arc<Partition>>) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.config = Arc::new(config);
        view.partitions = partitions;
    }

    /// Something of this incarnation as it is persisted; nothing where a rebuild replaced it.
    fn own<T: Default>(&self, of: impl FnOnce(&Incarnation) -> T) -> T {
        self.stored.state().incarnation(self.incarnation).map(of).unwrap_or_default()
    }

    fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first schema by what is in the log up to `ends`, and whether there was something to go
    /// by: whether it can be settled. Nothing is persisted.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub async fn provisional_schema(
        &self,
        ends: &Offsets,
    ) -> Result<(Arc<TableSchema>, bool), TableError> {
        let View { config, partitions, .. } = self.view();
        if let Some(schema) = config.declared_schema() {
            return Ok((Arc::new(schema), true));
        }
        let mut sample = Sample::new(config.transform);
        let mut room = config.sample_records;
        for partition in &partitions {
            let Some(end) = ends.get(&partition.key().partition) else { continue };
            let mut offset = self.first_value(partition);
            while offset < *end && room > 0 {
                let chunk = Chunk::read(partition, offset, *end, OBSERVE_BYTES).await?;
                room -= decode::observe(&chunk, &mut sample, room)?;
                offset = chunk.next_offset;
            }
        }
        let mut format = config.format.or_else(|| sample.format());
        if format.is_none() {
            let mut valueless = self.valueless.write().unwrap_or_else(PoisonError::into_inner);
            for (partition, end) in ends {
                let known = valueless.entry(*partition).or_insert(*end);
                *known = (*known).max(*end);
            }
            // A rebuild need not wait for a value to catch up.
            format = self.former_format();
        }
        let rules = config.rules(format.unwrap_or(ValueFormat::Json));
        let schema = sample.first_schema(rules, config.columns_max);
        Ok((Arc::new(schema), format.is_some()))
    }

    /// From where on a partition may have values, as far as it was looked for any.
    #[must_use]
    pub fn first_value(&self, partition: &Partition) -> i64 {
        let valueless = self.valueless.read().unwrap_or_else(PoisonError::into_inner);
        let known = valueless.get(&partition.key().partition).copied().unwrap_or(0);
        known.max(partition.offsets().log_start)
    }

    /// How readers see the values of a table that this incarnation is to replace.
    fn former_format(&self) -> Option<ValueFormat> {
        let state = self.stored.state();
        let former = (state.current.number != self.incarnation).then_some(&state.current)?;
        former.schemas.last().map(|schema| schema.rules.format)
    }

    /// Makes a provisional schema the first version, unless there is one already, and returns the
    /// one in force.
    ///
    /// # Errors
    /// Where it cannot be persisted.
    pub async fn settle(&self, schema: &Arc<TableSchema>) -> Result<Arc<TableSchema>, TableError> {
        let _changing = self.changing.lock().await;
        if let Some(schema) = self.schema() {
            return Ok(schema);
        }
        self.change(|state| state.schemas.push(schema.as_ref().clone())).await?;
        Ok(Arc::clone(schema))
    }

    /// The schema for records up to `ends`: fields that no column holds get one first, where the
    /// configuration lets them. The table must have a schema. `from` is where it reads from if
    /// nobody has looked yet.
    ///
    /// # Errors
    /// Where the log cannot be read or the new version not be persisted.
    pub async fn schema_up_to(
        &self,
        settled: &Arc<TableSchema>,
        from: &Offsets,
        ends: &Offsets,
    ) -> Result<Arc<TableSchema>, TableError> {
        let View { config, partitions, .. } = self.view();
        if !config.evolves || settled.rules.format != ValueFormat::Json {
            return Ok(Arc::clone(settled));
        }
        let mut changing = self.changing.lock().await;
        let mut schema = self.schema().unwrap_or_else(|| Arc::clone(settled));
        for partition in &partitions {
            let index = partition.key().partition;
            let (Some(from), Some(end)) = (from.get(&index), ends.get(&index)) else { continue };
            let observed = changing.observed.entry(index).or_insert(*from);
            *observed = (*observed).max(*from);
            while *observed < *end {
                let chunk = Chunk::read(partition, *observed, *end, OBSERVE_BYTES).await?;
                schema = self.evolve(&chunk, schema, config.columns_max).await?;
                *observed = chunk.next_offset;
            }
        }
        Ok(schema)
    }

    /// The schema for records that the log need not have any more: as [`Table::schema_up_to`].
    ///
    /// # Errors
    /// Where the new version cannot be persisted.
    pub async fn schema_with(
        &self,
        settled: &Arc<TableSchema>,
        chunk: &Chunk,
    ) -> Result<Arc<TableSchema>, TableError> {
        let config = self.config();
        if !config.evolves || settled.rules.format != ValueFormat::Json {
            return Ok(Arc::clone(settled));
        }
        let _changing = self.changing.lock().await;
        let schema = self.schema().unwrap_or_else(|| Arc::clone(settled));
        self.evolve(chunk, schema, config.columns_max).await
    }

    /// Adds columns for what is new in a chunk.
    async fn evolve(
        &self,
        chunk: &Chunk,
        schema: Arc<TableSchema>,
        columns_max: usize,
    ) -> Result<Arc<TableSchema>, TableError> {
        let mut sample = Sample::new(schema.rules.transform);
        decode::observe(chunk, &mut sample, usize::MAX)?;
        let Some(next) = sample.evolve(&schema, columns_max) else { return Ok(schema) };
        let next = Arc::new(next);
        self.change(|state| state.schemas.push(next.as_ref().clone())).await?;
        Ok(next)
    }

    /// Records that the table will never have some records.
    ///
    /// # Errors
    /// Where it cannot be persisted.
    pub async fn record_gap(&self, gap: Gap) -> Result<(), TableError> {
        let _changing = self.changing.lock().await;
        if self.gaps().contains(&gap) {
            return Ok(());
        }
        self.change(|state| state.gaps.push(gap)).await
    }

    /// Begins a rebuild: another incarnation, by the configuration of now, is filled from the log.
    /// What the log no longer has is lost with it, which has to be allowed.
    ///
    /// # Errors
    /// Where one is under way, or rows would be lost.
    pub(crate) async fn begin_rebuild(&self, lossy: bool, now_ms: i64) -> Result<(), TableError> {
        let refused = |reason: String| Err(TableError::Rebuild(reason));
        if let Some(shadow) = self.shadow_number() {
            return refused(format!("table {} is being rebuilt already ({shadow})", self.name));
        }
        let starts = self.view().partitions.into_iter();
        let gaps: Vec<_> = starts
            .map(|partition| (partition.key().partition, partition.offsets().log_start))
            .filter(|(_, start)| *start > 0)
            .map(|(partition, to)| Gap { partition, from: 0, to, found_ms: now_ms })
            .collect();
        if let Some(gap) = gaps.first().filter(|_| !lossy) {
            return refused(format!(
                "the log of partition {} begins at offset {}: a rebuild of table {} would lose \
                 the rows before, which has to be allowed",
                gap.partition, gap.to, self.name
            ));
        }
        self.stored
            .change(|state| {
                let number = state.current.number + 1;
                let directory = directory(&self.sql_name, self.topic_id, number);
                state.shadow = Some(Incarnation { gaps, ..Incarnation::new(number, directory) });
                Ok(())
            })
            .await
    }

    /// Makes this incarnation, which a rebuild has filled, the one that readers see.
    pub(crate) async fn replace(&self, now_ms: i64) -> Result<(), TableError> {
        self.stored
            .change(|state| {
                let shadow = state.shadow.take_if(|shadow| shadow.number == self.incarnation);
                let shadow = shadow.ok_or(TableError::Replaced(self.incarnation))?;
                let old = std::mem::replace(&mut state.current, shadow);
                state.replaced.push(Replaced { directory: old.directory, at_ms: now_ms });
                Ok(())
            })
            .await
    }

    /// Forgets a directory that a rebuild left behind and that was deleted.
    ///
    /// # Errors
    /// Where it cannot be persisted.
    pub async fn forget_replaced(&self, directory: &str) -> Result<(), TableError> {
        self.stored
            .change(|state| {
                state.replaced.retain(|replaced| replaced.directory != directory);
                Ok(())
            })
            .await
    }

    /// Persists a change of this incarnation, then shows it.
    async fn change(&self, change: impl FnOnce(&mut Incarnation)) -> Result<(), TableError> {
        let mut schema = None;
        self.stored
            .change(|state| {
                let own = state.incarnation_mut(self.incarnation);
                let own = own.ok_or(TableError::Replaced(self.incarnation))?;
                change(own);
                schema = own.schemas.last().cloned().map(Arc::new);
                Ok(())
            })
            .await?;
        self.view.write().unwrap_or_else(PoisonError::into_inner).schema = schema;
        Ok(())
    }
}

impl Stored {
    fn state(&self) -> Arc<TableState> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Persists a change, then shows it.
    async fn change(
        &self,
        change: impl FnOnce(&mut TableState) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let _writing = self.writing.lock().await;
        let mut state = self.state().as_ref().clone();
        change(&mut state)?;
        self.metadata.put_pointer(&self.fence, &self.pointer, state.encode()?).await?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        Ok(())
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("topic", &self.topic).field("name", &self.name).finish()
    }
}

/// The name of a table's state in the metadata store.
pub(crate) fn pointer(topic_id: &str) -> String {
    format!("table/{topic_id}")
}

/// A directory that no other topic's table has, not even one of the same name, and no other
/// incarnation.
fn directory(name: &TableName, topic_id: TopicId, incarnation: u32) -> String {
    let id: String = topic_id.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let id = id.get(..8).unwrap_or(&id).to_lowercase();
    let name = name.directory();
    match incarnation {
        1 => format!("tables/{name}-{id}"),
        later => format!("tables/{name}-{id}-{later}"),
    }
}

//! What a changed configuration would make of a topic's last records. Nothing is changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    catalog::{TableCatalog, TopicView},
    config::{TableConfig, keys},
    decode::{self, Decoded},
    infer::Sample,
    partition,
    reader::Chunk,
    rules::ValueFormat,
    schema::TableSchema,
    table::TableError,
};

/// Most records of one run.
pub const RECORDS_MAX: usize = 100_000;
/// Records that cannot be decoded are shown up to this many.
const DEAD_SHOWN: usize = 10;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// What would become of the records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// Records looked at.
    pub records: usize,
    /// Rows that they would be.
    pub rows: usize,
    /// Records that cannot be decoded.
    pub dead: usize,
    /// Some of them.
    pub dead_shown: Vec<DeadShown>,
    /// Values that would be kept in `kafka_rescued`.
    pub rescued_values: u64,
    /// All columns of the value, as `name type`.
    pub columns: Vec<String>,
    /// Those that the table does not have now.
    pub columns_added: Vec<String>,
    /// Files that one commit of these records would write: one per partition of the table.
    pub files: usize,
    /// Whether the table is there by another format, mode, division or declaration: the change
    /// would act with a rebuild only.
    pub needs_rebuild: bool,
}

/// A record that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadShown {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Why.
    pub reason: String,
}

/// Why there is no dry run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DryRunError {
    /// There is no such topic.
    #[error("there is no topic {0}")]
    NoTopic(String),
    /// The configuration is not possible.
    #[error("{0}")]
    Config(String),
    /// The records cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl TableCatalog {
    /// Looks at the last `records` records of a topic by its configuration with some changes.
    ///
    /// # Errors
    /// [`DryRunError`].
    pub async fn dry_run(
        &self,
        topic: &str,
        changes: &BTreeMap<String, String>,
        records: usize,
    ) -> Result<DryRun, DryRunError> {
        self.refresh().await?;
        let found = self.topics().into_iter().find(|found| found.name == topic);
        let found = found.ok_or_else(|| DryRunError::NoTopic(topic.to_owned()))?;
        let mut values = found.values.clone();
        values.insert(keys::ENABLE.to_owned(), "true".to_owned());
        values.extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
        let config = TableConfig::read(&values).map_err(DryRunError::Config)?;
        let config = config.ok_or_else(|| {
            DryRunError::Config(format!("{}=false: that is no table", keys::ENABLE))
        })?;
        let table = self.tables().into_iter().find(|table| table.topic_id() == found.id);
        let now = table.and_then(|table| table.schema());
        let chunks =
            last_chunks(&found, records.min(RECORDS_MAX)).await.map_err(TableError::from)?;
        Ok(look(&config, now.as_deref(), &chunks).map_err(TableError::from)?)
    }
}

/// About the last records of a topic, as many of each partition.
async fn last_chunks(
    topic: &TopicView,
    records: usize,
) -> Result<Vec<Chunk>, crate::reader::ReadChunkError> {
    let share = i64::try_from(records.div_ceil(topic.partitions.len().max(1))).unwrap_or(i64::MAX);
    let mut chunks = Vec::new();
    for partition in &topic.partitions {
        let offsets = partition.offsets();
        let mut next = offsets.log_start.max(offsets.last_stable.saturating_sub(share));
        while next < offsets.last_stable {
            let chunk = Chunk::read(partition, next, offsets.last_stable, CHUNK_BYTES).await?;
            next = chunk.next_offset;
            chunks.push(chunk);
        }
    }
    Ok(chunks)
}

fn look(
    config: &TableConfig,
    now: Option<&TableSchema>,
    chunks: &[Chunk],
) -> Result<DryRun, decode::DecodeError> {
    let mut sample = Sample::new(config.transform);
    for chunk in chunks {
        decode::observe(chunk, &mut sample, usize::MAX)?;
    }
    let new_format = config.format.or_else(|| sample.format()).unwrap_or(ValueFormat::Json);
    // What is left to the sample stays as it once was settled, but for a rebuild.
    let format = config.format.or_else(|| now.map(|now| now.rules.format));
    let first = |format| TableSchema::first(config.rules(format), config.declared.clone());
    let mut fresh = first(format.unwrap_or(new_format));
    let is_inferred = config.declared.is_empty();
    let needs_rebuild = now.is_some_and(|now| {
        let is_declared = now.columns.iter().take(fresh.columns.len()).eq(&fresh.columns);
        now.rules != fresh.rules || !is_declared
    });
    if needs_rebuild {
        fresh = first(new_format);
    }
    let format = fresh.rules.format;
    let begun = now.filter(|_| !needs_rebuild).cloned();
    let is_begun = begun.is_some();
    let mut schema = begun.unwrap_or(fresh);
    if format == ValueFormat::Json && (config.evolves || (is_inferred && !is_begun)) {
        schema = sample.evolve(&schema, config.columns_max).unwrap_or(schema);
    }
    let schema = Arc::new(schema);
    let known: BTreeSet<_> =
        now.into_iter().flat_map(|now| &now.columns).map(|column| &column.name).collect();
    let shown =
        |column: &crate::schema::Column| format!("{} {}", column.name, column.arrow().data_type());
    let added = schema.columns.iter().filter(|column| !known.contains(&column.name));
    let mut found = DryRun {
        records: 0,
        rows: 0,
        dead: 0,
        dead_shown: Vec::new(),
        rescued_values: 0,
        columns: schema.columns.iter().map(shown).collect(),
        columns_added: added.map(shown).collect(),
        files: 0,
        needs_rebuild,
    };
    let mut divisions = HashSet::new();
    for chunk in chunks {
        let Decoded { rows, dead, rescued_values, .. } = decode::decode(chunk, &schema)?;
        divisions.extend(partition::divisions(&schema.rules.partition_by, &rows)?);
        found.rows += rows.num_rows();
        found.dead += dead.len();
        found.rescued_values += rescued_values;
        let room = DEAD_SHOWN.saturating_sub(found.dead_shown.len());
        found.dead_shown.extend(dead.into_iter().take(room).map(|dead| DeadShown {
            partition: dead.partition,
            offset: dead.offset,
            reason: dead.reason,
        }));
    }
    found.records = found.rows + found.dead;
    found.files = divisions.len().max(usize::from(found.rows > 0));
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use protocol::records::{BatchBuilder, Compression};

    use super::*;

    fn chunk(values: &[&str]) -> Chunk {
        let mut builder = BatchBuilder::new(Compression::None);
        for (delta, value) in (0_i32..).zip(values) {
            let timestamp_ms = i64::from(delta) * 86_400_000;
            builder.append(delta, timestamp_ms, None, Some(value.as_bytes()), &[]).unwrap();
        }
        let bytes: Bytes = builder.build().unwrap();
        Chunk::of_batches("t", 0, &bytes)
    }

    fn config(pairs: &[(&str, &str)]) -> TableConfig {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        TableConfig::read(&pairs.chain([(keys::ENABLE.to_owned(), "true".to_owned())]).collect())
            .unwrap()
            .unwrap()
    }

    #[test]
    fn it_says_what_would_become_of_the_records() {
        let chunks = [chunk(&[r#"{"a":1}"#, "nonsense", r#"{"a":"x","b":true}"#])];
        let found = look(&config(&[]), None, &chunks).unwrap();
        assert_eq!((found.records, found.rows, found.dead, found.files), (3, 2, 1, 1));
        assert_eq!(found.columns, ["a Utf8", "b Boolean"]);
        assert_eq!(found.columns_added, found.columns);
        assert_eq!(found.dead_shown[0].offset, 1);
        assert!(!found.needs_rebuild);

        let now = TableSchema::first(
            ValueFormat::Json,
            vec![crate::schema::Column::new("a", crate::schema::ColumnType::Bigint, &[]).unwrap()],
        );
        let found = look(&config(&[]), Some(&now), &chunks).unwrap();
        assert_eq!(found.columns_added, ["b Boolean"]);
        assert_eq!((found.rescued_values, found.needs_rebuild), (1, false));
        let strict = look(&config(&[(keys::EVOLUTION, "strict")]), Some(&now), &chunks).unwrap();
        assert_eq!((strict.columns_added.len(), strict.rescued_values), (0, 2));

        let by_day = [(keys::PARTITION_BY, "day(kafka_timestamp)")];
        let found = look(&config(&by_day), Some(&now), &chunks).unwrap();
        assert_eq!((found.files, found.needs_rebuild), (2, true));
        // A rebuild looks at the values anew.
        let text_now = TableSchema::first(ValueFormat::String, Vec::new());
        let found = look(&config(&[]), Some(&text_now), &chunks).unwrap();
        assert_eq!(
            (found.columns.as_slice(), found.needs_rebuild),
            (&["value Utf8".to_owned()][..], false)
        );
        let found = look(&config(&by_day), Some(&text_now), &chunks).unwrap();
        assert_eq!((found.columns.len(), found.needs_rebuild), (2, true));
        let text = look(&config(&[(keys::VALUE_CONVERT, "string")]), Some(&now), &chunks).unwrap();
        assert_eq!((text.rows, text.dead, text.needs_rebuild), (3, 0, true));
        assert_eq!(text.columns, ["value Utf8"]);
    }
}

//! Tables that keep the newest record of each key: one MERGE per commit. The key is the record's,
//! or what the columns named for it hold.
//!
//! The changes of a commit are first brought down to the newest of each key, then joined with the
//! table: a newer record replaces the row of its key, or deletes it if it is a tombstone. Files
//! with rows that change are written anew; no reader feature (deletion vectors) is needed.

use std::collections::HashMap;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    compute::interleave_record_batch,
    datatypes::{Int32Type, Int64Type},
    error::ArrowError,
    row::{OwnedRow, RowConverter, SortField},
};
use deltalake::{
    DeltaTable, DeltaTableError,
    datafusion::{
        common::Column,
        logical_expr::Expr,
        prelude::{SessionContext, lit},
    },
    kernel::transaction::CommitProperties,
};
use table::schema::{OFFSET, PARTITION, TOMBSTONE};

use crate::delta;

const SOURCE: &str = "source";
const TARGET: &str = "target";

/// The newest row of each key: that of the highest offset, and partition, if two share it.
pub(crate) fn newest(
    batches: &[RecordBatch],
    identity: &[&str],
) -> Result<Option<RecordBatch>, ArrowError> {
    let Some(first) = batches.first() else { return Ok(None) };
    let kinds = identity.iter().map(|name| Ok(column_of(first, name)?.data_type().clone()));
    let kinds = kinds.map(|kind| kind.map(SortField::new));
    let converter = RowConverter::new(kinds.collect::<Result<_, ArrowError>>()?)?;
    let mut found: HashMap<OwnedRow, (Age, (usize, usize))> = HashMap::new();
    for (at, batch) in batches.iter().enumerate() {
        let keys = identity.iter().map(|name| column_of(batch, name).cloned());
        let keys = converter.convert_columns(&keys.collect::<Result<Vec<_>, _>>()?)?;
        let offsets = column_of(batch, OFFSET)?.as_primitive::<Int64Type>();
        let partitions = column_of(batch, PARTITION)?.as_primitive::<Int32Type>();
        for (row, key) in keys.iter().enumerate() {
            let age = (offsets.value(row), partitions.value(row));
            let newest = found.entry(key.owned()).or_insert((age, (at, row)));
            if age > newest.0 {
                *newest = (age, (at, row));
            }
        }
    }
    let mut rows: Vec<_> = found.into_values().collect();
    if rows.is_empty() {
        return Ok(None);
    }
    // A map has no order; files have that of the log.
    rows.sort_unstable_by_key(|((offset, partition), _)| (*partition, *offset));
    let rows: Vec<_> = rows.into_iter().map(|(_, at)| at).collect();
    interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &rows).map(Some)
}

fn column_of<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    let missing = || ArrowError::SchemaError(format!("rows without {name}"));
    batch.column_by_name(name).ok_or_else(missing)
}

/// Offset and partition.
type Age = (i64, i32);

/// Merges changes, one row per key and with [`TOMBSTONE`], into a table. Where they change
/// nothing there is no commit, and so no progress.
pub(crate) async fn merge(
    table: DeltaTable,
    changes: RecordBatch,
    identity: &[&str],
    properties: CommitProperties,
) -> Result<DeltaTable, DeltaTableError> {
    let names: Vec<_> = changes
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .filter(|name| name != TOMBSTONE)
        .collect();
    let source = SessionContext::new().read_batch(changes)?;
    let is_same = identity.iter().map(|name| column(TARGET, name).eq(column(SOURCE, name)));
    let is_same = is_same.reduce(Expr::and).unwrap_or_else(|| lit(false));
    let (table, _) = table
        .merge(source, is_same)
        .with_source_alias(SOURCE)
        .with_target_alias(TARGET)
        .with_writer_properties(delta::writer_properties())
        .with_commit_properties(properties)
        .when_matched_delete(|delete| delete.predicate(is_newer().and(column(SOURCE, TOMBSTONE))))?
        .when_matched_update(|update| {
            names.iter().fold(update.predicate(is_newer()), |update, name| {
                update.update(Column::from_name(name), column(SOURCE, name))
            })
        })?
        .when_not_matched_insert(|insert| {
            let insert = insert.predicate(column(SOURCE, TOMBSTONE).eq(lit(false)));
            names.iter().fold(insert, |insert, name| {
                insert.set(Column::from_name(name), column(SOURCE, name))
            })
        })?
        .await?;
    Ok(table)
}

/// Whether the change is newer than the row.
fn is_newer() -> Expr {
    let (new, old) = (|name| column(SOURCE, name), |name| column(TARGET, name));
    let is_later = new(OFFSET).gt(old(OFFSET));
    let is_beside = new(OFFSET).eq(old(OFFSET)).and(new(PARTITION).gt(old(PARTITION)));
    is_later.or(is_beside)
}

fn column(relation: &str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(relation), name))
}

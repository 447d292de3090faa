//! `pg_attribute`: the columns of all relations, with the types that results have.
//!
//! The crate's own says text of every type that it does not know, and clients that read the
//! binary format would take a result's column for what it is not.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, AsArray as _, BooleanArray, Int16Array, Int32Array, RecordBatch, StringArray,
        new_null_array,
    },
    datatypes::{DataType, Field, Int32Type, SchemaRef},
};
use datafusion::{
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use datafusion_pg_catalog::pg_catalog::PgCatalogTable;
use futures::{TryStreamExt as _, stream};
use pgwire::api::Type;

use super::{Crates, Roles, Shown};
use crate::pg::types;

pub(super) const NAME: &str = "pg_attribute";

/// The columns of all relations.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    schema: SchemaRef,
    classes: Arc<dyn PartitionStream>,
    namespaces: Arc<dyn PartitionStream>,
    shown: Shown,
}

impl Attributes {
    pub(super) fn new(crates: &Crates<Roles>, shown: Shown) -> Result<Self> {
        let stream = |name: &str| match crates.build_table_by_name(name)? {
            Some(PgCatalogTable::Dynamic(stream)) => Ok(stream),
            _ => Err(DataFusionError::Internal(format!("{name} is no longer dynamic"))),
        };
        Ok(Self {
            schema: Arc::clone(stream(NAME)?.schema()),
            classes: stream("pg_class")?,
            namespaces: stream("pg_namespace")?,
            shown,
        })
    }

    async fn batch(self, context: Arc<TaskContext>) -> Result<RecordBatch> {
        let namespaces = ids(&self.namespaces, &context, "nspname", None).await?;
        let namespaces: BTreeMap<_, _> =
            namespaces.into_iter().map(|(oid, name, _)| (oid, name)).collect();
        let mut rows = Vec::new();
        for (oid, table, namespace) in
            ids(&self.classes, &context, "relname", Some("relnamespace")).await?
        {
            let Some(schema) = namespaces.get(&namespace) else { continue };
            let Some(columns) = self.shown.columns(schema, &table).await? else { continue };
            for (number, field) in (1..).zip(columns.fields()) {
                rows.push(Attribute {
                    relation: oid,
                    number,
                    kind: types::of_field(field),
                    field: Arc::clone(field),
                });
            }
        }
        let columns = self.schema.fields().iter().map(|field| column(field, &rows));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?)
    }
}

impl PartitionStream for Attributes {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = stream::once(self.clone().batch(context));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batch))
    }
}

/// OIDs with a name, and another number of the same row.
async fn ids(
    of: &Arc<dyn PartitionStream>,
    context: &Arc<TaskContext>,
    name: &str,
    other: Option<&str>,
) -> Result<Vec<(i32, String, i32)>> {
    let batches: Vec<_> = of.execute(Arc::clone(context)).try_collect().await?;
    let mut found = Vec::new();
    for batch in batches {
        let column = |name: &str| {
            let missing = || DataFusionError::Internal(format!("the catalog has no {name}"));
            batch.column_by_name(name).ok_or_else(missing)
        };
        let number =
            |name: &str| Ok::<_, DataFusionError>(column(name)?.as_primitive::<Int32Type>());
        let (oids, names) = (number("oid")?, column(name)?.as_string::<i32>());
        let others = other.map(number).transpose()?;
        for row in 0..batch.num_rows() {
            let other = others.map_or(0, |others| others.value(row));
            found.push((oids.value(row), names.value(row).to_owned(), other));
        }
    }
    Ok(found)
}

/// A column of a relation.
struct Attribute {
    relation: i32,
    number: i16,
    kind: Type,
    field: Arc<Field>,
}

impl Attribute {
    fn length(&self) -> i16 {
        types::length(&self.kind)
    }

    fn alignment(&self) -> &str {
        match self.length() {
            1 => "c",
            2 => "s",
            8 | 16 => "d",
            _ => "i",
        }
    }
}

/// A column of `pg_attribute` itself.
fn column(field: &Field, rows: &[Attribute]) -> ArrayRef {
    fn ints(rows: &[Attribute], value: impl Fn(&Attribute) -> i32) -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<Int32Array>())
    }
    fn shorts(rows: &[Attribute], value: impl Fn(&Attribute) -> i16) -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<Int16Array>())
    }
    fn bools(rows: &[Attribute], value: impl Fn(&Attribute) -> bool) -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<BooleanArray>())
    }
    fn texts(rows: &[Attribute], value: impl Fn(&Attribute) -> &str) -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<StringArray>())
    }
    match (field.name().as_str(), field.data_type()) {
        ("attrelid", DataType::Int32) => ints(rows, |row| row.relation),
        ("atttypid", DataType::Int32) => {
            ints(rows, |row| i32::try_from(row.kind.oid()).unwrap_or(0))
        }
        ("attndims", DataType::Int32) => {
            ints(rows, |row| types::element_of(&row.kind).is_some().into())
        }
        ("attstattarget" | "attcacheoff" | "atttypmod", DataType::Int32) => ints(rows, |_| -1),
        (_, DataType::Int32) => ints(rows, |_| 0),
        ("attnum", DataType::Int16) => shorts(rows, |row| row.number),
        ("attlen", DataType::Int16) => shorts(rows, Attribute::length),
        (_, DataType::Int16) => shorts(rows, |_| 0),
        ("attname", DataType::Utf8) => texts(rows, |row| row.field.name()),
        ("attalign", DataType::Utf8) => texts(rows, Attribute::alignment),
        ("attstorage", DataType::Utf8) => {
            texts(rows, |row| if row.length() < 0 { "x" } else { "p" })
        }
        ("attidentity" | "attgenerated", DataType::Utf8) => texts(rows, |_| ""),
        ("attnotnull", DataType::Boolean) => bools(rows, |row| !row.field.is_nullable()),
        ("attbyval", DataType::Boolean) => bools(rows, |row| (1..=8).contains(&row.length())),
        ("attislocal", DataType::Boolean) => bools(rows, |_| true),
        (_, DataType::Boolean) => bools(rows, |_| false),
        (_, other) => new_null_array(other, rows.len()),
    }
}

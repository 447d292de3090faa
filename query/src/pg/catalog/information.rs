//! `information_schema` with PostgreSQL's names of types, which DataFusion's own does not have.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int32Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{SchemaProvider, TableProvider, streaming::StreamingTable},
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::stream;
use pgwire::api::Type;

use super::{OWNER, SYSTEM, Shown};
use crate::pg::types;

pub(super) const NAME: &str = "information_schema";

/// The views and their columns; a column of numbers has a `#` before its name.
const VIEWS: &[(&str, &[&str])] = &[
    (
        "columns",
        &[
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "#ordinal_position",
            "column_default",
            "is_nullable",
            "data_type",
            "#character_maximum_length",
            "#numeric_precision",
            "#numeric_scale",
            "#datetime_precision",
            "udt_catalog",
            "udt_schema",
            "udt_name",
            "is_identity",
            "is_generated",
            "is_updatable",
        ],
    ),
    (
        "key_column_usage",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "#ordinal_position",
        ],
    ),
    (
        "referential_constraints",
        &["constraint_schema", "constraint_name", "unique_constraint_name", "update_rule"],
    ),
    ("schemata", &["catalog_name", "schema_name", "schema_owner"]),
    (
        "table_constraints",
        &["constraint_schema", "constraint_name", "table_schema", "table_name", "constraint_type"],
    ),
    (
        "tables",
        &["table_catalog", "table_schema", "table_name", "table_type", "is_insertable_into"],
    ),
    ("views", &["table_catalog", "table_schema", "table_name", "view_definition"]),
];

/// A cell: text, a number as text, or nothing.
type Row = Vec<Option<String>>;

/// The schema.
#[derive(Debug)]
pub(super) struct Information {
    pub(super) shown: Shown,
    pub(super) database: String,
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        VIEWS.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some((name, columns)) = VIEWS.iter().find(|(view, _)| view.eq_ignore_ascii_case(name))
        else {
            return Ok(None);
        };
        let (shown, database) = (self.shown.clone(), self.database.clone());
        let view = View { name, schema: schema(columns), shown, database };
        let schema = Arc::clone(&view.schema);
        Ok(Some(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(view)])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        VIEWS.iter().any(|(view, _)| view.eq_ignore_ascii_case(name))
    }
}

fn schema(columns: &[&str]) -> SchemaRef {
    let field = |name: &&str| match name.strip_prefix('#') {
        Some(name) => Field::new(name, DataType::Int32, true),
        None => Field::new(*name, DataType::Utf8, true),
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

#[derive(Debug, Clone)]
struct View {
    name: &'static str,
    schema: SchemaRef,
    shown: Shown,
    database: String,
}

impl View {
    async fn batch(self) -> Result<RecordBatch> {
        let rows = match self.name {
            "tables" => self.tables(),
            "columns" => self.columns().await?,
            "schemata" => self.schemata(),
            _ => Vec::new(),
        };
        let columns = self.schema.fields().iter().enumerate().map(|(index, field)| -> ArrayRef {
            let cells = rows.iter().map(|row| row.get(index).cloned().flatten());
            match field.data_type() {
                DataType::Int32 => {
                    let number = |cell: Option<String>| cell.and_then(|cell| cell.parse().ok());
                    Arc::new(cells.map(number).collect::<Int32Array>())
                }
                _ => Arc::new(cells.collect::<StringArray>()),
            }
        });
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?)
    }

    fn tables(&self) -> Vec<Row> {
        let names = self.shown.schemas().into_iter().flat_map(|schema| {
            self.shown.names(&schema).into_iter().map(move |name| (schema.clone(), name))
        });
        names
            .map(|(schema, name)| {
                row([
                    Some(self.database.as_str()),
                    Some(&schema),
                    Some(&name),
                    Some("BASE TABLE"),
                    Some("NO"),
                ])
            })
            .collect()
    }

    fn schemata(&self) -> Vec<Row> {
        let schemas = self.shown.schemas().into_iter().chain([NAME.to_owned()]);
        schemas
            .map(|schema| row([Some(self.database.as_str()), Some(&schema), Some(OWNER)]))
            .collect()
    }

    async fn columns(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for schema in self.shown.schemas() {
            for table in self.shown.names(&schema) {
                let Some(columns) = self.shown.columns(&schema, &table).await? else { continue };
                for (number, field) in (1..).zip(columns.fields()) {
                    let kind = types::of_field(field);
                    let precision = precision(&kind).map(|precision: u8| precision.to_string());
                    let is_time = matches!(kind, Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ);
                    rows.push(row([
                        Some(self.database.as_str()),
                        Some(&schema),
                        Some(&table),
                        Some(field.name()),
                        Some(&i32::to_string(&number)),
                        None,
                        Some(if field.is_nullable() { "YES" } else { "NO" }),
                        Some(type_name(&kind)),
                        None,
                        precision.as_deref(),
                        matches!(kind, Type::INT2 | Type::INT4 | Type::INT8).then_some("0"),
                        is_time.then_some("6"),
                        Some(self.database.as_str()),
                        Some(SYSTEM),
                        Some(kind.name()),
                        Some("NO"),
                        Some("NEVER"),
                        Some("NO"),
                    ]));
                }
            }
        }
        Ok(rows)
    }
}

impl PartitionStream for View {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = stream::once(self.clone().batch());
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batch))
    }
}

fn row<const N: usize>(cells: [Option<&str>; N]) -> Row {
    cells.into_iter().map(|cell| cell.map(str::to_owned)).collect()
}

/// In bits, for numbers.
fn precision(kind: &Type) -> Option<u8> {
    match *kind {
        Type::INT2 => Some(16),
        Type::INT4 => Some(32),
        Type::INT8 => Some(64),
        Type::FLOAT4 => Some(24),
        Type::FLOAT8 => Some(53),
        _ => None,
    }
}

/// A type as the SQL standard writes it.
fn type_name(kind: &Type) -> &str {
    if types::element_of(kind).is_some() {
        return "ARRAY";
    }
    match *kind {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::TIME => "time without time zone",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::CHAR => "\"char\"",
        _ => kind.name(),
    }
}

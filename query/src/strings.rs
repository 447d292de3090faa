//! Strings as Arrow's views.
//!
//! Parquet's reader hands out strings of Delta tables as views, and comparing and grouping them is
//! cheaper. So a table's columns are views in queries, on both of its sides; the answers that leave
//! by Arrow have plain strings, which every reader knows.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use datafusion::{
    error::Result,
    physical_expr::{
        PhysicalExpr,
        expressions::{CastExpr, Column},
    },
    physical_plan::{
        ExecutionPlan,
        projection::{ProjectionExec, ProjectionExpr},
    },
};

/// A type without views, as answers name it.
pub(crate) fn plain(kind: &DataType) -> &DataType {
    match kind {
        DataType::Utf8View => &DataType::Utf8,
        DataType::BinaryView => &DataType::Binary,
        kind => kind,
    }
}

fn view(kind: &DataType) -> &DataType {
    match kind {
        DataType::Utf8 => &DataType::Utf8View,
        DataType::Binary => &DataType::BinaryView,
        kind => kind,
    }
}

fn with_types(schema: &Schema, of: fn(&DataType) -> &DataType) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let kind = of(field.data_type()).clone();
        Arc::new(Field::clone(field).with_data_type(kind))
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The same columns with views in place of strings and bytes; those within lists and structures
/// stay.
pub(crate) fn viewed(schema: &Schema) -> SchemaRef {
    with_types(schema, view)
}

/// The same columns without views.
pub(crate) fn plained(schema: &Schema) -> SchemaRef {
    with_types(schema, plain)
}

/// Rows without views.
pub(crate) fn plain_rows(
    rows: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    // Of rows without columns there is only a number.
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = columns.collect::<Result<_, _>>()?;
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Rows of a plan by the same columns of a schema with views.
pub(crate) fn as_views(
    rows: Arc<dyn ExecutionPlan>,
    schema: &Schema,
) -> Result<Arc<dyn ExecutionPlan>> {
    let from = rows.schema();
    let columns = from.fields().iter().zip(schema.fields()).enumerate();
    let exprs = columns.map(|(index, (from, to))| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(from.name(), index));
        let expr = match from.data_type() == to.data_type() {
            true => column,
            false => Arc::new(CastExpr::new(column, to.data_type().clone(), None)),
        };
        ProjectionExpr { expr, alias: to.name().clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(exprs.collect::<Vec<_>>(), rows)?))
}

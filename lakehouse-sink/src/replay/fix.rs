//! An SQL expression that mends the values of dead letters.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use bytes::Bytes;
use deltalake::datafusion::{
    common::DFSchema, error::DataFusionError, physical_expr::PhysicalExpr, prelude::SessionContext,
};
use table::schema::VALUE;

use super::ReplayError;
use crate::{dead_letter, error::SinkError};

/// Column of the value as text, besides those of the dead-letter table; NULL where it is not UTF-8.
const TEXT: &str = "text";

/// An expression over one dead letter. What it makes NULL of is left alone.
#[derive(Debug)]
pub(super) struct Fix {
    expression: Arc<dyn PhysicalExpr>,
    columns: SchemaRef,
}

impl Fix {
    pub(super) fn new(sql: &str) -> Result<Self, ReplayError> {
        let wrong = |error: DataFusionError| ReplayError::Fix(error.strip_backtrace());
        let fields = dead_letter::columns().fields().iter().cloned().collect::<Vec<_>>();
        let text = Arc::new(Field::new(TEXT, DataType::Utf8, true));
        let columns: SchemaRef =
            Arc::new(Schema::new(fields.into_iter().chain([text]).collect::<Vec<_>>()));
        let named = DFSchema::try_from(Arc::clone(&columns)).map_err(wrong)?;
        let session = SessionContext::new();
        let parsed = session.parse_sql_expr(sql, &named).map_err(wrong)?;
        let expression = session.create_physical_expr(parsed, &named).map_err(wrong)?;
        match expression.data_type(&columns).map_err(wrong)? {
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => Ok(Self { expression, columns }),
            other => Err(ReplayError::Fix(format!(
                "{sql} is of type {other}: text or bytes are needed, the mended value"
            ))),
        }
    }

    /// The mended values, `None` where there is none.
    pub(super) fn values(&self, rows: &RecordBatch) -> Result<Vec<Option<Bytes>>, SinkError> {
        let texts: StringArray = match rows.column_by_name(VALUE) {
            Some(values) => {
                let values = values.as_binary::<i32>();
                values.iter().map(|value| std::str::from_utf8(value?).ok()).collect()
            }
            None => StringArray::new_null(rows.num_rows()),
        };
        let columns = rows.columns().iter().cloned().chain([Arc::new(texts) as ArrayRef]);
        let rows = RecordBatch::try_new(Arc::clone(&self.columns), columns.collect())?;
        let failed = |error: DataFusionError| SinkError::Fix(error.strip_backtrace());
        let values = self.expression.evaluate(&rows).map_err(failed)?;
        let values = values.into_array(rows.num_rows()).map_err(failed)?;
        let values = cast(&values, &DataType::Binary)?;
        let values = values.as_binary::<i32>();
        let value = |row| values.is_valid(row).then(|| Bytes::copy_from_slice(values.value(row)));
        Ok((0..values.len()).map(value).collect())
    }
}

//! `pg_class` with the columns that the crate leaves out, and without sizes that it makes up:
//! clients divide a scan by them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float64Array, Int32Array, RecordBatch, new_null_array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::StreamExt as _;

pub(super) const NAME: &str = "pg_class";

/// The relations.
#[derive(Debug)]
pub(super) struct Classes {
    inner: Arc<dyn PartitionStream>,
    schema: SchemaRef,
}

impl Classes {
    pub(super) fn new(inner: Arc<dyn PartitionStream>) -> Self {
        let schema = schema(inner.schema());
        Self { inner, schema }
    }
}

/// The crate's columns and ours.
pub(super) fn schema(inner: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = inner.fields().iter().map(Arc::clone).collect();
    for name in ["relacl", "reloptions"] {
        let texts = DataType::new_list(DataType::Utf8, true);
        fields.push(Arc::new(Field::new(name, texts, true)));
    }
    Arc::new(Schema::new(fields))
}

impl PartitionStream for Classes {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = self.inner.execute(context).map(move |batch| completed(&schema, &batch?));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

fn completed(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = schema.fields().iter().enumerate().map(|(index, field)| -> ArrayRef {
        match (field.name().as_str(), batch.columns().get(index)) {
            // Never analyzed: nobody knows.
            ("relpages", Some(_)) => Arc::new(Int32Array::from(vec![0; rows])),
            ("reltuples", Some(_)) => Arc::new(Float64Array::from(vec![-1.0; rows])),
            (_, Some(column)) => Arc::clone(column),
            (_, None) => new_null_array(field.data_type(), rows),
        }
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect())?)
}

//! `pg_database`: one, by the name under which a session came in.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, BooleanArray, RecordBatch, StringArray},
    compute::filter_record_batch,
    datatypes::SchemaRef,
};
use datafusion::{
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::StreamExt as _;

use crate::engine::CATALOG;

pub(super) const NAME: &str = "pg_database";

/// The databases.
#[derive(Debug)]
pub(super) struct Databases {
    pub(super) inner: Arc<dyn PartitionStream>,
    pub(super) database: String,
}

impl PartitionStream for Databases {
    fn schema(&self) -> &SchemaRef {
        self.inner.schema()
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let database = self.database.clone();
        let batches = self.inner.execute(context).map(move |batch| renamed(&batch?, &database));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(self.inner.schema()), batches))
    }
}

/// Our row alone, by another name.
fn renamed(batch: &RecordBatch, database: &str) -> Result<RecordBatch> {
    let index = batch.schema().index_of("datname")?;
    let names = batch.column(index).as_string::<i32>();
    let ours: BooleanArray = names.iter().map(|name| Some(name == Some(CATALOG))).collect();
    let batch = filter_record_batch(batch, &ours)?;
    let mut columns = batch.columns().to_vec();
    let names = std::iter::repeat_n(database, batch.num_rows());
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    if let Some(column) = columns.get_mut(index) {
        *column = names;
    }
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

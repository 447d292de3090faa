//! The log's tail as rows: what the table does not have yet, up to an end taken beforehand.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{
        ExecutionPlan,
        empty::EmptyExec,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{StreamExt as _, stream};
use lakehouse_sink::dead_letter;
use storage::Partition;
use table::{
    decode::{self, Need},
    reader::Chunk,
    schema::{RESCUED, TableSchema},
};

use crate::{bounds::Bounds, error::external, running::TailRows};

/// Bytes of the log decoded at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// A range of a partition's offsets.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) partition: Arc<Partition>,
    /// The first.
    pub(crate) from: i64,
    /// The one after the last.
    pub(crate) to: i64,
}

/// Which records of a range are rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those that can be decoded, as in a table.
    Decoded,
    /// All.
    All,
    /// Those that cannot be decoded, as in a dead-letter table.
    Dead,
    /// Those that can be decoded, and whether they are tombstones: changes of an upsert table.
    Changes,
}

/// The tail of a table.
#[derive(Debug)]
pub(crate) struct Tail {
    kind: Kind,
    schema: Arc<TableSchema>,
    arrow: SchemaRef,
    ranges: Vec<Range>,
}

impl Tail {
    /// The rows of some ranges, by one version of a schema.
    pub(crate) fn new(kind: Kind, schema: Arc<TableSchema>, ranges: Vec<Range>) -> Self {
        let arrow = match kind {
            Kind::Decoded | Kind::All => schema.arrow(),
            Kind::Dead => dead_letter::columns(),
            Kind::Changes => decode::with_tombstones(&schema.arrow()),
        };
        Self { kind, arrow, schema, ranges }
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[async_trait]
impl TableProvider for Tail {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // What is not read needs no filter; what is read is filtered again.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole: Vec<_> = (0..self.arrow.fields().len()).collect();
        let wanted = self.arrow.project(projection.unwrap_or(&whole))?;
        let wants = |name: &str| wanted.column_with_name(name).is_some();
        // Of a value only the columns that are asked for are built.
        let rescued = wants(RESCUED);
        let (schema, arrow) = match self.kind {
            Kind::Decoded | Kind::All if !rescued => {
                let schema = Arc::new(self.schema.with_columns(wants));
                let arrow = schema.arrow();
                (schema, arrow)
            }
            _ => (Arc::clone(&self.schema), Arc::clone(&self.arrow)),
        };
        let projection: Vec<_> = wanted
            .fields()
            .iter()
            .map(|field| arrow.index_of(field.name()))
            .collect::<Result<_, _>>()?;
        let bounds = Bounds::of(filters);
        let mut streams: Vec<Arc<dyn PartitionStream>> = Vec::new();
        for range in &self.ranges {
            let Some(range) = bounds.cut(range).await? else { continue };
            streams.push(Arc::new(TailStream {
                kind: self.kind,
                rescued,
                schema: Arc::clone(&schema),
                arrow: Arc::clone(&arrow),
                range,
            }));
        }
        if streams.is_empty() {
            // A plan without partitions cannot be sorted, nor can a union with one.
            let projected = arrow.project(&projection)?;
            return Ok(Arc::new(EmptyExec::new(Arc::new(projected))));
        }
        let plan =
            StreamingTableExec::try_new(arrow, streams, Some(&projection), [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// One partition's part of a tail.
#[derive(Debug)]
struct TailStream {
    kind: Kind,
    rescued: bool,
    schema: Arc<TableSchema>,
    arrow: SchemaRef,
    range: Range,
}

impl PartitionStream for TailStream {
    fn schema(&self) -> &SchemaRef {
        &self.arrow
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (kind, schema) = (self.kind, Arc::clone(&self.schema));
        let need = Need { all_records: kind == Kind::All, rescued: self.rescued };
        let counted = context.session_config().get_extension::<TailRows>();
        let Range { partition, from, to } = self.range.clone();
        let topic = partition.topic().to_owned();
        let chunks = stream::try_unfold(from, move |offset| {
            let partition = Arc::clone(&partition);
            async move {
                if offset >= to {
                    return Ok::<_, DataFusionError>(None);
                }
                let chunk = Chunk::read(&partition, offset, to, CHUNK_BYTES).await;
                let chunk = chunk.map_err(external)?;
                let next = chunk.next_offset;
                Ok(Some((chunk, next)))
            }
        });
        let batches = chunks.map(move |chunk| {
            let chunk = chunk?;
            let rows = match kind {
                Kind::Decoded | Kind::All => {
                    decode::read(&chunk, &schema, need).map_err(external)?
                }
                Kind::Changes => {
                    let decoded = decode::decode(&chunk, &schema).map_err(external)?;
                    decoded.rows_with_tombstones()?
                }
                Kind::Dead => {
                    let decoded = decode::decode(&chunk, &schema).map_err(external)?;
                    dead_letter::rows(&topic, decoded.dead.iter())?
                }
            };
            if let Some(counted) = &counted {
                counted.add(rows.num_rows());
            }
            Ok(rows)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.arrow), batches))
    }
}

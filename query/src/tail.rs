//! The log's tail as rows: what the table does not have yet, up to an end taken beforehand.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::ScalarValue,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType},
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{StreamExt as _, stream};
use storage::Partition;
use table::{
    decode,
    reader::Chunk,
    schema::{OFFSET, PARTITION, TableSchema},
};

use crate::error::external;

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

/// The tail of a table.
#[derive(Debug)]
pub(crate) struct Tail {
    schema: Arc<TableSchema>,
    arrow: SchemaRef,
    ranges: Vec<Range>,
}

impl Tail {
    /// The rows of some ranges, by one version of a schema.
    pub(crate) fn new(schema: Arc<TableSchema>, ranges: Vec<Range>) -> Self {
        Self { arrow: schema.arrow(), schema, ranges }
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
        let bounds = Bounds::of(filters);
        let streams = self.ranges.iter().filter_map(|range| bounds.cut(range)).map(|range| {
            Arc::new(TailStream {
                schema: Arc::clone(&self.schema),
                arrow: Arc::clone(&self.arrow),
                range,
            }) as Arc<dyn PartitionStream>
        });
        let arrow = Arc::clone(&self.arrow);
        let plan =
            StreamingTableExec::try_new(arrow, streams.collect(), projection, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// One partition's part of a tail.
#[derive(Debug)]
struct TailStream {
    schema: Arc<TableSchema>,
    arrow: SchemaRef,
    range: Range,
}

impl PartitionStream for TailStream {
    fn schema(&self) -> &SchemaRef {
        &self.arrow
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let Range { partition, from, to } = self.range.clone();
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
            let decoded = decode::decode(&chunk?, &schema).map_err(external)?;
            Ok(decoded.rows)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.arrow), batches))
    }
}

/// What filters say of partitions and offsets: closed ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bounds(BTreeMap<&'static str, (i64, i64)>);

impl Bounds {
    fn of(filters: &[Expr]) -> Self {
        let mut bounds = Self(BTreeMap::new());
        filters.iter().for_each(|filter| bounds.add(filter));
        bounds
    }

    fn add(&mut self, filter: &Expr) {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return };
        let (column, op, value) = match (left.as_ref(), op, right.as_ref()) {
            (left, Operator::And, right) => {
                self.add(left);
                self.add(right);
                return;
            }
            (Expr::Column(column), op, Expr::Literal(value, _)) => (column, *op, value),
            (Expr::Literal(value, _), op, Expr::Column(column)) => {
                let Some(op) = op.swap() else { return };
                (column, op, value)
            }
            _ => return,
        };
        let name = match column.name.as_str() {
            OFFSET => OFFSET,
            PARTITION => PARTITION,
            _ => return,
        };
        let value = match value {
            ScalarValue::Int64(Some(value)) => *value,
            ScalarValue::Int32(Some(value)) => i64::from(*value),
            _ => return,
        };
        let (low, high) = match op {
            Operator::Eq => (value, value),
            Operator::Gt => (value.saturating_add(1), i64::MAX),
            Operator::GtEq => (value, i64::MAX),
            Operator::Lt => (i64::MIN, value.saturating_sub(1)),
            Operator::LtEq => (i64::MIN, value),
            _ => return,
        };
        let bound = self.0.entry(name).or_insert((i64::MIN, i64::MAX));
        *bound = (bound.0.max(low), bound.1.min(high));
    }

    /// What of a range can pass; `None` where nothing can.
    fn cut(&self, range: &Range) -> Option<Range> {
        let whole = (i64::MIN, i64::MAX);
        let (low, high) = self.0.get(PARTITION).unwrap_or(&whole);
        if !(*low..=*high).contains(&i64::from(range.partition.key().partition)) {
            return None;
        }
        let (low, high) = self.0.get(OFFSET).unwrap_or(&whole);
        let (from, to) = (range.from.max(*low), range.to.min(high.saturating_add(1)));
        (from < to).then(|| Range { partition: Arc::clone(&range.partition), from, to })
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn filters_on_partitions_and_offsets_are_understood() {
        let bounds = Bounds::of(&[
            col("kafka_partition").eq(lit(3)),
            col("kafka_offset").gt_eq(lit(10_i64)).and(lit(20_i64).gt(col("kafka_offset"))),
            col("carrier").eq(lit("UA")),
            col("kafka_offset").lt(lit(30_i64)).or(col("carrier").eq(lit("UA"))),
        ]);
        let expected = BTreeMap::from([(PARTITION, (3, 3)), (OFFSET, (10, 19))]);
        assert_eq!(bounds, Bounds(expected));
    }
}

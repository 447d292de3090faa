//! A table as one query sees it: a Delta snapshot and the log's tail behind it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::ScalarValue,
    error::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_expr::{
        PhysicalExpr,
        expressions::{CastExpr, Column, Literal},
    },
    physical_plan::{
        ExecutionPlan,
        projection::{ProjectionExec, ProjectionExpr},
        union::UnionExec,
    },
};
use lakehouse_sink::TableLog;
use table::{
    partition::PartitionBy,
    schema::TableSchema,
    table::{Offsets, Table},
};

use crate::{
    division,
    error::ViewError,
    tail::{Range, Tail},
};

/// A table and its tail at one moment. A provider of its own rather than a view over a union:
/// DataFusion 55 moves field accesses below a union and mixes up its inputs' columns.
#[derive(Debug)]
pub(crate) struct TableView {
    schema: SchemaRef,
    /// The Delta snapshot; none before the first commit.
    committed: Option<Arc<dyn TableProvider>>,
    tail: Tail,
    partition_by: Vec<PartitionBy>,
}

impl TableView {
    /// The table now.
    pub(crate) async fn new(table: &Table, log: Option<&TableLog>) -> Result<Self> {
        // The progress first: what is committed to the table was readable in the log before.
        let progress = progress(table, log).await?;
        let ranges = ranges(table, &progress);
        let schema = schema(table, &progress, &ranges).await?;
        let committed: Option<Arc<dyn TableProvider>> = match log {
            Some(log) => Some(log.rows().await?),
            None => None,
        };
        Ok(Self {
            schema: schema.arrow(),
            partition_by: schema.partition_by.clone(),
            committed,
            tail: Tail::new(schema, ranges),
        })
    }

    /// The committed rows, by the columns of this view, of which the table may lack the newest.
    async fn committed(
        &self,
        provider: &dyn TableProvider,
        state: &dyn Session,
        columns: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let has = provider.schema();
        let mut wanted = Vec::new();
        let mut exprs = Vec::with_capacity(columns.len());
        for field in columns.iter().map(|index| self.schema.field(*index)) {
            let kind = field.data_type();
            let expr: Arc<dyn PhysicalExpr> = match has.column_with_name(field.name()) {
                Some((at, found)) => {
                    let column = Arc::new(Column::new(field.name(), wanted.len()));
                    wanted.push(at);
                    if found.data_type() == kind {
                        column
                    } else {
                        Arc::new(CastExpr::new(column, kind.clone(), None))
                    }
                }
                None => Arc::new(Literal::new(ScalarValue::try_new_null(kind)?)),
            };
            exprs.push(ProjectionExpr { expr, alias: field.name().clone() });
        }
        let usable: Vec<_> = filters
            .iter()
            .filter(|filter| self.means_the_same(filter, &has))
            .cloned()
            .chain(division::implied(&self.partition_by, filters))
            .collect();
        let rows = provider.scan(state, Some(&wanted), &usable, limit).await?;
        Ok(Arc::new(ProjectionExec::try_new(exprs, rows)?))
    }

    /// Whether a filter sees the same columns in the table as in this view.
    fn means_the_same(&self, filter: &Expr, has: &Schema) -> bool {
        filter.column_refs().into_iter().all(|column| {
            let own = self.schema.field_with_name(&column.name);
            let other = has.field_with_name(&column.name);
            let (Ok(own), Ok(other)) = (own, other) else { return false };
            // Delta hands out partition columns as dictionaries; comparisons see through that.
            match other.data_type() {
                DataType::Dictionary(_, values) => own.data_type() == values.as_ref(),
                kind => own.data_type() == kind,
            }
        })
    }
}

#[async_trait]
impl TableProvider for TableView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Both sides leave out what they can, neither is bound to.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let tail = self.tail.scan(state, Some(&columns), filters, limit).await?;
        let Some(provider) = &self.committed else { return Ok(tail) };
        let rows = self.committed(provider.as_ref(), state, &columns, filters, limit).await?;
        UnionExec::try_new(vec![rows, tail])
    }
}

async fn progress(table: &Table, log: Option<&TableLog>) -> Result<Offsets, ViewError> {
    let mut progress = Offsets::new();
    for partition in table.partitions() {
        let index = partition.key().partition;
        let committed = match log {
            Some(log) => log.progress(&table.application_id(index)).await?,
            None => None,
        };
        progress.insert(index, committed.unwrap_or(0));
    }
    Ok(progress)
}

/// From the progress, or the log's start where that lies behind it, to the last stable offset.
fn ranges(table: &Table, progress: &Offsets) -> Vec<Range> {
    let range = |partition: Arc<storage::Partition>| {
        let offsets = partition.offsets();
        let next = progress.get(&partition.key().partition).copied().unwrap_or(0);
        Range { from: next.max(offsets.log_start), to: offsets.last_stable, partition }
    };
    table.partitions().into_iter().map(range).filter(|range| range.from < range.to).collect()
}

/// The schema that has a column for everything in the ranges.
async fn schema(
    table: &Table,
    progress: &Offsets,
    ranges: &[Range],
) -> Result<Arc<TableSchema>, ViewError> {
    let ends: Offsets =
        ranges.iter().map(|range| (range.partition.key().partition, range.to)).collect();
    Ok(match table.schema() {
        Some(settled) => table.schema_up_to(&settled, progress, &ends).await?,
        None => table.provisional_schema(&ends).await?.0,
    })
}

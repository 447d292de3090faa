//! A table as one query sees it: a Delta snapshot and the log's tail behind it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{ScalarValue, ToDFSchema as _},
    error::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_expr::{
        PhysicalExpr,
        expressions::{CastExpr, Column, Literal},
    },
    physical_plan::{
        ExecutionPlan,
        empty::EmptyExec,
        filter::FilterExecBuilder,
        projection::{ProjectionExec, ProjectionExpr},
        union::UnionExec,
    },
};
use lakehouse_sink::{TableLog, dead_letter};
use storage::Partition;
use table::{
    catalog::TopicView,
    config::OnError,
    partition::PartitionBy,
    rules::TableMode,
    schema::{OFFSET, PARTITION, TableSchema},
    table::{Offsets, Table},
};

use crate::{
    division,
    error::ViewError,
    pruning, strings,
    tail::{Kind, Range, Tail},
    topics,
    travel::{self, Written},
    upsert::UpsertView,
    wait,
};

/// A table and its tail at one moment. A provider of its own rather than a view over a union:
/// DataFusion 55 moves field accesses below a union and mixes up its inputs' columns.
#[derive(Debug)]
pub(crate) struct TableView {
    schema: SchemaRef,
    /// The Delta snapshot; none before the first commit.
    committed: Option<Arc<dyn TableProvider>>,
    /// Which of its rows are meant; all where there is none.
    only: Option<Expr>,
    tail: Option<Tail>,
    /// What the files are divided by.
    partition_by: Vec<PartitionBy>,
}

/// The table now.
pub(crate) async fn now(table: &Table, log: Option<&TableLog>) -> Result<Arc<dyn TableProvider>> {
    // The progress first: what is committed to the table was readable in the log before.
    let progress = progress(table, log).await?;
    let ranges = ranges(table, &progress);
    let schema = schema(table, &progress, &ranges).await?;
    let committed = TableView {
        schema: schema.arrow(),
        partition_by: schema.rules.partition_by.clone(),
        committed: provider(log).await?,
        only: None,
        tail: None,
    };
    Ok(match schema.rules.mode {
        TableMode::Append => {
            let tail = Some(Tail::new(Kind::Decoded, schema, ranges));
            Arc::new(TableView { tail, schema: strings::viewed(&committed.schema), ..committed })
        }
        TableMode::Upsert => {
            let identity = schema.rules.identity().into_iter().map(str::to_owned).collect();
            let tail = Tail::new(Kind::Changes, schema, ranges);
            Arc::new(UpsertView::new(committed, tail, identity))
        }
    })
}

impl TableView {
    /// The rows below some offsets. All of them are there already, so that the answer stays.
    pub(crate) async fn below(
        table: &Table,
        log: Option<&TableLog>,
        offsets: &Offsets,
    ) -> Result<Self> {
        are_there(&table.partitions(), offsets)?;
        let progress = progress(table, log).await?;
        let ranges = travel::below(ranges(table, &progress), offsets);
        let schema = schema(table, &progress, &ranges).await?;
        if schema.rules.mode == TableMode::Upsert {
            let reason = "an upsert table keeps the newest record of each key only: it has versions \
                          and timestamps, no offsets, to go back to";
            return Err(ViewError::Unsupported(reason).into());
        }
        Ok(Self {
            schema: strings::viewed(&schema.arrow()),
            partition_by: schema.rules.partition_by.clone(),
            committed: provider(log).await?,
            only: travel::only(&progress, offsets),
            tail: Some(Tail::new(Kind::Decoded, schema, ranges)),
        })
    }

    /// The committed rows of a version.
    pub(crate) async fn committed_rows(log: &TableLog) -> Result<Self> {
        let schema = log.columns().map_err(ViewError::from)?;
        Ok(Self {
            schema: strings::viewed(&schema),
            partition_by: Vec::new(),
            committed: provider(Some(log)).await?,
            only: None,
            tail: None,
        })
    }

    /// What cannot be decoded: the dead-letter table and the tail behind it. `log` is the table's
    /// own and older than `dead`, so that what lies below its progress is in `dead`.
    pub(crate) async fn dead_letters(
        table: &Table,
        log: Option<&TableLog>,
        dead: Option<&TableLog>,
    ) -> Result<Self> {
        let mut progress = progress(table, log).await?;
        if let Some(dead) = dead {
            for (partition, known) in dead.progress_of(table).await.map_err(ViewError::from)? {
                let next = progress.entry(partition).or_insert(known);
                *next = (*next).max(known);
            }
        }
        // Elsewhere such records never come to the dead-letter table.
        let is_kept = table.config().on_error == OnError::DeadLetter;
        let ranges = if is_kept { ranges(table, &progress) } else { Vec::new() };
        let schema = match table.schema() {
            // What can be decoded does not depend on the columns that are added.
            Some(settled) => settled,
            None => schema(table, &progress, &ranges).await?,
        };
        Ok(Self {
            schema: strings::viewed(&dead_letter::columns()),
            partition_by: Vec::new(),
            committed: provider(dead).await?,
            only: None,
            tail: Some(Tail::new(Kind::Dead, schema, ranges)),
        })
    }

    /// A topic without a table, all of it or what lies below some offsets.
    pub(crate) async fn log_only(topic: &TopicView, offsets: Option<&Offsets>) -> Result<Self> {
        let mut ranges = topics::ranges(&topic.partitions);
        if let Some(offsets) = offsets {
            are_there(&topic.partitions, offsets)?;
            ranges = travel::below(ranges, offsets);
        }
        let schema = topics::schema(topic, &ranges).await?;
        let tail = Some(Tail::new(Kind::All, Arc::clone(&schema), ranges));
        let partition_by = Vec::new();
        let schema = strings::viewed(&schema.arrow());
        Ok(Self { schema, partition_by, committed: None, only: None, tail })
    }

    /// The committed rows that are meant.
    async fn committed_only(
        &self,
        provider: &dyn TableProvider,
        state: &dyn Session,
        columns: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(only) = &self.only else {
            return self.committed(provider, state, columns, filters, limit).await;
        };
        let mut needed = columns.to_vec();
        for name in [PARTITION, OFFSET] {
            let index = self.schema.index_of(name)?;
            if !needed.contains(&index) {
                needed.push(index);
            }
        }
        let filters: Vec<_> = filters.iter().chain([only]).cloned().collect();
        let rows = self.committed(provider, state, &needed, &filters, None).await?;
        let predicate = state.create_physical_expr(only.clone(), &rows.schema().to_dfschema()?)?;
        let filter = FilterExecBuilder::new(predicate, rows)
            .apply_projection(Some((0..columns.len()).collect()))?
            .build()?;
        Ok(Arc::new(filter))
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
        Ok(Arc::new(ProjectionExec::try_new(exprs, pruning::unless_few_pass(rows, &usable)?)?))
    }

    /// Whether a filter sees the same columns in the table as in this view.
    fn means_the_same(&self, filter: &Expr, has: &Schema) -> bool {
        filter.column_refs().into_iter().all(|column| {
            let own = self.schema.field_with_name(&column.name);
            let other = has.field_with_name(&column.name);
            let (Ok(own), Ok(other)) = (own, other) else { return false };
            // Delta hands out partition columns as dictionaries; comparisons see through that.
            let other = match other.data_type() {
                DataType::Dictionary(_, values) => values.as_ref(),
                kind => kind,
            };
            strings::plain(own.data_type()) == strings::plain(other)
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
        let mut inputs = Vec::new();
        if let Some(provider) = &self.committed {
            let provider = provider.as_ref();
            inputs.push(self.committed_only(provider, state, &columns, filters, limit).await?);
        }
        if let Some(tail) = &self.tail {
            let rows = tail.scan(state, Some(&columns), filters, limit).await?;
            inputs.push(strings::as_views(rows, &self.schema.project(&columns)?)?);
        }
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(input),
            (Some(input), false) => {
                inputs.push(input);
                UnionExec::try_new(inputs)
            }
            (None, _) => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&columns)?)))),
        }
    }
}

/// The rows of a Delta snapshot.
async fn provider(log: Option<&TableLog>) -> Result<Option<Arc<dyn TableProvider>>> {
    Ok(match log {
        Some(log) => Some(log.rows().await?),
        None => None,
    })
}

/// Refuses offsets that records may yet come below.
fn are_there(partitions: &[Arc<Partition>], offsets: &Offsets) -> Result<(), ViewError> {
    for (partition, offset) in wait::named(partitions, offsets)? {
        let last_stable = partition.offsets().last_stable;
        if offset > last_stable {
            return Err(ViewError::Parameter(format!(
                "AS OF OFFSET '{}': partition {} is at {last_stable} yet (AT LEAST OFFSET waits)",
                Written(offsets),
                partition.key().partition
            )));
        }
    }
    Ok(())
}

async fn progress(table: &Table, log: Option<&TableLog>) -> Result<Offsets, ViewError> {
    let partitions = table.partitions();
    let mut progress: Offsets = partitions.iter().map(|p| (p.key().partition, 0)).collect();
    if let Some(log) = log {
        progress.extend(log.progress_of(table).await?);
    }
    Ok(progress)
}

/// From the progress, or the log's start where that lies behind it, to the last stable offset.
fn ranges(table: &Table, progress: &Offsets) -> Vec<Range> {
    let range = |partition: Arc<Partition>| {
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

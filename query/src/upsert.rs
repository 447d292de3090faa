//! An upsert table as one query sees it: the newest record of each key, of the Delta snapshot and
//! of the log's tail together.
//!
//! Rows of keys that the tail does not name are as they were committed. Of the others, the newest
//! of both sides counts, and is left out if it is a tombstone. So only filters on the key can be
//! applied before.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Column, JoinType},
    datasource::provider_as_source,
    error::Result,
    functions_window::expr_fn::row_number,
    logical_expr::{
        Expr, ExprFunctionExt as _, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown,
        TableType,
    },
    physical_plan::ExecutionPlan,
    prelude::lit,
};
use table::schema::{OFFSET, PARTITION, TOMBSTONE};

use crate::{tail::Tail, view::TableView};

const COMMITTED: &str = "committed";
const TAIL: &str = "tail";
/// What both sides together are called.
const BOTH: &str = "both";
/// Column of how many newer records of the key there are, plus one.
const RANK: &str = "kafka rank";

/// A table and its tail at one moment.
#[derive(Debug)]
pub(crate) struct UpsertView {
    schema: SchemaRef,
    /// The rows of the Delta snapshot, by the columns of this view.
    committed: Arc<TableView>,
    /// With [`TOMBSTONE`].
    tail: Arc<Tail>,
    /// The columns that tell rows apart.
    identity: Vec<String>,
}

impl UpsertView {
    pub(crate) fn new(committed: TableView, tail: Tail, identity: Vec<String>) -> Self {
        let (committed, tail) = (Arc::new(committed), Arc::new(tail));
        Self { schema: committed.schema(), committed, tail, identity }
    }

    /// The rows, as a plan.
    fn plan(&self, filters: &[Expr]) -> Result<LogicalPlan> {
        let (committed, tail) = (self.committed(filters)?, self.tail(filters)?);
        let untouched = self
            .joined(committed.clone(), tail.clone(), JoinType::LeftAnti)?
            .project(self.columns(COMMITTED))?;
        let touched = self
            .joined(committed, tail.clone(), JoinType::LeftSemi)?
            .project(self.columns(COMMITTED).into_iter().chain([lit(false).alias(TOMBSTONE)]))?;
        let changes = LogicalPlanBuilder::from(tail).project(
            self.columns(TAIL).into_iter().chain([column(TAIL, TOMBSTONE).alias(TOMBSTONE)]),
        )?;
        let rank = row_number()
            .partition_by(self.identity.iter().map(|name| column(BOTH, name)).collect())
            .order_by(vec![
                column(BOTH, OFFSET).sort(false, false),
                column(BOTH, PARTITION).sort(false, false),
            ])
            .build()?
            .alias(RANK);
        let newest = touched
            .union(changes.build()?)?
            .alias(BOTH)?
            .window(vec![rank])?
            .filter(
                Expr::Column(Column::from_name(RANK))
                    .eq(lit(1_u64))
                    .and(column(BOTH, TOMBSTONE).eq(lit(false))),
            )?
            .project(self.columns(BOTH))?;
        untouched.union(newest.build()?)?.build()
    }

    /// Joins both sides by what tells rows apart.
    fn joined(
        &self,
        committed: LogicalPlan,
        tail: LogicalPlan,
        kind: JoinType,
    ) -> Result<LogicalPlanBuilder> {
        let keys = |relation: &'static str| -> Vec<_> {
            self.identity.iter().map(|name| Column::new(Some(relation), name)).collect()
        };
        let keys = (keys(COMMITTED), keys(TAIL));
        LogicalPlanBuilder::from(committed).join(tail, kind, keys, None)
    }

    fn committed(&self, filters: &[Expr]) -> Result<LogicalPlan> {
        let source = provider_as_source(Arc::<TableView>::clone(&self.committed));
        filtered(LogicalPlanBuilder::scan(COMMITTED, source, None)?, COMMITTED, filters)
    }

    fn tail(&self, filters: &[Expr]) -> Result<LogicalPlan> {
        let source = provider_as_source(Arc::<Tail>::clone(&self.tail));
        filtered(LogicalPlanBuilder::scan(TAIL, source, None)?, TAIL, filters)
    }

    /// The columns of the view out of a relation, under their plain names.
    fn columns(&self, relation: &str) -> Vec<Expr> {
        let fields = self.schema.fields().iter();
        fields.map(|field| column(relation, field.name()).alias(field.name())).collect()
    }
}

/// With filters on what tells rows apart, whose columns get the relation's name.
fn filtered(mut plan: LogicalPlanBuilder, relation: &str, filters: &[Expr]) -> Result<LogicalPlan> {
    use datafusion::common::tree_node::{Transformed, TreeNode as _};
    for filter in filters {
        let filter = filter.clone().transform(|expr| {
            Ok(match expr {
                Expr::Column(found) => Transformed::yes(column(relation, &found.name)),
                other => Transformed::no(other),
            })
        })?;
        plan = plan.filter(filter.data)?;
    }
    plan.build()
}

fn column(relation: &str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(relation), name))
}

#[async_trait]
impl TableProvider for UpsertView {
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
        let support = |filter: &&Expr| {
            let is_on_key =
                filter.column_refs().into_iter().all(|c| self.identity.contains(&c.name));
            match is_on_key || self.tail.is_empty() {
                true => TableProviderFilterPushDown::Inexact,
                false => TableProviderFilterPushDown::Unsupported,
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.tail.is_empty() {
            return self.committed.scan(state, projection, filters, limit).await;
        }
        let mut plan = LogicalPlanBuilder::from(self.plan(filters)?);
        if let Some(columns) = projection {
            let (all, names) = (plan.schema().clone(), self.schema.fields());
            let wanted = columns.iter().filter_map(|index| names.get(*index).map(|f| (*index, f)));
            let wanted = wanted.map(|(index, field)| {
                Expr::Column(Column::from(all.qualified_field(index))).alias(field.name())
            });
            plan = plan.project(wanted.collect::<Vec<_>>())?;
        }
        state.create_physical_plan(&plan.build()?).await
    }
}

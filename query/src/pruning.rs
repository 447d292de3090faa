//! Conditions choose files, row groups and pages, and mostly no more.
//!
//! delta-rs has Parquet's reader apply them row by row, too, each on a column that it decodes for
//! that. Unless few rows pass, that takes longer than decoding all and filtering whole batches,
//! which is why DataFusion does not do it by default; and DataFusion then finds the same
//! conditions in the filter above and pushes them down a second time. Conditions on Kafka's own
//! columns are mostly lookups, which few rows pass: with them it stays.

use std::sync::Arc;

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode as _},
    },
    datasource::{
        physical_plan::{FileScanConfigBuilder, ParquetSource},
        source::DataSourceExec,
    },
    error::Result,
    logical_expr::Expr,
    physical_plan::ExecutionPlan,
};
use table::schema::RESERVED_PREFIX;

/// A scan by some conditions whose rows are filtered above.
pub(crate) fn unless_few_pass(
    scan: Arc<dyn ExecutionPlan>,
    conditions: &[Expr],
) -> Result<Arc<dyn ExecutionPlan>> {
    let is_own = |column: &Column| column.name.starts_with(RESERVED_PREFIX);
    if conditions.iter().any(|condition| condition.column_refs().into_iter().any(is_own)) {
        return Ok(scan);
    }
    let changed = scan.transform_down(|node| {
        let source = node.downcast_ref::<DataSourceExec>();
        let source = source.and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>);
        let Some((config, parquet)) = source else { return Ok(Transformed::no(node)) };
        let parquet = Arc::new(parquet.clone().with_pushdown_filters(false));
        let config = FileScanConfigBuilder::from(config.clone()).with_source(parquet).build();
        Ok(Transformed::yes(DataSourceExec::from_data_source(config) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(changed.data)
}

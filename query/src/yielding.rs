//! Joins that give way: no query may hold a thread for longer than a moment.
//!
//! DataFusion's operators yield where they read their inputs. A join may work on one batch of its
//! input for hours: each row of it meets all rows of the other side. Queries, the sink and the
//! clients' connections share threads, and a query that never yields can neither be cancelled nor
//! timed out. So the [`Yielding`] rule
//!
//! - counts a join's output against tokio's budget, as sources are counted already, and
//! - where a join may drop what it finds, and so has no output for long, hands it its probe side
//!   in slices that are little work, with a yield after each.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode as _, TreeNodeRecursion},
    },
    error::{DataFusionError, Result},
    execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        ReplaceChildrenOptions,
        coop::CooperativeExec,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec},
    },
};
use futures::{Stream, StreamExt as _};

/// Pairs of rows that a nested loop join looks at between two yields, some ten milliseconds.
const PAIRS_MAX: usize = 1 << 20;
/// Rows that a hash join with a further condition looks up between two yields. How many pairs
/// they make nobody knows.
const ROWS_MAX: usize = 256;

/// Makes joins yield.
#[derive(Debug)]
pub(crate) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn name(&self) -> &'static str {
        "yielding_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(plan.transform_up(yielding)?.data)
    }
}

fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let join = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let rows = Arc::new(AtomicUsize::new(0));
        let left = Arc::new(Paced::new(join.left(), Pace::Counts(Arc::clone(&rows))));
        let right = Arc::new(Paced::new(join.right(), Pace::Against(rows)));
        plan.replace_children(vec![left, right], recompute)?
    } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        if join.filter().is_some() {
            let (left, right) = (Arc::clone(join.left()), Paced::new(join.right(), Pace::Slices));
            plan.replace_children(vec![left, Arc::new(right)], recompute)?
        } else {
            plan
        }
    } else if plan.downcast_ref::<CrossJoinExec>().is_some() {
        plan
    } else {
        return Ok(Transformed::no(plan));
    };
    Ok(Transformed::yes(Arc::new(CooperativeExec::new(join))))
}

/// What happens to the batches of a join's input.
#[derive(Debug, Clone)]
enum Pace {
    /// Their rows are counted: the side that is kept.
    Counts(Arc<AtomicUsize>),
    /// They come in slices whose rows, each with all rows counted, make a bounded number of pairs.
    Against(Arc<AtomicUsize>),
    /// They come in slices of a fixed size.
    Slices,
}

impl Pace {
    fn rows_max(&self) -> usize {
        match self {
            Self::Counts(_) => usize::MAX,
            Self::Against(rows) => (PAIRS_MAX / rows.load(Ordering::Relaxed).max(1)).max(1),
            Self::Slices => ROWS_MAX,
        }
    }
}

/// One input of a join, at a pace.
#[derive(Debug)]
struct Paced {
    input: Arc<dyn ExecutionPlan>,
    pace: Pace,
}

impl Paced {
    fn new(input: &Arc<dyn ExecutionPlan>, pace: Pace) -> Self {
        Self { input: Arc::clone(input), pace }
    }
}

impl DisplayAs for Paced {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.pace {
            Pace::Counts(_) => "PacedExec: counted",
            Pace::Against(_) | Pace::Slices => "PacedExec: sliced",
        })
    }
}

impl ExecutionPlan for Paced {
    fn name(&self) -> &'static str {
        "PacedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = children.as_slice() else {
            return Err(DataFusionError::Internal("PacedExec has one input".to_owned()));
        };
        Ok(Arc::new(Self::new(input, self.pace.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(PacedStream {
            input: self.input.execute(partition, context)?,
            pace: self.pace.clone(),
            rows: 0,
            rest: None,
            is_due: false,
        }))
    }
}

/// The stream of [`Paced`].
struct PacedStream {
    input: SendableRecordBatchStream,
    pace: Pace,
    /// Rows so far; of a side that is sliced, since the last yield.
    rows: usize,
    /// What of the last batch was not handed on yet.
    rest: Option<RecordBatch>,
    /// To yield before the next batch.
    is_due: bool,
}

impl Stream for PacedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.is_due) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None => match ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            },
        };
        if let Pace::Counts(rows) = &self.pace {
            let counted = self.rows + batch.num_rows();
            rows.fetch_max(counted, Ordering::Relaxed);
            self.rows = counted;
            return Poll::Ready(Some(Ok(batch)));
        }
        // Many small batches are together as much work as a large one.
        let rows_max = self.pace.rows_max();
        let rows = batch.num_rows().min(rows_max.saturating_sub(self.rows).max(1));
        self.rows += rows;
        if self.rows >= rows_max {
            (self.rows, self.is_due) = (0, true);
        }
        if rows == batch.num_rows() {
            return Poll::Ready(Some(Ok(batch)));
        }
        self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        Poll::Ready(Some(Ok(batch.slice(0, rows))))
    }
}

impl RecordBatchStream for PacedStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

//! Lets plans notice that they are to stop, while they compute.
//!
//! A task that is aborted ends when it waits, and what Ballista starts for one is not even aborted. So operators that
//! may go on for long are asked each time they give a batch, scans each time they are read, the filter of a
//! nested-loop join for each piece of pairs: it compares a batch with all of its other side before it gives a row; and
//! functions within a batch, which find here what they compute for. Scans
//! also count what they read through the data cache, since it is here that they are polled.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::task::Poll;

use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::partial_sort::PartialSortExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::bounded_input::with_bounded_inputs;
use super::bounded_projection::BoundedProjection;
use super::{claimed_sizes, guards, stalled_filters, wide_rows};
use crate::Error;
use crate::cache_counts::CacheCounts;
use crate::functions::numbers::zeros::one_no_number;
use crate::scope::Scope;

/// The same plan, which ends in [`Error::Cancelled`] after `stop`. It shows and counts itself as before.
pub fn stoppable(plan: Arc<dyn ExecutionPlan>, stop: &CancellationToken) -> Result<Arc<dyn ExecutionPlan>> {
    let rewritten = stalled_filters::without(plan)?.transform_up(|node| {
        let node = match node.downcast_ref::<NestedLoopJoinExec>() {
            Some(join) => with_checked_filter(join, stop)?.unwrap_or(node),
            None => node,
        };
        let node = guards::guarded(&node)?.unwrap_or(node);
        let node = claimed_sizes::asking(&node).unwrap_or(node);
        let node = with_bounded_inputs(node)?;
        let node: Arc<dyn ExecutionPlan> = match BoundedProjection::of(&node)? {
            Some(projection) => Arc::new(projection),
            None => node,
        };
        let takes_long = node.is::<DataSourceExec>()
            || node.is::<BoundedProjection>()
            || computes(&node)?
            || node.is::<AggregateExec>()
            || node.is::<SortExec>()
            || node.is::<HashJoinExec>()
            || node.is::<SortMergeJoinExec>()
            || node.is::<NestedLoopJoinExec>()
            || node.is::<CrossJoinExec>()
            || node.is::<WindowAggExec>()
            || node.is::<BoundedWindowAggExec>();
        if takes_long {
            let reads = node.is::<DataSourceExec>().then(CacheCounts::default);
            let stoppable = Stoppable { inner: node, stop: stop.clone(), reads };
            Ok(Transformed::yes(Arc::new(stoppable) as Arc<dyn ExecutionPlan>))
        } else {
            Ok(Transformed::no(node))
        }
    })?;
    Ok(rewritten.data)
}

/// True for operators that compute expressions, whose functions ask what they compute for. Not for exchanges: theirs is
/// not done where their batches are asked for.
fn computes(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    if !(node.is::<ProjectionExec>()
        || node.is::<FilterExec>()
        || node.is::<UnnestExec>()
        || node.is::<PartialSortExec>())
    {
        return Ok(false);
    }
    let mut calls = false;
    node.apply_expressions(&mut |expr| {
        calls |= !(expr.is::<Column>() || expr.is::<Literal>());
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(calls)
}

fn with_checked_filter(
    join: &NestedLoopJoinExec,
    stop: &CancellationToken,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = join.filter() else { return Ok(None) };
    let check: Arc<dyn PhysicalExpr> =
        Arc::new(StopCheck { condition: Arc::clone(filter.expression()), stop: stop.clone() });
    let filter = JoinFilter::new(check, filter.column_indices().to_vec(), Arc::clone(filter.schema()));
    Ok(Some(Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?)))
}

fn cancelled() -> DataFusionError {
    DataFusionError::External(Box::new(Error::Cancelled))
}

/// An operator in whose place it stands: it has the same inputs, looks and measures the same.
#[derive(Debug)]
struct Stoppable {
    inner: Arc<dyn ExecutionPlan>,
    stop: CancellationToken,
    /// Of a scan: what it reads through the data cache.
    reads: Option<CacheCounts>,
}

impl Stoppable {
    fn around(&self, inner: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let reads = self.reads.as_ref().map(|_| CacheCounts::default());
        Arc::new(Self { inner, stop: self.stop.clone(), reads })
    }
}

impl DisplayAs for Stoppable {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for Stoppable {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inner.children()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.inner.maintains_input_order()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.around(Arc::clone(&self.inner).replace_children(children, options)?))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.around(Arc::clone(&self.inner).reset_state()?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (pool, rows) = (Arc::clone(context.memory_pool()), context.session_config().batch_size());
        let is_window = self.inner.is::<WindowAggExec>() || self.inner.is::<BoundedWindowAggExec>();
        let scope = match is_window {
            true => Scope::window(self.stop.clone(), pool),
            false => Scope::task(self.stop.clone(), pool),
        };
        let mut batches = scope.during(|| self.inner.execute(partition, context))?;
        let (schema, stop, reads) = (batches.schema(), self.stop.clone(), self.reads.clone());
        let has_floats =
            reads.is_some() && schema.fields().iter().any(|field| field.data_type().is_floating());
        // What comes after it gathers rows, to so many at once.
        let rows = wide_rows::has_any_size(&schema).then_some(rows);
        let checked = futures::stream::poll_fn(move |context| {
            if stop.is_cancelled() {
                return Poll::Ready(Some(Err(cancelled())));
            }
            let mut poll = || scope.during(|| batches.poll_next_unpin(context));
            let polled = match &reads {
                Some(reads) => reads.during(poll),
                None => poll(),
            };
            let polled = match polled {
                Poll::Ready(Some(Ok(batch))) if has_floats => Poll::Ready(Some(one_no_number(batch))),
                polled => polled,
            };
            if let (Poll::Ready(Some(Ok(batch))), Some(rows)) = (&polled, rows)
                && let Err(error) = wide_rows::check_average(batch, rows)
            {
                return Poll::Ready(Some(Err(error)));
            }
            polled
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, checked)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.inner.metrics()?;
        self.reads.iter().flat_map(CacheCounts::metrics).for_each(|metric| metrics.push(metric));
        Some(metrics)
    }
}

/// A condition that fails once it must no longer be asked.
#[derive(Debug)]
struct StopCheck {
    condition: Arc<dyn PhysicalExpr>,
    stop: CancellationToken,
}

impl fmt::Display for StopCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PartialEq for StopCheck {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for StopCheck {}

impl Hash for StopCheck {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl PhysicalExpr for StopCheck {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.condition.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.is_cancelled() {
            return Err(cancelled());
        }
        self.condition.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let condition = children.pop().ok_or_else(|| Error::internal("a check has a condition"));
        let condition = condition.map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Arc::new(Self { condition, stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}

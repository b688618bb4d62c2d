//! What an operator is given, where it would make far more of it: in short batches, where a long constant is put into every
//! row; and asked of the pool, where it is all kept before the first row is given, which a window does without a word.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;

use crate::functions::growth::{held_bytes, is_flat, value_bytes};

/// A shorter constant is no matter.
const LONG: usize = 1 << 10;
/// What a constant may come to in all rows of a batch.
const SPREAD_BYTES: usize = 16 << 20;
/// Rows of a batch that a function's constant result is put into, whose length nobody knows yet.
const ROWS_OF_UNKNOWN: usize = 64;

/// `node` over inputs that suit what it makes of them.
pub fn with_bounded_inputs(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let keeps = node.is::<WindowAggExec>();
    let spreads = node.is::<ProjectionExec>()
        || node.is::<FilterExec>()
        || node.is::<AggregateExec>()
        || node.is::<SortExec>()
        || node.is::<BoundedWindowAggExec>();
    if !keeps && !spreads {
        return Ok(node);
    }
    let mut constants = Constants::default();
    node.apply_expressions(&mut |expr| {
        constants.note(expr)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    let rows_max = constants.rows_max().filter(|_| !keeps);
    let row_bytes = keeps.then_some(constants.bytes);
    if rows_max.is_none() && row_bytes.is_none() {
        return Ok(node);
    }
    let inputs = node.children().into_iter().map(|input| {
        Arc::new(BoundedInput { inner: Arc::clone(input), rows_max, row_bytes }) as Arc<dyn ExecutionPlan>
    });
    let inputs = inputs.collect();
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    node.replace_children(inputs, options)
}

/// Long constants among expressions.
#[derive(Default)]
struct Constants {
    bytes: usize,
    has_unknown: bool,
}

impl Constants {
    fn note(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<()> {
        expr.apply(|part| {
            if let Some(literal) = part.downcast_ref::<Literal>() {
                let bytes =
                    if is_flat(&literal.value().data_type()) { 0 } else { value_bytes(literal.value()) };
                if bytes > LONG {
                    self.bytes = self.bytes.saturating_add(bytes);
                }
            } else if let Some(call) = part.downcast_ref::<ScalarFunctionExpr>()
                && !is_flat(call.return_type())
                && !part.exists(|part| Ok(part.is::<Column>()))?
            {
                self.has_unknown = true;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    fn rows_max(&self) -> Option<usize> {
        let known = (self.bytes > 0).then(|| (SPREAD_BYTES / self.bytes).max(1));
        let unknown = self.has_unknown.then_some(ROWS_OF_UNKNOWN);
        known.into_iter().chain(unknown).min()
    }
}

/// An input, as it is given.
#[derive(Debug)]
struct BoundedInput {
    inner: Arc<dyn ExecutionPlan>,
    /// Rows of a batch.
    rows_max: Option<usize>,
    /// Batches are kept, with so many bytes for each row besides.
    row_bytes: Option<usize>,
}

impl BoundedInput {
    fn around(&self, inner: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { inner, rows_max: self.rows_max, row_bytes: self.row_bytes })
    }
}

/// As it comes, and once more in one piece.
fn kept_bytes(batch: &RecordBatch, row_bytes: usize) -> usize {
    let held: usize = batch.columns().iter().map(held_bytes).sum();
    held.saturating_mul(2).saturating_add(row_bytes.saturating_mul(batch.num_rows()))
}

fn cut(batch: RecordBatch, rows_max: usize) -> Vec<RecordBatch> {
    if batch.num_rows() <= rows_max {
        return vec![batch];
    }
    let starts = (0..batch.num_rows()).step_by(rows_max);
    starts.map(|from| batch.slice(from, rows_max.min(batch.num_rows() - from))).collect()
}

impl DisplayAs for BoundedInput {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for BoundedInput {
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
        let kept = self.row_bytes.map(|row_bytes| {
            let reservation = MemoryConsumer::new("WindowAggExec").register(context.memory_pool());
            (reservation, row_bytes)
        });
        let batches = self.inner.execute(partition, context)?;
        let (schema, rows_max) = (batches.schema(), self.rows_max.unwrap_or(usize::MAX));
        let given = batches.map(move |batch| {
            let batch = batch?;
            if let Some((reservation, row_bytes)) = &kept {
                keep(reservation, &batch, *row_bytes)?;
            }
            Ok(batch)
        });
        let given = given.flat_map(move |batch| {
            let pieces = match batch {
                Ok(batch) => cut(batch, rows_max).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(pieces)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, given)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.inner.metrics()
    }
}

fn keep(reservation: &MemoryReservation, batch: &RecordBatch, row_bytes: usize) -> Result<()> {
    reservation.try_grow(kept_bytes(batch, row_bytes))
}

//! What an operator is given, where it would make far more of it: in short batches, where a long constant is put into every
//! row; looked at, where a join puts a row into many; and asked of the pool, where it is all kept before the first row is
//! given, which a window does without a word.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
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

use super::wide_rows;
use crate::functions::growth::{held_bytes, is_flat, value_bytes};

/// A shorter constant is no matter.
const LONG: usize = 1 << 10;
/// What a constant may come to in all rows of a batch.
const SPREAD_BYTES: usize = 16 << 20;

/// `node` over inputs that suit what it makes of them.
pub fn with_bounded_inputs(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if joins(&node) {
        return over_looked_at(node);
    }
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
    let bound = match keeps {
        true => Bound::Kept { row_bytes: constants.bytes },
        false if constants.bytes == 0 && constants.unknown.is_empty() => return Ok(node),
        false => Bound::Short(Arc::new(constants)),
    };
    over_inputs(node, |_| Some(bound.clone()))
}

/// True for operators that put a row into each of those that it matches.
fn joins(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
}

fn over_looked_at(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    over_inputs(node, |schema| wide_rows::is_copied(schema).then_some(Bound::Narrow))
}

fn over_inputs(
    node: Arc<dyn ExecutionPlan>,
    bound: impl Fn(&SchemaRef) -> Option<Bound>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let inputs: Vec<_> = node
        .children()
        .into_iter()
        .map(|input| match bound(&input.schema()) {
            Some(bound) => {
                Arc::new(BoundedInput { inner: Arc::clone(input), bound }) as Arc<dyn ExecutionPlan>
            }
            None => Arc::clone(input),
        })
        .collect();
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    node.replace_children(inputs, options)
}

/// Long constants among expressions.
#[derive(Debug, Default)]
struct Constants {
    bytes: usize,
    /// Those whose length is known once they are computed: of functions, and of subqueries.
    unknown: Vec<Arc<dyn PhysicalExpr>>,
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
                return Ok(TreeNodeRecursion::Continue);
            }
            let grows = match part.downcast_ref::<ScalarFunctionExpr>() {
                Some(call) => !is_flat(call.return_type()) && !part.exists(|part| Ok(part.is::<Column>()))?,
                None => part.is::<ScalarSubqueryExpr>(),
            };
            if grows {
                self.unknown.push(Arc::clone(part));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    /// Rows of a batch into which all of them may be put. The first of `batch` tells what those of functions come to.
    fn rows_max(&self, batch: &RecordBatch) -> usize {
        let row = batch.slice(0, batch.num_rows().min(1));
        // One that fails does so where it is used, if it is.
        let size = |expr: &Arc<dyn PhysicalExpr>| match expr.evaluate(&row) {
            Ok(ColumnarValue::Scalar(value)) => value_bytes(&value),
            Ok(ColumnarValue::Array(values)) => held_bytes(&values),
            Err(_) => 0,
        };
        let bytes = self.unknown.iter().map(size).fold(self.bytes, usize::saturating_add);
        (SPREAD_BYTES / bytes.max(1)).max(1)
    }
}

/// An input, as it is given.
#[derive(Debug)]
struct BoundedInput {
    inner: Arc<dyn ExecutionPlan>,
    bound: Bound,
}

#[derive(Debug, Clone)]
enum Bound {
    /// In batches into whose rows the constants may be put.
    Short(Arc<Constants>),
    /// Batches are kept, with so many bytes for each row besides.
    Kept { row_bytes: usize },
    /// With no row that is too wide to be put into all of a batch.
    Narrow,
}

impl BoundedInput {
    fn around(&self, inner: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { inner, bound: self.bound.clone() })
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
        let rows = context.session_config().batch_size();
        let reservation = MemoryConsumer::new("WindowAggExec").register(context.memory_pool());
        let batches = self.inner.execute(partition, context)?;
        let (schema, bound) = (batches.schema(), self.bound.clone());
        let mut rows_max = None;
        let given = batches.flat_map(move |batch| {
            let bounded = batch.and_then(|batch| {
                match &bound {
                    Bound::Short(constants) => {
                        let rows_max = *rows_max.get_or_insert_with(|| constants.rows_max(&batch));
                        return Ok(cut(batch, rows_max));
                    }
                    Bound::Kept { row_bytes } => keep(&reservation, &batch, *row_bytes)?,
                    Bound::Narrow => wide_rows::check_widest(&batch, rows)?,
                }
                Ok(vec![batch])
            });
            let pieces = match bounded {
                Ok(pieces) => pieces.into_iter().map(Ok).collect(),
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

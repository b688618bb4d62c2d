//! A projection that gives batches of a bounded size. DataFusion's makes one batch of each that it is given: a constant of
//! 100 kB in every row, or texts that a function makes long, were gigabytes at once.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;

use crate::functions::growth::{held_bytes, is_flat, value_bytes};

/// What the computed columns of one batch may come to, beyond a single row.
const BATCH_BYTES: usize = 16 << 20;
/// What is less is not worth asking for.
const SMALL: usize = 1 << 20;

/// The projection in whose place it stands; it looks the same.
#[derive(Debug)]
pub struct BoundedProjection {
    inner: Arc<dyn ExecutionPlan>,
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    metrics: ExecutionPlanMetricsSet,
}

impl BoundedProjection {
    /// In the place of `plan`, when that is a projection which computes values whose size their type does not tell.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(None) };
        let input = projection.input().schema();
        let mut grows = false;
        for part in projection.expr() {
            grows |= !part.expr.is::<Column>() && !is_flat(&part.expr.data_type(&input)?);
        }
        let expressions = projection.expr().iter().map(|part| Arc::clone(&part.expr)).collect();
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(grows.then(|| Self { inner: Arc::clone(plan), expressions, metrics }))
    }

    fn around(inner: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match Self::of(&inner)? {
            Some(bounded) => Arc::new(bounded),
            None => inner,
        })
    }
}

/// Computes a batch, some rows at a time.
struct Slices {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    /// The batch, and the rows of it that were given.
    rest: Option<(RecordBatch, usize)>,
    /// Rows of the next slice.
    rows: usize,
    /// For the batch, as long as it is kept: of projections that stand on each other each may keep one.
    memory: MemoryReservation,
}

impl Slices {
    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let (batch, given) = self.rest.take()?;
        let left = batch.num_rows() - given;
        // An empty batch is one, too.
        let mut rows = self.rows.clamp(1, left.max(1)).min(left);
        let values = loop {
            let slice = batch.slice(given, rows);
            let values =
                self.expressions.iter().map(|expr| expr.evaluate(&slice)).collect::<Result<Vec<_>>>();
            let values = match values {
                Ok(values) => values,
                // Fewer rows may well be made.
                Err(error) if rows > 1 && is_out_of_memory(&error) => {
                    rows = (rows / 8).max(1);
                    continue;
                }
                Err(error) => return Some(Err(error)),
            };
            let each = values.iter().map(each_row).fold(0, usize::saturating_add);
            let fitting = (BATCH_BYTES / each.max(1)).max(1);
            if rows <= fitting {
                break values;
            }
            rows = fitting;
        };
        let bytes: usize =
            self.expressions.iter().zip(&values).map(|(expr, value)| made(expr, value, rows)).sum();
        if rows > 0 {
            // Twice as many where they were short, as many as fit where they were not.
            let fitting = rows.saturating_mul(BATCH_BYTES) / bytes.max(1);
            let most = if rows < left { rows * 2 } else { self.rows.max(rows) };
            self.rows = fitting.clamp(1, most);
        }
        if given + rows < batch.num_rows() {
            if given == 0
                && let Err(error) = self.keep(&batch)
            {
                return Some(Err(error));
            }
            self.rest = Some((batch, given + rows));
        } else {
            self.memory.free();
        }
        Some(self.batch(values, rows))
    }

    fn keep(&self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().filter(|column| !is_flat(column.data_type()));
        let bytes = columns.map(held_bytes).fold(0, usize::saturating_add);
        if bytes > SMALL { self.memory.try_resize(bytes) } else { Ok(()) }
    }

    fn batch(&self, values: Vec<ColumnarValue>, rows: usize) -> Result<RecordBatch> {
        let arrays = values.into_iter().map(|value| value.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let count = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &count)?)
    }
}

fn is_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// What a value takes in every row, that all rows share so far.
fn each_row(value: &ColumnarValue) -> usize {
    match value {
        ColumnarValue::Scalar(scalar) => value_bytes(scalar),
        ColumnarValue::Array(_) => 0,
    }
}

fn made(expr: &Arc<dyn PhysicalExpr>, value: &ColumnarValue, rows: usize) -> usize {
    match value {
        ColumnarValue::Scalar(scalar) => value_bytes(scalar).saturating_mul(rows),
        ColumnarValue::Array(array) if !expr.is::<Column>() && !is_flat(array.data_type()) => {
            held_bytes(array)
        }
        ColumnarValue::Array(_) => 0,
    }
}

impl DisplayAs for BoundedProjection {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for BoundedProjection {
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
        Self::around(Arc::clone(&self.inner).replace_children(children, options)?)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Self::around(Arc::clone(&self.inner).reset_state()?)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let memory = MemoryConsumer::new("ProjectionExec").register(context.memory_pool());
        let input = self.inner.children()[0];
        let batches = input.execute(partition, context)?;
        let schema = self.inner.schema();
        let slices = Slices {
            expressions: self.expressions.clone(),
            schema: Arc::clone(&schema),
            rest: None,
            rows,
            memory,
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let given =
            futures::stream::unfold((batches, slices, metrics), |(mut batches, mut slices, metrics)| async {
                loop {
                    if let Some(slice) = {
                        let _timer = metrics.elapsed_compute().timer();
                        slices.next()
                    } {
                        if let Ok(batch) = &slice {
                            metrics.record_output(batch.num_rows());
                        }
                        return Some((slice, (batches, slices, metrics)));
                    }
                    match batches.next().await? {
                        Ok(batch) => slices.rest = Some((batch, 0)),
                        Err(error) => return Some((Err(error), (batches, slices, metrics))),
                    }
                }
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, given)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int32Array;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::ScalarValue;
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_expr::expressions::Literal;
    use datafusion::physical_expr::projection::ProjectionExpr;
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_long_constant_makes_short_batches() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int32Array::from_iter_values(0..1000))]);
        let input = MemorySourceConfig::try_new_exec(&[vec![batch.expect("a batch")]], schema, None);
        let text = ScalarValue::Utf8(Some("x".repeat(1 << 20)));
        let parts = vec![
            ProjectionExpr { expr: Arc::new(Column::new("n", 0)), alias: "n".into() },
            ProjectionExpr { expr: Arc::new(Literal::new(text)), alias: "x".into() },
        ];
        let plan = ProjectionExec::try_new(parts, input.expect("a source")).expect("a projection");
        let plan: Arc<dyn ExecutionPlan> = Arc::new(plan);
        let plan = BoundedProjection::of(&plan).expect("typed").expect("it computes a text");
        let batches = plan.execute(0, Arc::new(TaskContext::default())).expect("it runs");
        let rows: Vec<usize> = batches.map_ok(|batch| batch.num_rows()).try_collect().await.expect("batches");
        assert_eq!(rows.iter().sum::<usize>(), 1000);
        assert!(rows.iter().all(|rows| *rows <= BATCH_BYTES >> 20), "{rows:?}");
    }
}

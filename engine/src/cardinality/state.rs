//! What operators hold while they work.

use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::{Cardinality, Estimated};

/// A hash table's own bytes for each entry: hash, place and slack.
const ENTRY_BYTES: f64 = 40.0;
/// Its table doubles when it is full, and what it gives is made while it is still there.
const GROUPS_FACTOR: f64 = 1.8;
/// A sort holds its rows, and their keys in comparable form while it merges.
const SORT_FACTOR: f64 = 1.5;
/// Rows of a batch that is merged.
const MERGED_ROWS: f64 = 8192.0;
/// What an accumulator takes for each group, when its type does not say.
const ACCUMULATOR_BYTES: f64 = 16.0;

/// Bytes that `plan` holds at its fullest, in all its partitions together, and whether it spills what does not fit.
pub(super) fn held(plan: &dyn ExecutionPlan, output: &Cardinality, inputs: &[Estimated]) -> (f64, bool) {
    let Some(first) = inputs.first().map(|input| &input.output) else { return (0.0, false) };
    let partitions = plan.output_partitioning().partition_count() as f64;
    if plan.is::<SortExec>() {
        return match plan.fetch() {
            Some(rows) => {
                let kept = first.row_bytes() * (rows as f64 * partitions).min(first.rows);
                (kept + merging(first) * partitions, true)
            }
            None => (first.bytes() * SORT_FACTOR, true),
        };
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        if aggregate.group_expr().is_empty() {
            return (0.0, false);
        }
        let accumulators = aggregate.aggr_expr().len() as f64 * ACCUMULATOR_BYTES;
        let keys: f64 =
            output.columns.iter().take(aggregate.group_expr().expr().len()).map(|of| of.width).sum();
        return (output.rows * (keys + accumulators + ENTRY_BYTES) * GROUPS_FACTOR, true);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let copies = if *join.partition_mode() == PartitionMode::CollectLeft { partitions } else { 1.0 };
        return (first.rows * (first.row_bytes() + ENTRY_BYTES) * copies, false);
    }
    if plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>() {
        return (first.bytes() * partitions, false);
    }
    if plan.is::<WindowAggExec>() {
        return (output.bytes(), false);
    }
    if plan.is::<BoundedWindowAggExec>() {
        return (output.row_bytes() * 16_384.0 * partitions, false);
    }
    if plan.is::<SortPreservingMergeExec>() {
        return (merging(first), false);
    }
    (0.0, false)
}

/// What a merge sets aside for what it gives, whatever it gives: two batches of values of fixed width.
fn merging(rows: &Cardinality) -> f64 {
    let widths = rows.schema.fields().iter().filter_map(|field| field.data_type().primitive_width());
    2.0 * MERGED_ROWS * widths.sum::<usize>() as f64
}

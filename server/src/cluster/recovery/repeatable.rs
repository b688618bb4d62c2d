//! Whether the tasks of a stage give the same rows to the same readers however often they are run.
//!
//! Only what is known to do so counts: a LIMIT, a window over ties, a sum of floats in the order of arrival or a function
//! that is volatile may give others. Rows may come in another order, and what groups partly may give a group in more or
//! fewer pieces: all pieces of a group go to the same reader.

use std::sync::Arc;

use ballista_core::execution_plans::{
    ShuffleReaderExec, ShuffleWriterExec, SortShuffleWriterExec, UnresolvedShuffleExec,
};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use engine::operators::{KeptSide, NullableInput, RecordedPartitioning};

/// Aggregates whose values do not depend on the order of their rows, over anything but floats: of these, sums are rounded
/// as they go, and NaN or a negative zero wins or loses by its place.
const ORDERLESS: [&str; 11] =
    ["count", "min", "max", "sum", "avg", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor", "mean"];

/// True when the stage of `plan` is known to give the same rows each time, where what it reads from other stages does.
pub fn is_repeatable(plan: &dyn ExecutionPlan) -> bool {
    gives_the_same(plan) && plan.children().into_iter().all(|child| is_repeatable(child.as_ref()))
}

fn gives_the_same(plan: &dyn ExecutionPlan) -> bool {
    let is_known = plan.is::<ShuffleReaderExec>()
        || plan.is::<UnresolvedShuffleExec>()
        || plan.is::<ShuffleWriterExec>()
        || plan.is::<SortShuffleWriterExec>()
        || plan.is::<DataSourceExec>()
        || plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<CrossJoinExec>()
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<UnionExec>()
        || plan.is::<InterleaveExec>()
        || plan.is::<KeptSide>()
        || plan.is::<NullableInput>()
        || plan.is::<RecordedPartitioning>()
        || plan.downcast_ref::<AggregateExec>().is_some_and(groups_the_same);
    is_known && plan.fetch().is_none() && !has_volatile(plan).unwrap_or(true)
}

fn groups_the_same(aggregate: &AggregateExec) -> bool {
    let is_orderless = |function: &Arc<AggregateFunctionExpr>| {
        let is_float = |plan: &AggregateFunctionExpr| {
            let types = plan.expressions();
            let input = aggregate.input_schema();
            types.iter().any(|argument| argument.data_type(&input).is_ok_and(|of| of.is_floating()))
                || plan.field().data_type().is_floating()
        };
        let name = function.fun().name();
        ORDERLESS.contains(&name) && (name == "count" || !is_float(function))
    };
    aggregate.limit_options().is_none() && aggregate.aggr_expr().iter().all(is_orderless)
}

fn has_volatile(plan: &dyn ExecutionPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(&mut |expression| {
        found |= is_volatile(expression);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

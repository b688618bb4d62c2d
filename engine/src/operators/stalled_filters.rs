//! Hash joins that would wait for ever. One whose build side all partitions share tells its scans what the keys are once every
//! partition has asked; until then all wait. But a join above it that has nothing to look for in one of its partitions never
//! asks that one. So joins below such ones keep what they know to themselves.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_expr::expressions::{DynamicFilterPhysicalExpr, lit};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, HashJoinExecBuilder, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

/// `plan` without the filters that some partitions might wait for.
pub fn without(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    visit(plan, false)
}

/// `may_be_left` where a partition of `plan` may never be asked for its rows while others are.
fn visit(plan: Arc<dyn ExecutionPlan>, may_be_left: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let children: Vec<Arc<dyn ExecutionPlan>> = plan.children().into_iter().cloned().collect();
    if children.is_empty() {
        return Ok(plan);
    }
    // An exchange asks for all partitions of its input, whoever asks it.
    let is_exchange = plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>();
    let join = plan.downcast_ref::<HashJoinExec>();
    let is_shared = join.is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft);
    let leaves = |at: usize| {
        if is_exchange {
            return false;
        }
        match join {
            // The build side is asked first; of one that is shared there is a single partition.
            Some(_) if at == 0 => may_be_left && !is_shared,
            Some(_) => may_be_left || !is_shared,
            None => may_be_left || plan.is::<SortMergeJoinExec>(),
        }
    };
    let mut is_changed = false;
    let mut visited = Vec::with_capacity(children.len());
    for (at, child) in children.into_iter().enumerate() {
        let new = visit(Arc::clone(&child), leaves(at))?;
        is_changed |= !Arc::ptr_eq(&new, &child);
        visited.push(new);
    }
    let plan = if is_changed {
        plan.replace_children(visited, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?
    } else {
        plan
    };
    let Some(join) = plan.downcast_ref::<HashJoinExec>() else { return Ok(plan) };
    if !(may_be_left && is_shared && !join.dynamic_expressions_produced().is_empty()) {
        return Ok(plan);
    }
    // One that no scan looks at.
    let unseen = Arc::new(DynamicFilterPhysicalExpr::new(Vec::new(), lit(true)));
    Ok(Arc::new(HashJoinExecBuilder::from(join).build()?.with_dynamic_filter_expr(unseen)?))
}

//! What Ballista makes of a plan, looked over before it is sent.
//!
//! Ballista cuts a plan into stages at its exchanges and gatherings, and below some of them it plans exchanges and sorts
//! anew. It knows less then than DataFusion knew: what reads from a stage is not told which columns a join or a filter made
//! equal there. Where an operator relied on that, an exchange comes into the middle of a stage, whose tasks then see a part
//! of the rows each: wrong rows and no error. Or a sort is missing, and an executor refuses the operator.

use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::execution_plans::{ShuffleWriter, UnresolvedShuffleExec};
use ballista_scheduler::planner::{DefaultDistributedPlanner, DistributedPlanner};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, ScalarValue};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{Partitioning, PhysicalExprRef};
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use crate::profile::StagePlan;

type Plan = Arc<dyn ExecutionPlan>;

/// The stages that Ballista will cut `plan` into, inputs before what reads them; none when it cannot.
pub fn cut(plan: &Plan, config: &ConfigOptions) -> Option<Vec<StagePlan>> {
    let planned =
        DefaultDistributedPlanner::new().plan_query_stages(&JobId::new("look"), Arc::clone(plan), config);
    let stage = |writer: &Arc<dyn ShuffleWriter>| {
        let plan = Arc::clone(writer.children().into_iter().next()?);
        Some(StagePlan { id: writer.stage_id(), plan, output: writer.shuffle_output_partitioning().cloned() })
    };
    planned.ok()?.iter().map(stage).collect()
}

/// Why executors would not give the rows of `plan`. `writes` when its rows will be exchanged once more, into files.
pub fn problem(plan: &Plan, config: &ConfigOptions, writes: bool) -> Option<&'static str> {
    const EQUAL: &str = "it relies on columns that an earlier stage made equal";
    if plan.exists(|node| Ok(gives_unmatched_rows_of_each_task(node))).unwrap_or(true) {
        return Some("it joins without an equality and keeps rows that have no match");
    }
    let exchanged = if writes { exchanged(plan) } else { Some(Arc::clone(plan)) };
    let Some(exchanged) = exchanged else { return Some(EQUAL) };
    let stages = DefaultDistributedPlanner::new().plan_query_stages(&JobId::new("look"), exchanged, config);
    // Some operators cannot even be made over inputs whose order they do not know.
    let Ok(stages) = stages else { return Some(EQUAL) };
    let is_sound = |stage: &Arc<dyn ShuffleWriter>| stage.children().into_iter().all(is_sound);
    (!stages.iter().all(is_sound)).then_some(EQUAL)
}

/// The rows that matched in another task are not known in this one.
fn gives_unmatched_rows_of_each_task(plan: &Plan) -> bool {
    use JoinType::*;
    plan.downcast_ref::<NestedLoopJoinExec>()
        .is_some_and(|join| matches!(join.join_type(), Left | LeftSemi | LeftAnti | LeftMark | Full))
}

fn exchanged(plan: &Plan) -> Option<Plan> {
    let key: PhysicalExprRef = Arc::new(Literal::new(ScalarValue::from(0)));
    let partitions = plan.output_partitioning().partition_count();
    let exchange =
        RepartitionExec::try_new(Arc::clone(plan), Partitioning::Hash(vec![key], partitions)).ok()?;
    Some(Arc::new(exchange))
}

/// True when a stage has no exchange in it, and each of its operators knows of the order it relies on.
fn is_sound(stage: &Plan) -> bool {
    let mut is_sound = true;
    let walked = stage.apply(|node| {
        let exchange = node.downcast_ref::<RepartitionExec>();
        let is_exchange =
            exchange.is_some_and(|exchange| matches!(exchange.partitioning(), Partitioning::Hash(..)));
        is_sound = !is_exchange && is_ordered(node)?;
        Ok(if is_sound { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    is_sound && walked.is_ok()
}

fn is_ordered(plan: &Plan) -> datafusion::error::Result<bool> {
    for (child, required) in plan.children().into_iter().zip(plan.required_input_ordering()) {
        // What a stage gives in order is read in order, though it is not said.
        if plan.is::<SortPreservingMergeExec>() && child.is::<UnresolvedShuffleExec>() {
            continue;
        }
        if let Some(required) = required
            && !child.equivalence_properties().ordering_satisfy_requirement(required.into_single())?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

//! What Ballista must not do to the joins of a plan that is made.
//!
//! Which may send their build side whole to every task:
//! Ballista 55 turns a `CollectLeft` join it takes for unsafe, or too large by its own measure, into a
//! partitioned one after the plan is made (`planner.rs`, `maybe_promote_to_broadcast`). The join then
//! has more partitions than the operator above it was planned for, which reads the first and loses the
//! rest: wrong answers. So no such join may reach it. The rule here makes them partitioned while the
//! planner can still put the exchanges round them, and [`are_kept`] looks over the finished plan.
//!
//! And which keep their sides, those whose probe side is ordered: Ballista 55 turns a join round once it has measured its inputs
//! (`physical_optimizer/join_selection.rs`, on a stage whose inputs are there) or where it makes it a
//! broadcast, also where DataFusion has put the sort of what lies above below its probe side, whose
//! order the join keeps. Rows then come in another order than a merge or a window above relies on.
//! Joins without an equality keep them all: turned round, one in a branch of a union reads in each task
//! what was to be read in parts. Sides that are not measured are not turned: [`KeptSide`].

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary};

use crate::empty_inputs::EmptyInputs;
use crate::nullable_inputs::forgetting;
use crate::operators::KeptSide;
use crate::optimize_projections::careful;
use crate::repeated_names::by_place;
use crate::unordered_unions::UnorderedUnions;

/// DataFusion's rules, with ours right behind the one that chooses how joins run.
pub fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = forgetting(careful(by_place(PhysicalOptimizer::new().rules)));
    let choice = rules.iter().position(|rule| rule.name() == "join_selection");
    rules.insert(choice.map_or(0, |at| at + 1), Arc::new(SafeBroadcasts));
    rules.insert(0, Arc::new(UnorderedUnions));
    rules.push(Arc::new(KeptSides));
    rules.push(Arc::new(EmptyInputs));
    rules
}

/// Behind all others, since sorts move until the last of them.
#[derive(Debug)]
struct KeptSides;

impl PhysicalOptimizerRule for KeptSides {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let is_kept = match node.downcast_ref::<HashJoinExec>() {
                Some(join) => {
                    join.maintains_input_order() == [false, true] && join.right().output_ordering().is_some()
                }
                None => node.is::<CrossJoinExec>() || node.is::<NestedLoopJoinExec>(),
            };
            let children: Vec<_> = node.children().into_iter().cloned().collect();
            match <[_; 2]>::try_from(children) {
                Ok([left, right]) if is_kept => {
                    let right: Arc<dyn ExecutionPlan> = Arc::new(KeptSide::new(right));
                    replace_children_if_necessary(node, vec![left, right]).map(Transformed::yes)
                }
                _ => Ok(Transformed::no(node)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "kept_sides"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct SafeBroadcasts;

impl PhysicalOptimizerRule for SafeBroadcasts {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let bytes_max = config.optimizer.hash_join_single_partition_threshold;
        plan.transform_up(|node| match node.downcast_ref::<HashJoinExec>() {
            Some(join) if is_collected(join) && !is_kept(join, bytes_max) => {
                let partitioned = join.builder().with_partition_mode(PartitionMode::Partitioned).build()?;
                Ok(Transformed::yes(Arc::new(partitioned) as Arc<dyn ExecutionPlan>))
            }
            _ => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "safe_broadcasts"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// True when Ballista leaves every broadcast of the finished `plan` as it is.
pub fn are_kept(plan: &Arc<dyn ExecutionPlan>, bytes_max: usize) -> bool {
    let mut all = true;
    let _ = plan.apply(|node| {
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && is_collected(join)
            && !is_kept(join, bytes_max)
        {
            all = false;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    all
}

/// Joins that mind nulls are lowered by Ballista to a single task, whatever their size.
fn is_collected(join: &HashJoinExec) -> bool {
    *join.partition_mode() == PartitionMode::CollectLeft && !join.null_aware
}

/// Ballista's own conditions: rows leave for the probe side's rows only, and the build side is known to
/// be small.
fn is_kept(join: &HashJoinExec, bytes_max: usize) -> bool {
    let is_driven_by_probe = matches!(
        join.join_type(),
        JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
    );
    is_driven_by_probe && measured_bytes(join.left()).is_some_and(|bytes| bytes < bytes_max)
}

/// The size of a build side as Ballista measures it (`planner.rs`, `broadcast_size_under_threshold`);
/// `None` where it knows none.
fn measured_bytes(build: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let statistics = StatisticsContext::new().compute(build.as_ref(), &StatisticsArgs::new()).ok()?;
    let known = |value: Option<&usize>| value.copied().filter(|value| *value != 0);
    if let Some(bytes) = known(statistics.total_byte_size.get_value()) {
        return Some(bytes);
    }
    const LEAST: usize = 8;
    let width = |data_type: &DataType| match data_type {
        DataType::Boolean => 1,
        DataType::Date32 | DataType::Date64 | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            data_type.primitive_width().unwrap_or(32)
        }
        number if number.is_integer() => number.primitive_width().unwrap_or(32),
        DataType::Float32 => 4,
        DataType::Float64 => 8,
        _ => 32,
    };
    let row: usize = build.schema().fields().iter().map(|field| width(field.data_type())).sum();
    known(statistics.num_rows.get_value()).map(|rows| rows.saturating_mul(row.max(LEAST)))
}

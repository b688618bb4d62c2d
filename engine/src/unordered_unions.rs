//! Unions keep no order on executors. Ballista puts a branch that is sorted whole into a stage of its own, forgets its order, and
//! sorts again behind the exchange, below the union (`planner.rs`: `can_stay_inline`, then `EnsureRequirements` on the stage). A
//! task is given its partitions of the branches, but what sorts a branch whole reads all of it (`task_builder.rs`,
//! `child_scopes`), so every task has read every branch: 8 and 7 rows were 31. Above a union that tells of no order sorts stay
//! above it, where they sort each partition.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use crate::operators::NullableInput;

/// For the front of the rules: none of those behind it puts a sort below a union.
#[derive(Debug)]
pub struct UnorderedUnions;

impl PhysicalOptimizerRule for UnorderedUnions {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(if node.is::<UnionExec>() {
                Transformed::yes(Arc::new(NullableInput::new(node)) as Arc<dyn ExecutionPlan>)
            } else {
                Transformed::no(node)
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "unordered_unions"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

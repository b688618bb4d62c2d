//! Inputs without rows, as executors can be sent them.
//!
//! DataFusion's own forgets on the way how many partitions it has, and counts nothing. A task that has nothing to do with
//! one is given another operator in its place (`ballista-scheduler`, `task_builder.rs`), which counts: the tasks of a stage
//! then tell of different numbers of operators, and Ballista waits for ever for the end of those that it takes for wrong.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Puts the operator that Ballista would put there in the place of each input without rows.
#[derive(Debug)]
pub struct EmptyInputs;

impl PhysicalOptimizerRule for EmptyInputs {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if !node.is::<EmptyExec>() {
                return Ok(Transformed::no(node));
            }
            let partitions = vec![Vec::new(); node.output_partitioning().partition_count()];
            Ok(Transformed::yes(
                MemorySourceConfig::try_new_exec(&partitions, node.schema(), None)? as Arc<dyn ExecutionPlan>
            ))
        })
        .data()
    }

    fn name(&self) -> &str {
        "empty_inputs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

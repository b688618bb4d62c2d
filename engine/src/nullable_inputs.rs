//! What a condition says of one side of an outer join does not hold above it: `b = 1` below leaves rows there whose `b` is
//! NULL. DataFusion 55 takes `b` for the same in all rows, and does not sort by it (`EquivalenceGroup::join`). So it does
//! with the columns of grouping sets, which are NULL in the rows of the others.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary};

use crate::operators::NullableInput;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// `rules`, before which such inputs are made to say nothing of their columns.
pub fn forgetting(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.insert(0, Arc::new(NullableInputs));
    rules
}

#[derive(Debug)]
struct NullableInputs;

impl PhysicalOptimizerRule for NullableInputs {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let nullable = nullable(&node);
            let inputs = node.children();
            let is_told =
                |(input, is_nullable): (&&Arc<dyn ExecutionPlan>, &bool)| *is_nullable && tells(input);
            if !inputs.iter().zip(&nullable).any(is_told) {
                return Ok(Transformed::no(node));
            }
            let forgotten = inputs.iter().zip(&nullable).map(|(input, is_nullable)| {
                let input = Arc::clone(input);
                match *is_nullable && tells(&input) {
                    true => Arc::new(NullableInput::new(input)) as Arc<dyn ExecutionPlan>,
                    false => input,
                }
            });
            let forgotten = forgotten.collect();
            replace_children_if_necessary(Arc::clone(&node), forgotten).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "nullable_inputs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Of which inputs of `node` the columns are NULL in rows that it makes.
fn nullable(node: &Arc<dyn ExecutionPlan>) -> Vec<bool> {
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        return vec![aggregate.group_expr().has_grouping_set()];
    }
    let join_type = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        *join.join_type()
    } else if let Some(join) = node.downcast_ref::<SortMergeJoinExec>() {
        join.join_type()
    } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        *join.join_type()
    } else {
        return Vec::new();
    };
    match join_type {
        JoinType::Left => vec![false, true],
        JoinType::Right => vec![true, false],
        JoinType::Full => vec![true, true],
        _ => Vec::new(),
    }
}

/// Whether `input` tells more of its columns than what NULL in all of them leaves true: which of them are equal.
fn tells(input: &Arc<dyn ExecutionPlan>) -> bool {
    let properties = input.equivalence_properties();
    let is_computed = || {
        let mut classes = properties.eq_group().iter();
        classes.any(|class| class.iter().any(|member| member.downcast_ref::<Column>().is_none()))
    };
    !properties.constants().is_empty() || is_computed()
}

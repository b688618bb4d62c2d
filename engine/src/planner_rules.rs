//! DataFusion's optimizer rules, watched: at each operator that they come to they end with their statement, and none makes
//! more of a plan than fits.

use std::sync::Arc;

use datafusion::common::NullEquality;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan, Projection};
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::computed_keys::ComputedKeys;
use crate::functions::later::LaterValues;
use crate::plan_size;
use crate::scope::Scope;
use crate::union_inputs::without_empty_inputs;

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// Parts that a condition may come to have when it is moved below an operator that computes its columns. Each column is
/// put in as often as the condition names it: of `x + x` over `x + x`, thirty deep, a thousand million.
const MOVED_PARTS_MAX: usize = 2_000;

/// `rules`, watched, and ours among and after them.
pub fn watched(rules: Vec<Rule>) -> Vec<Rule> {
    let (pushing, taking) = (PushDownFilter::new(), ExtractEquijoinPredicate::new());
    let mut watched: Vec<Rule> = Vec::with_capacity(rules.len() * 2 + 1);
    for rule in rules {
        let moves_conditions = rule.name() == pushing.name();
        let takes_keys = rule.name() == taking.name();
        let takes_inputs = rule.name() == PropagateEmptyRelation::new().name();
        watched.push(Arc::new(Watched { rule, moves_conditions, takes_keys, takes_inputs }));
        watched.push(Arc::new(Size));
    }
    watched.push(Arc::new(ComputedKeys));
    watched.push(Arc::new(LaterValues));
    watched
}

/// Fails once the statement that is planned is to stop.
fn check_wanted() -> Result<()> {
    Scope::current().map_or(Ok(()), |scope| scope.check())
}

#[derive(Debug)]
struct Watched {
    rule: Rule,
    moves_conditions: bool,
    takes_keys: bool,
    takes_inputs: bool,
}

impl OptimizerRule for Watched {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        check_wanted()?;
        if (self.moves_conditions && (grows(&plan) || holds_of_groups(&plan)))
            || (self.takes_keys && is_null_safe(&plan))
        {
            return Ok(Transformed::no(plan));
        }
        if self.takes_inputs
            && let Some(plan) = without_empty_inputs(&plan)?
        {
            return Ok(Transformed::yes(plan));
        }
        self.rule.rewrite(plan, config)
    }
}

/// True for a filter of groups or of windows with a condition that names no column: below them it would choose their rows. A group
/// of no rows is still one.
fn holds_of_groups(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else { return false };
    let is_of_groups = matches!(filter.input.as_ref(), LogicalPlan::Aggregate(_) | LogicalPlan::Window(_));
    is_of_groups && split_conjunction(&filter.predicate).into_iter().any(|part| part.column_refs().is_empty())
}

/// Refuses what the rule before made too large.
#[derive(Debug)]
struct Size;

impl OptimizerRule for Size {
    fn name(&self) -> &str {
        "size"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan_size::check(&plan).map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Transformed::no(plan))
    }
}

/// True for joins whose keys are the same when both are NULL: a condition that became one of them would hold for NULL, too.
fn is_null_safe(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty())
}

/// True for conditions that would become too large below the operator that they stand on.
fn grows(plan: &LogicalPlan) -> bool {
    let mut conditions: Vec<&Expr> = Vec::new();
    let mut below = plan;
    // Those that follow each other are moved together.
    while let LogicalPlan::Filter(Filter { predicate, input, .. }) = below {
        conditions.push(predicate);
        below = input;
    }
    let (columns, computed): (_, Vec<&Expr>) = match below {
        LogicalPlan::Projection(Projection { expr, schema, .. }) => (schema, expr.iter().collect()),
        LogicalPlan::Aggregate(Aggregate { group_expr, schema, .. }) => (schema, group_expr.iter().collect()),
        _ => return false,
    };
    let mut parts = 0_usize;
    for condition in &conditions {
        let _ = condition.apply(|part| {
            let put_in = match part {
                Expr::Column(column) => {
                    columns.maybe_index_of_column(column).and_then(|at| computed.get(at)).map_or(1, |expr| {
                        // A column of the same size is put in the place of the other.
                        parts_of(expr)
                    })
                }
                _ => 1,
            };
            parts = parts.saturating_add(put_in);
            Ok(TreeNodeRecursion::Continue)
        });
    }
    // What is so large already may be moved as it is.
    let now: usize = conditions.into_iter().map(parts_of).sum();
    parts > MOVED_PARTS_MAX && parts > now + now / 8
}

fn parts_of(expr: &Expr) -> usize {
    let mut parts = 0;
    let _ = expr.apply(|_| {
        parts += 1;
        Ok(TreeNodeRecursion::Continue)
    });
    parts
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};
    use datafusion::optimizer::{Optimizer, OptimizerContext};

    use super::*;

    #[test]
    fn a_condition_is_moved_as_long_as_it_stays_small() {
        let nested = |times: usize| {
            let one = LogicalPlanBuilder::empty(true).project([lit(1).alias("x")]).expect("a row");
            let nested = (0..times)
                .fold(one, |plan, _| plan.project([(col("x") + col("x")).alias("x")]).expect("a sum"));
            nested.filter(col("x").gt(lit(5))).and_then(LogicalPlanBuilder::build).expect("a plan")
        };
        let is_below = |plan: &LogicalPlan| !matches!(plan, LogicalPlan::Filter(_));
        let largest = |plan: &LogicalPlan| {
            let mut largest = 0;
            let _ = plan.apply(|node| {
                node.apply_expressions(|expr| {
                    largest = largest.max(parts_of(expr));
                    Ok(TreeNodeRecursion::Continue)
                })
            });
            largest
        };
        let optimizer = Optimizer::with_rules(watched(vec![Arc::new(PushDownFilter::new())]));
        for times in [1, 5, 60] {
            let plan = optimizer
                .optimize(nested(times), &OptimizerContext::new(), |_, _| {})
                .expect("it is small enough");
            assert!(is_below(&plan), "{plan}");
            assert!(largest(&plan) <= MOVED_PARTS_MAX, "{}", largest(&plan));
        }
    }
}

//! Where DataFusion's silence would be a wrong answer, PostgreSQL's meaning: what changes types comes before types are coerced,
//! what depends on them after.

mod calls;
mod casts;
mod checks;
mod grouping_sets;
pub(crate) mod instants;
mod keys;
mod lists;
mod merged_columns;
mod nullable;
mod numbers;
mod operands;
mod ordered_inputs;
mod simplified;
mod texts;
mod unknowns;
mod wide;
mod wide_planner;
mod widening;

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use datafusion::optimizer::{Analyzer, AnalyzerRule};

pub use keys::function as same;
pub use merged_columns::{MERGED, MERGED_EITHER, MergedColumns};
pub use nullable::function as nullable;
pub use wide_planner::WidePlanner;

use crate::functions::signs;
use crate::subqueries::Unnesting;

/// DataFusion's rules with ours around them.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(calls::OuterAggregates));
    rules.insert(1, Arc::new(Unnesting));
    rules.insert(2, Arc::new(Meanings));
    rules.push(Arc::new(Checks));
    rules
}

/// PostgreSQL's meaning of expressions whose types are as they were written.
#[derive(Debug)]
struct Meanings;

impl AnalyzerRule for Meanings {
    fn name(&self) -> &str {
        "postgres_meanings"
    }

    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
        let options = Arc::new(options.clone());
        let plan = plan.transform_up_with_subqueries(grouping_sets::of_columns)?.data;
        let plan = plan.transform_up_with_subqueries(keys::hidden)?.data;
        let plan = rewrite(
            ordered_inputs::ordered(plan)?,
            &|expr, schema| {
                let meant = signs::meant(expr, schema)?;
                let meant = meant.transform_data(|expr| casts::meant(expr, schema))?;
                let meant = meant.transform_data(|expr| instants::meant(expr, schema, &options))?;
                let meant = meant.transform_data(|expr| widening::meant(expr, schema))?;
                let meant = meant.transform_data(|expr| unknowns::known(expr, schema))?;
                operands::check(&meant.data, schema)?;
                let meant = meant.transform_data(|expr| numbers::meant(expr, schema))?;
                let meant = meant.transform_data(|expr| calls::meant(expr, schema, &options))?;
                let meant = meant.transform_data(|expr| texts::meant(expr, schema))?;
                let meant = meant.transform_data(|expr| lists::meant(expr, schema, &options))?;
                let meant = meant.transform_data(|expr| Ok(nullable::meant(expr)))?;
                meant.transform_data(|expr| Ok(simplified::meant(expr)))
            },
            &|plan| {
                operands::check_keys(&plan)?;
                let aligned = unknowns::in_set_operation(plan, &options)?;
                let aligned = aligned.transform_data(|plan| unknowns::in_union(plan, &options))?;
                aligned.transform_data(numbers::aligned)
            },
        )?;
        lists::check(&plan)?;
        instants::ordered(plan)
    }
}

/// What PostgreSQL checks when it computes.
#[derive(Debug)]
struct Checks;

impl AnalyzerRule for Checks {
    fn name(&self) -> &str {
        "postgres_checks"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(
            simplified::apart(plan)?,
            &|expr, schema| {
                let checked = instants::checked(expr, schema)?;
                let checked = checked.transform_data(|expr| numbers::checked(expr, schema))?;
                checked.transform_data(|expr| checks::checked(expr, schema))
            },
            &|plan| Ok(Transformed::no(plan)),
        )
    }
}

/// Operators that compare values of one type.
fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn changed(expr: Expr, is_changed: bool) -> Transformed<Expr> {
    if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// Rewrites every expression of `plan`, and then each part of it; columns keep their names.
fn rewrite(
    plan: LogicalPlan,
    change: &impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
    align: &impl Fn(LogicalPlan) -> Result<Transformed<LogicalPlan>>,
) -> Result<LogicalPlan> {
    // Once a part is of other types, what stands above it is too.
    let is_changed = Cell::new(false);
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        for input in plan.inputs() {
            schema.merge(input.schema());
        }
        let names = NamePreserver::new(&plan);
        let rewritten = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|expr| change(expr, &schema))?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?;
        let rewritten = rewritten.transform_data(align)?;
        is_changed.set(is_changed.get() || rewritten.transformed);
        if is_changed.get() { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
    })?;
    Ok(rewritten.data)
}

//! Which subqueries DataFusion's own rules compute rightly, and well.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, LogicalPlan, Operator};

use super::domain::is_volatile;
use super::{bound, free};

/// Aggregates that are NULL of no rows, also under the names that stand for them until types are known.
const NULL_OF_NONE: [&str; 10] = [
    "bool_and",
    "bool_or",
    "sum",
    "avg",
    "min",
    "max",
    "sluice_interval_sum",
    "sluice_interval_avg",
    "sluice_interval_min",
    "sluice_interval_max",
];

/// A subquery used as an expression, in a filter or among the columns of a SELECT: without outer columns, or else
/// `SELECT f(sum(x)) … WHERE inner = outer AND …`, whose value for no rows is NULL.
pub fn is_scalar(subquery: &Subquery, outer: &DFSchema) -> Result<bool> {
    let plan = subquery.subquery.as_ref();
    if free(plan)?.is_empty() {
        return Ok(!is_volatile(plan)?);
    }
    if !names_alone(plan, outer)? {
        return Ok(false);
    }
    let mut below = plan;
    while let LogicalPlan::Projection(projection) = below
        && projection.expr.iter().all(is_null_for_null)
    {
        below = &projection.input;
    }
    let LogicalPlan::Aggregate(aggregate) = below else { return Ok(false) };
    let is_plain = |expr: &Expr| match expr.clone().unalias() {
        Expr::AggregateFunction(function) => NULL_OF_NONE.contains(&function.func.name()) && !has_outer(expr),
        _ => false,
    };
    if !aggregate.group_expr.is_empty() || !aggregate.aggr_expr.iter().all(is_plain) {
        return Ok(false);
    }
    has_outer_in_filters_alone(&aggregate.input, &is_equality)
}

/// `EXISTS (SELECT … WHERE …)` and `x IN (…)`, as a condition of a filter that holds or does not.
pub fn is_semi_join(subquery: &Subquery, outer: &DFSchema) -> Result<bool> {
    let plan = subquery.subquery.as_ref();
    if free(plan)?.is_empty() {
        return Ok(true);
    }
    if !names_alone(plan, outer)? {
        return Ok(false);
    }
    has_outer_in_filters_alone(plan, &|_| true)
}

/// Whether the outer columns that `plan` names are all of `outer`, and none of a query further out.
fn names_alone(plan: &LogicalPlan, outer: &DFSchema) -> Result<bool> {
    let free = free(plan)?;
    Ok(bound(&free, outer).len() == free.len())
}

/// `x NOT IN (…)` as a condition of a filter: DataFusion knows what NULL means there for a column beside a subquery
/// without outer columns.
pub fn is_anti_join(within: &InSubquery) -> Result<bool> {
    let names_column = within.expr.exists(|expr| Ok(matches!(expr, Expr::Column(_))))?;
    Ok(names_column && !has_outer(&within.expr) && free(&within.subquery.subquery)?.is_empty())
}

/// A subquery beside the tables whose columns it names, whose filters alone name them.
pub fn is_lateral(plan: &LogicalPlan) -> bool {
    has_outer_in_filters_alone(plan, &|_| true).unwrap_or(false)
}

/// Whether outer columns are named by the conditions of filters alone, each of which `suits`, with nothing above them but
/// what passes rows on.
fn has_outer_in_filters_alone(plan: &LogicalPlan, suits: &impl Fn(&Expr) -> bool) -> Result<bool> {
    let mut below = plan;
    loop {
        below = match below {
            LogicalPlan::Projection(projection) if !projection.expr.iter().any(has_outer) => {
                &projection.input
            }
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Distinct(Distinct::All(input)) => input,
            LogicalPlan::Filter(filter) => {
                let mut conditions = split_conjunction(&filter.predicate).into_iter();
                if !conditions.all(|condition| !has_outer(condition) || suits(condition)) {
                    return Ok(false);
                }
                &filter.input
            }
            LogicalPlan::Subquery(subquery) => &subquery.subquery,
            other => return Ok(free(other)?.is_empty()),
        };
    }
}

/// `inner = outer`.
fn is_equality(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return false };
    let is_outer = |expr: &Expr| matches!(expr, Expr::OuterReferenceColumn(..));
    let is_inner = |expr: &Expr| matches!(expr, Expr::Column(_));
    (is_outer(left) && is_inner(right)) || (is_inner(left) && is_outer(right))
}

fn has_outer(expr: &Expr) -> bool {
    let mut has = false;
    let _ = expr.apply(|expr| {
        has |= matches!(expr, Expr::OuterReferenceColumn(..));
        Ok(TreeNodeRecursion::Continue)
    });
    has
}

/// Whether `expr` is NULL when the columns that it names are, and names some.
fn is_null_for_null(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_null_for_null(&alias.expr),
        Expr::Cast(cast) => is_null_for_null(&cast.expr),
        Expr::Negative(expr) => is_null_for_null(expr),
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide,
            right,
        }) => {
            let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
            (is_null_for_null(left) && (is_null_for_null(right) || is_literal(right)))
                || (is_literal(left) && is_null_for_null(right))
        }
        Expr::ScalarFunction(call) => {
            let is_taken = |arg: &Expr| matches!(arg, Expr::Literal(..)) || is_null_for_null(arg);
            call.func.inner().is_strict()
                && call.args.iter().all(is_taken)
                && call.args.iter().any(is_null_for_null)
        }
        _ => false,
    }
}

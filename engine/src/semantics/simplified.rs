//! Expressions that the planner would simplify to ones of another meaning where an operand is null.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};

use crate::functions::lists::{Operation, call};

/// Writes `expr` as one that is simplified rightly.
pub fn meant(expr: Expr) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return Transformed::no(expr) };
    let combined = |left, op, right| Box::new(Expr::BinaryExpr(BinaryExpr { left, op, right }));
    match op {
        // What stands on both sides would be left out, and with it whether it is null.
        Operator::BitwiseXor => {
            let number = match left.as_ref() {
                Expr::BinaryExpr(BinaryExpr { op: Operator::BitwiseXor, right, .. }) => number_of(right) + 1,
                _ => 0,
            };
            let hidden = Box::new(call(Operation::Same, vec![*right, lit(number)]));
            Transformed::yes(*combined(left, op, hidden))
        }
        // It would be IS NOT NULL.
        Operator::RegexMatch | Operator::RegexIMatch if is_anything(&right) => {
            Transformed::yes(*combined(left, op, Box::new(lit(""))))
        }
        _ => Transformed::no(*combined(left, op, right)),
    }
}

/// The number that an expression is hidden with.
fn number_of(expr: &Expr) -> i64 {
    match expr {
        Expr::ScalarFunction(call) => match call.args.last() {
            Some(Expr::Literal(ScalarValue::Int64(Some(number)), _)) => *number,
            _ => 0,
        },
        _ => 0,
    }
}

fn is_anything(pattern: &Expr) -> bool {
    matches!(pattern, Expr::Literal(value, _) if value.try_as_str().flatten() == Some(".*"))
}

/// Keeps apart what `plan` has of `x IN (…)`: of two the planner makes one, which is false where `x` is null, and two
/// NOT IN that are joined by OR become true.
///
/// In a filter a false is as good as a null: what stands there under AND alone, or is not negated, is left as it is.
pub fn apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = 0;
    plan.apply_with_subqueries(|plan| {
        let harmless = harmless(plan);
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::InList(list) = expr {
                    let is_harmless = harmless.iter().any(|known| std::ptr::eq(*known, list));
                    found += usize::from(!is_harmless);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if found < 2 {
        return Ok(plan);
    }
    let mut number = 0i64;
    let apart = plan.transform_up_with_subqueries(|plan| {
        let harmless: Vec<InList> = harmless(&plan).into_iter().cloned().collect();
        let names = NamePreserver::new(&plan);
        let hidden = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let hidden = expr.transform_up(|expr| match expr {
                Expr::InList(list) if !harmless.contains(&list) => {
                    number += 1;
                    let InList { expr, list, negated } = list;
                    let hidden = call(Operation::Same, vec![*expr, lit(number)]);
                    Ok(Transformed::yes(Expr::InList(InList { expr: Box::new(hidden), list, negated })))
                }
                expr => Ok(Transformed::no(expr)),
            })?;
            Ok(hidden.update_data(|expr| name.restore(expr)))
        })?;
        if hidden.transformed { hidden.map_data(LogicalPlan::recompute_schema) } else { Ok(hidden) }
    })?;
    Ok(apart.data)
}

/// Those of a filter, or of what a join joins on, that may be merged.
fn harmless(plan: &LogicalPlan) -> Vec<&InList> {
    let mut found = Vec::new();
    let predicate = match plan {
        LogicalPlan::Filter(filter) => Some(&filter.predicate),
        LogicalPlan::Join(join) => join.filter.as_ref(),
        _ => None,
    };
    let mut open: Vec<_> = predicate.map(|predicate| (predicate, false)).into_iter().collect();
    while let Some((expr, is_under_or)) = open.pop() {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                open.extend([(left.as_ref(), is_under_or), (right.as_ref(), is_under_or)]);
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                open.extend([(left.as_ref(), true), (right.as_ref(), true)]);
            }
            Expr::InList(list) if !(list.negated && is_under_or) => {
                found.push(list);
            }
            _ => {}
        }
    }
    found
}

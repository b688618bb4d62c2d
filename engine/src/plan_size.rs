//! How large a plan may be. A common table expression or a view is put into the plan wherever it is named: twenty of which
//! each names the one before twice are a million scans, and a plan is copied and walked many times before it runs.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::{Error, Result};

/// Operators of a plan, each as often as it is reached. One of 8,000 scans took 25 s and 40 MB to plan.
const OPERATORS_MAX: usize = 30_000;
/// Parts of its expressions. A list of values in a statement may have 100,000.
const EXPRESSIONS_MAX: usize = 1_000_000;

/// Refuses a plan that is too large to be worked with (54001). Looks at no more of it than it may have.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    let mut left = Left { operators: OPERATORS_MAX, expressions: EXPRESSIONS_MAX };
    match left.take(plan) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::TooComplex {
            message:
                "the statement is too complex: its views and common table expressions are read too often"
                    .into(),
            hint: "Store the rows of one that is read many times in a table, and read that.".into(),
        }),
    }
}

/// What may still come.
struct Left {
    operators: usize,
    expressions: usize,
}

impl Left {
    fn take(&mut self, plan: &LogicalPlan) -> ControlFlow<()> {
        if self.operators == 0 {
            return ControlFlow::Break(());
        }
        self.operators -= 1;
        let mut outcome = ControlFlow::Continue(());
        let _ = plan.apply_expressions(|expr| {
            outcome = self.take_expression(expr);
            Ok(if outcome.is_break() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        outcome?;
        plan.inputs().into_iter().try_for_each(|input| self.take(input))
    }

    fn take_expression(&mut self, expr: &Expr) -> ControlFlow<()> {
        let mut outcome = ControlFlow::Continue(());
        let _ = expr.apply(|part| {
            let subquery = match part {
                Expr::ScalarSubquery(subquery) => Some(subquery),
                Expr::Exists(exists) => Some(&exists.subquery),
                Expr::InSubquery(within) => Some(&within.subquery),
                Expr::SetComparison(comparison) => Some(&comparison.subquery),
                _ => None,
            };
            outcome = match (self.expressions.checked_sub(1), subquery) {
                (None, _) => ControlFlow::Break(()),
                (Some(left), None) => {
                    self.expressions = left;
                    ControlFlow::Continue(())
                }
                (Some(left), Some(subquery)) => {
                    self.expressions = left;
                    // DataFusion checks a subquery with the operator that it is in, and by itself, at each level.
                    match self.take(&subquery.subquery) {
                        ControlFlow::Continue(()) => self.take(&subquery.subquery),
                        ends => ends,
                    }
                }
            };
            Ok(if outcome.is_break() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, exists, lit};
    use std::sync::Arc;

    use super::*;

    fn doubled(times: usize, double: impl Fn(LogicalPlan) -> LogicalPlan) -> LogicalPlan {
        let one = LogicalPlanBuilder::empty(true).project([lit(1).alias("x")]).expect("a row");
        (0..times).fold(one.build().expect("a row"), |plan, _| double(plan))
    }

    #[test]
    fn what_doubles_is_refused_before_it_is_walked() {
        let union = |plan: LogicalPlan| {
            LogicalPlanBuilder::from(plan.clone()).union(plan).and_then(|both| both.build()).expect("a union")
        };
        let subquery = |plan: LogicalPlan| {
            let condition = exists(Arc::new(plan.clone()));
            LogicalPlanBuilder::from(plan).filter(condition).and_then(|both| both.build()).expect("a filter")
        };
        assert!(check(&doubled(10, union)).is_ok());
        assert!(check(&doubled(6, subquery)).is_ok());
        for endless in [doubled(60, union), doubled(60, subquery)] {
            let error = check(&endless).expect_err("2^60 operators");
            assert_eq!(error.sqlstate().as_str(), "54001");
        }
    }
}

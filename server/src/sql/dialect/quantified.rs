//! `x op ANY (array)` and `x op ALL (array)`, as calls of functions that know what a null among the items means.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use sqlparser::ast::{BinaryOperator, Expr, Value, VisitMut, VisitorMut};

use super::{call, take};

/// Rewrites those of `statement` that are over arrays; those over queries stay.
pub fn adapt(statement: &mut Statement) {
    struct Quantified;
    impl VisitorMut for Quantified {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let (name, left, op, right) = match expr {
                Expr::AnyOp { left, compare_op, right, .. } => ("sluice_any", left, compare_op, right),
                Expr::AllOp { left, compare_op, right } => ("sluice_all", left, compare_op, right),
                _ => return ControlFlow::Continue(()),
            };
            let is_comparison = matches!(
                op,
                BinaryOperator::Eq
                    | BinaryOperator::NotEq
                    | BinaryOperator::Lt
                    | BinaryOperator::LtEq
                    | BinaryOperator::Gt
                    | BinaryOperator::GtEq
            );
            if is_comparison && !is_query(right) {
                let op = Expr::value(Value::SingleQuotedString(op.to_string()));
                *expr = call(name, vec![op, take(left), take(right)]);
            }
            ControlFlow::Continue(())
        }
    }
    if let Statement::Statement(statement) = statement {
        let _ = statement.visit(&mut Quantified);
    }
}

fn is_query(expr: &Expr) -> bool {
    match expr {
        Expr::Subquery(_) => true,
        Expr::Nested(inner) => is_query(inner),
        _ => false,
    }
}

//! Operators of wide numbers, as they are read: DataFusion's planner asks for the type of each expression, and knows none of
//! what it does not compute.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::{numbers, unknowns, wide};
use crate::functions::numbers::wide::{TYPE, calls, is_wide};
use crate::functions::numbers::{conversions, digits, shown};

/// Plans `+`, `<`, `||` and the like where one side is wide.
#[derive(Debug)]
pub struct WidePlanner;

impl ExprPlanner for WidePlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let Some(op) = operator(&expr.op) else { return Ok(PlannerResult::Original(expr)) };
        let read = if op.is_numerical_operators() { beside_literal(&expr, schema)? } else { None };
        let expr = read.unwrap_or(expr);
        let is_left = is_of_wide(&expr.left, schema);
        let is_right = is_of_wide(&expr.right, schema);
        if !is_left && !is_right {
            if op.is_numerical_operators()
                && let Some(planned) = of_decimals(&expr.left, op, &expr.right, schema)
            {
                return Ok(PlannerResult::Planned(planned));
            }
            return Ok(PlannerResult::Original(expr));
        }
        let RawBinaryExpr { op: written, left, right } = expr;
        if op == Operator::StringConcat {
            let text = |side: Expr, is_wide: bool| if is_wide { shown::shown(side) } else { side };
            let (left, right) = (text(left, is_left), text(right, is_right));
            return Ok(PlannerResult::Original(RawBinaryExpr { op: written, left, right }));
        }
        let pair = unknowns::beside_number([left, right], schema)?;
        let [left, right] = pair;
        match numbers::planned(&left, op, &right, schema) {
            Some(planned) => Ok(PlannerResult::Planned(planned)),
            // Beside what is no number, such as an interval, it is a double.
            None => {
                let number = |side: Expr| match is_of_wide(&side, schema) {
                    true => conversions::to_double(side),
                    false => side,
                };
                let (left, right) = (number(left), number(right));
                Ok(PlannerResult::Original(RawBinaryExpr { op: written, left, right }))
            }
        }
    }
}

/// The operands with a literal in quotes beside a decimal as the number that it says.
fn beside_literal(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<Option<RawBinaryExpr>> {
    let is_text =
        |side: &Expr| matches!(side, Expr::Literal(value, _) if value.try_as_str().flatten().is_some());
    let other = match (is_text(&expr.left), is_text(&expr.right)) {
        (true, false) => &expr.right,
        (false, true) => &expr.left,
        _ => return Ok(None),
    };
    match other.get_type(schema) {
        Ok(kind) if kind.is_decimal() => {}
        // Of the other's type.
        Ok(kind) if kind.is_integer() || kind.is_floating() => {
            let read =
                |side: &Expr| if is_text(side) { cast(side.clone(), kind.clone()) } else { side.clone() };
            let (left, right) = (read(&expr.left), read(&expr.right));
            return Ok(Some(RawBinaryExpr { op: expr.op.clone(), left, right }));
        }
        _ => return Ok(None),
    }
    let [left, right] = unknowns::beside_number([expr.left.clone(), expr.right.clone()], schema)?;
    Ok(Some(RawBinaryExpr { op: expr.op.clone(), left, right }))
}

/// Two decimals whose result no decimal holds as PostgreSQL shows it.
fn of_decimals(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    // The type of a chain is asked for once, at its end.
    let right_type = right.get_type(schema).ok()?;
    let is_bare = |kind: &DataType| digits::bare_scale(kind).is_some();
    let has_fraction = matches!(right_type, DataType::Decimal128(_, 1..));
    if matches!(left, Expr::BinaryExpr(_)) && !(op == Operator::Multiply && has_fraction) {
        return if is_bare(&right_type) { numbers::planned(left, op, right, schema) } else { None };
    }
    let left_type = left.get_type(schema).ok()?;
    let is_wide = is_bare(&left_type)
        || is_bare(&right_type)
        || (op == Operator::Multiply && wide::is_long(&left_type, &right_type));
    if is_wide && op != Operator::Divide { numbers::planned(left, op, right, schema) } else { None }
}

fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::StringConcat => Operator::StringConcat,
        _ => return None,
    })
}

/// Whether `expr` is wide. Chains of operators are as deep as they are long: nothing is asked of the parts of one.
fn is_of_wide(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(_) => false,
        Expr::Negative(inner) => is_of_wide(inner, schema),
        expr if calls::is_number(expr) => true,
        other => is_wide(&wide::type_of(other, schema)),
    }
}

/// The type of an operand, by the same rule.
pub(super) fn operand_type(expr: &Expr, schema: &DFSchema) -> DataType {
    if calls::is_number(expr) { TYPE } else { expr.get_type(schema).unwrap_or(DataType::Null) }
}

//! `+`, `-`, `*` and `/` of two numbers of one type, and `||` of two texts, become functions that check, what is cast to a
//! whole number is rounded, and every function gets its bound, whoever called it: `ARRAY[…]` and `OVERLAY` name theirs without a
//! look into any registry.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::Cast;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF};

use crate::functions::{arithmetic, bounded, concatenation, matching, patterns, rounding, sketches};

/// Has `expr`, whose types were coerced, checked where PostgreSQL checks it.
pub fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let expr = match expr {
        Expr::Cast(cast) if cast.field.data_type().is_integer() => return Ok(rounded(cast, schema)),
        Expr::ScalarFunction(call) => return Ok(bounded::bounded_call(call)),
        Expr::AggregateFunction(function) => {
            sketches::check(function.func.name(), &function.params.args)?;
            return Ok(Transformed::no(Expr::AggregateFunction(function)));
        }
        Expr::WindowFunction(function) => {
            sketches::check(function.fun.name(), &function.params.args)?;
            return Ok(Transformed::no(Expr::WindowFunction(function)));
        }
        Expr::Like(like) => {
            return Ok(match patterns::checked(like) {
                Ok(like) => Transformed::yes(Expr::Like(like)),
                Err(like) => Transformed::no(Expr::Like(like)),
            });
        }
        expr => expr,
    };
    let Expr::BinaryExpr(binary) = expr else {
        return Ok(Transformed::no(expr));
    };
    let BinaryExpr { left, op, right } = match matching::of(binary) {
        Ok(matched) => return Ok(Transformed::yes(matched)),
        Err(binary) => binary,
    };
    if let (Some(left_type), Some(right_type)) = (type_of(&left, schema), type_of(&right, schema))
        && left_type == right_type
        && let Some(function) = operator(op, &left_type)
    {
        let call = ScalarFunction::new_udf(function, vec![*left, *right]);
        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
    }
    Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })))
}

fn operator(op: Operator, data_type: &DataType) -> Option<Arc<ScalarUDF>> {
    if op == Operator::StringConcat && data_type.is_string() {
        return bounded::bounded(concatenation::function());
    }
    arithmetic::checked(op, data_type)
}

/// A cast to a whole number, of the nearest one.
fn rounded(cast: Cast, schema: &DFSchema) -> Transformed<Expr> {
    let is_rounded =
        matches!(cast.expr.as_ref(), Expr::ScalarFunction(call) if rounding::is_ours(&call.func));
    let has_fraction = || type_of(&cast.expr, schema).is_some_and(|kind| rounding::has_fraction(&kind));
    if is_rounded || !has_fraction() {
        return Transformed::no(Expr::Cast(cast));
    }
    let Cast { expr, field } = cast;
    let call = ScalarFunction::new_udf(rounding::function(), vec![*expr]);
    Transformed::yes(Expr::Cast(Cast { expr: Box::new(Expr::ScalarFunction(call)), field }))
}

/// The type of an operand. Chains of operators are as deep as they are long: one that was rewritten
/// already has the type of its last operand, and need not be descended again.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match expr {
        Expr::ScalarFunction(call)
            if arithmetic::is_ours(&call.func) || concatenation::is_ours(&call.func) =>
        {
            type_of(call.args.last()?, schema)
        }
        Expr::Cast(cast) => Some(cast.field.data_type().clone()),
        other => other.get_type(schema).ok(),
    }
}

//! `sum(bigint)` is `numeric`, as in PostgreSQL; DataFusion's wraps round. A date and an interval of hours are an instant.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};

use super::changed;

/// Gives `expr` its meaning, before types are coerced.
pub fn meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::AggregateFunction(mut function) if function.func.name() == "sum" => {
            let is_changed = widen(&mut function.params.args, schema);
            Ok(changed(Expr::AggregateFunction(function), is_changed))
        }
        Expr::WindowFunction(mut function) if function.fun.name() == "sum" => {
            let is_changed = widen(&mut function.params.args, schema);
            Ok(changed(Expr::WindowFunction(function), is_changed))
        }
        // A date and hours are an instant; DataFusion's are a date, and the hours are lost.
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
            let adds_hours = left.get_type(schema).is_ok_and(|kind| kind == DataType::Date32)
                && may_have_hours(&right, schema);
            let left = if adds_hours { Box::new(cast(*left, INSTANT)) } else { left };
            Ok(changed(Expr::BinaryExpr(BinaryExpr { left, op, right }), adds_hours))
        }
        other => Ok(Transformed::no(other)),
    }
}

const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// True for intervals that are not known to be whole days.
fn may_have_hours(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => value.nanoseconds != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(value)), _) => value.milliseconds != 0,
        Expr::Literal(ScalarValue::IntervalYearMonth(_), _) => false,
        other => other.get_type(schema).is_ok_and(|kind| matches!(kind, DataType::Interval(_))),
    }
}

/// Wide enough for the sum of 2^63 of the largest `bigint`.
const SUM: DataType = DataType::Decimal128(38, 0);

fn widen(arguments: &mut [Expr], schema: &DFSchema) -> bool {
    let Some(argument) = arguments.first_mut() else { return false };
    let is_bigint = matches!(argument.get_type(schema), Ok(DataType::Int64 | DataType::UInt64));
    if is_bigint {
        *argument = cast(std::mem::take(argument), SUM);
    }
    is_bigint
}

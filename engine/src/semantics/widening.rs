//! `sum(bigint)` is `numeric`, as in PostgreSQL; DataFusion's wraps round.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprSchemable, cast};

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
        other => Ok(Transformed::no(other)),
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

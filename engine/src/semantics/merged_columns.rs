//! The column that USING and NATURAL make of two: the one of the side whose rows the join keeps, as the type that holds both.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{ExprSchemable, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// The operator between the column that is kept and the other, which no user can write.
pub const MERGED: &str = "merged with";
/// The same where the columns of all rows are equal, and the one is kept that has that type.
pub const MERGED_EITHER: &str = "merged or else";

/// Plans that operator.
#[derive(Debug)]
pub struct MergedColumns;

impl ExprPlanner for MergedColumns {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_either = match &expr.op {
            BinaryOperator::Custom(name) if name == MERGED => false,
            BinaryOperator::Custom(name) if name == MERGED_EITHER => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let (kept, other) = (expr.left.get_type(schema)?, expr.right.get_type(schema)?);
        Ok(PlannerResult::Planned(match common(&kept, &other) {
            None => expr.left,
            Some(kind) if is_either && kind == other => expr.right,
            Some(kind) => cast(expr.left, kind),
        }))
    }
}

/// The type that holds values of both; `None` where the first does, as far as is known.
fn common(kept: &DataType, other: &DataType) -> Option<DataType> {
    match (kept, other) {
        _ if kept == other => None,
        (kept, other) if kept.is_integer() && other.is_decimal() => {
            let digits = if *kept == DataType::Int64 { 19 } else { 10 };
            Some(DataType::Decimal128(digits, 0))
        }
        (kept, other) if kept.is_decimal() && (other.is_decimal() || other.is_integer()) => None,
        // Each is text.
        (kept, other) if kept.is_string() && other.is_string() => None,
        (kept, other) if is_decimal_beside_float(kept, other) || is_decimal_beside_float(other, kept) => {
            Some(DataType::Float64).filter(|kind| kind != kept)
        }
        (kept, other) => comparison_coercion(kept, other).filter(|kind| kind != kept),
    }
}

fn is_decimal_beside_float(one: &DataType, other: &DataType) -> bool {
    one.is_decimal() && other.is_floating()
}

//! `-x` and `+x` of what is no literal. DataFusion's planner asks for the type of an operand before it is known what it becomes, and
//! knows no sign of wide numbers: the statement has these functions, and the plan operators in their place.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::Error;
use crate::casts::{Kind, name};
use crate::sqlstate::SqlState;

const MINUS: &str = "sluice_minus";
const PLUS: &str = "sluice_plus";

/// The functions.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    [MINUS, PLUS]
        .map(|name| {
            let signature = Signature::any(1, Volatility::Immutable);
            Arc::new(ScalarUDF::from(Sign { name, signature }))
        })
        .to_vec()
}

/// The operator that `expr` stands for.
///
/// # Errors
///
/// 42883 for a sign of what PostgreSQL has none for.
pub fn meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(call) if [MINUS, PLUS].contains(&call.func.name()) => {
            let is_minus = call.func.name() == MINUS;
            let operand = call.args.into_iter().next().unwrap_or_default();
            check(is_minus, &operand, schema)?;
            Ok(Transformed::yes(if is_minus { Expr::Negative(Box::new(operand)) } else { operand }))
        }
        Expr::Negative(operand) => {
            check(true, &operand, schema)?;
            Ok(Transformed::no(Expr::Negative(operand)))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn check(is_minus: bool, operand: &Expr, schema: &DFSchema) -> Result<()> {
    // Chains of operators are as deep as they are long: nothing is asked of the parts of one.
    if matches!(operand, Expr::BinaryExpr(_)) {
        return Ok(());
    }
    let Ok(kind) = operand.get_type(schema) else { return Ok(()) };
    let is_signed = match Kind::of(&kind) {
        Kind::Span => is_minus,
        Kind::Other => true,
        kind => kind.is_number(),
    };
    let is_unknown = matches!(operand, Expr::Literal(value, _) if value.data_type().is_string());
    if is_signed || is_unknown {
        return Ok(());
    }
    let sign = if is_minus { '-' } else { '+' };
    let error = Error::Stamped {
        sqlstate: SqlState::from_text("42883"),
        message: format!("operator does not exist: {sign} {}", name(&kind)),
    };
    Err(DataFusionError::Plan(error.to_stamp()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sign {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Sign {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        kinds.first().cloned().ok_or_else(|| DataFusionError::Plan(format!("{} takes a number", self.name)))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        args.arg_fields
            .first()
            .cloned()
            .ok_or_else(|| DataFusionError::Plan(format!("{} takes a number", self.name)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal(format!("{} is an operator in plans", self.name)))
    }
}

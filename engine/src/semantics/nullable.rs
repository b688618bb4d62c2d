//! A subquery that is a value is NULL where it has no row, whatever its column is. DataFusion 55 takes the column's word for it:
//! `coalesce((SELECT 2 FROM t WHERE false), -1)` was declared to be never NULL, and was.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

/// `expr` as one that may be NULL, where it is a subquery that may have no row.
pub fn meant(expr: Expr) -> Transformed<Expr> {
    let Expr::ScalarSubquery(subquery) = &expr else { return Transformed::no(expr) };
    let plan = subquery.subquery.as_ref();
    let is_declared = plan.schema().fields().first().is_some_and(|field| !field.is_nullable());
    if !is_declared || gives_one_row(plan) {
        return Transformed::no(expr);
    }
    Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function(), vec![expr])))
}

/// True for an aggregate without groups, of which nothing is left out.
fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => gives_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => gives_one_row(&alias.input),
        LogicalPlan::EmptyRelation(nothing) => nothing.produce_one_row,
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

const NAME: &str = "sluice_nullable";

/// `sluice_nullable(x)`: `x`, which may be NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Nullable {
    signature: Signature,
}

/// The function.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Nullable { signature }))
}

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(one_argument)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = args.arg_fields.first().ok_or_else(one_argument)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.args.into_iter().next().ok_or_else(one_argument)
    }
}

fn one_argument() -> DataFusionError {
    DataFusionError::Plan(format!("{NAME} takes one argument"))
}

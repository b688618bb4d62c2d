//! What the planner leaves to the run: rows of VALUES that it did not compute are computed where the statement runs.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{EmptyRelation, Expr, ExprSchemable, LogicalPlan, Projection, Union, Values};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// More rows than this would each be an operator of their own.
const ROWS_MAX: usize = 1000;

/// The planner computes all that is left of VALUES when it makes operators of them. Rows that are not constants by then
/// become operators that compute them.
#[derive(Debug)]
pub struct LaterValues;

impl OptimizerRule for LaterValues {
    fn name(&self) -> &str {
        "later_values"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Values(Values { schema, values }) = plan else { return Ok(Transformed::no(plan)) };
        let is_later =
            |row: &Vec<Expr>| row.iter().any(|expr| !is_constant(expr)) && row.iter().all(is_plain);
        let later = values.iter().filter(|row| is_later(row)).count();
        if later == 0 || later > ROWS_MAX {
            return Ok(Transformed::no(LogicalPlan::Values(Values { schema, values })));
        }
        let mut inputs: Vec<Arc<LogicalPlan>> = Vec::new();
        let mut constants: Vec<Vec<Expr>> = Vec::new();
        for row in values {
            if !is_later(&row) {
                constants.push(row);
                continue;
            }
            if !constants.is_empty() {
                let values = std::mem::take(&mut constants);
                inputs.push(Arc::new(LogicalPlan::Values(Values { schema: Arc::clone(&schema), values })));
            }
            inputs.push(Arc::new(computed(row, &schema)?));
        }
        if !constants.is_empty() {
            inputs.push(Arc::new(LogicalPlan::Values(Values {
                schema: Arc::clone(&schema),
                values: constants,
            })));
        }
        if inputs.len() == 1 {
            let one = inputs.remove(0);
            return Ok(Transformed::yes(Arc::unwrap_or_clone(one)));
        }
        Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema })))
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Alias(alias) => is_constant(&alias.expr),
        Expr::Cast(cast) => is_constant(&cast.expr),
        _ => false,
    }
}

/// Reads nothing but itself.
fn is_plain(expr: &Expr) -> bool {
    let is_other = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Column(_)
                | Expr::Placeholder(_)
        ))
    };
    !expr.exists(is_other).unwrap_or(true)
}

/// A row as the columns of `schema`.
fn computed(row: Vec<Expr>, schema: &DFSchema) -> Result<LogicalPlan> {
    let nothing = Arc::new(DFSchema::empty());
    let columns = row.into_iter().zip(schema.fields()).map(|(expr, field)| {
        let expr = if expr.get_type(&nothing)? == *field.data_type() {
            expr
        } else {
            expr.cast_to(field.data_type(), &nothing)?
        };
        Ok(expr.alias(field.name()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let one = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema: nothing });
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(one))?))
}

//! A prepared statement of one row that reads no table, `SELECT $1::int + 1` say: planned once, computed
//! again and again with other values.
//!
//! Its parameters are the columns of a batch of one row, over which its expressions are evaluated. Only
//! operators and casts are taken: they are done sooner than another thread would wake, and give the same
//! today and tomorrow.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Operator, Projection};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use engine::{Error, Result};

/// The expressions of one row, ready to be computed.
#[derive(Debug)]
pub struct SingleRow {
    parameters: SchemaRef,
    columns: SchemaRef,
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    time_zone: String,
    style: String,
}

impl SingleRow {
    /// The statement of `plan`, not analysed yet, whose parameters have these types; `None` when it is not
    /// of this kind.
    pub fn of(
        plan: &LogicalPlan,
        parameters: &[DataType],
        state: &SessionState,
        session: (&str, &str),
    ) -> Option<Self> {
        let LogicalPlan::Projection(projection) = plan else { return None };
        let LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }) =
            projection.input.as_ref()
        else {
            return None;
        };
        let mut nodes = 0;
        let mut is_odd = |expr: &Expr| {
            nodes += 1;
            Ok(nodes > NODES_MAX || !is_quick(expr))
        };
        let are_quick = projection.expr.iter().all(|expr| !expr.exists(&mut is_odd).unwrap_or(true));
        // What fails here is left to the planner, which tells why.
        are_quick.then(|| Self::compile(projection, parameters, state, session).ok()).flatten()
    }

    fn compile(
        projection: &Projection,
        parameters: &[DataType],
        state: &SessionState,
        (time_zone, style): (&str, &str),
    ) -> DataFusionResult<Self> {
        let fields = parameters.iter().enumerate();
        let fields: Vec<Field> = fields
            .map(|(at, data_type)| Field::new(format!("${}", at + 1), data_type.clone(), true))
            .collect();
        let parameters = Arc::new(Schema::new(fields));
        let row = Arc::new(DFSchema::try_from(Arc::clone(&parameters))?);
        let input = EmptyRelation { produce_one_row: true, schema: Arc::clone(&row) };
        let expressions =
            projection.expr.iter().cloned().map(over_columns).collect::<DataFusionResult<Vec<_>>>()?;
        let plan = Projection::try_new(expressions, Arc::new(LogicalPlan::EmptyRelation(input)))?;
        let plan = LogicalPlan::Projection(plan);
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        let (properties, planning) = (state.execution_props(), PhysicalPlanningContext::default());
        let physical = |expr: &Expr| create_physical_expr(expr, &row, properties, &planning);
        let expressions = plan.expressions().iter().map(physical).collect::<DataFusionResult<Vec<_>>>()?;
        let columns = Arc::clone(plan.schema().inner());
        Ok(Self {
            parameters,
            columns,
            expressions,
            time_zone: time_zone.to_owned(),
            style: style.to_owned(),
        })
    }

    /// Whether it means the same in a session of this time zone and style, for values of these types: a decimal has
    /// the scale that its digits have.
    pub fn suits(&self, time_zone: &str, style: &str, values: &[ScalarValue]) -> bool {
        let are_declared =
            |(field, value): (&Arc<Field>, &ScalarValue)| *field.data_type() == value.data_type();
        self.time_zone == time_zone
            && self.style == style
            && self.parameters.fields().iter().zip(values).all(are_declared)
    }

    /// The row for these values.
    pub fn compute(&self, values: &[ScalarValue]) -> Result<RecordBatch> {
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let arrays = values.iter().map(ScalarValue::to_array).collect::<DataFusionResult<Vec<_>>>()?;
        let row = RecordBatch::try_new_with_options(Arc::clone(&self.parameters), arrays, &one)
            .map_err(|error| Error::internal(error.to_string()))?;
        let expressions = self.expressions.iter();
        let columns = expressions
            .map(|expr| expr.evaluate(&row)?.into_array(1))
            .collect::<DataFusionResult<Vec<_>>>()?;
        RecordBatch::try_new_with_options(Arc::clone(&self.columns), columns, &one)
            .map_err(|error| Error::internal(error.to_string()))
    }
}

/// They are computed on a thread with an ordinary stack, one call for each level.
const NODES_MAX: usize = 64;

/// AND and OR are left to the planner, which knows when a side need not be computed.
fn is_quick(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => matches!(
            binary.op,
            Operator::Plus
                | Operator::Minus
                | Operator::Multiply
                | Operator::Divide
                | Operator::Modulo
                | Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
        ),
        Expr::Alias(_)
        | Expr::Literal(..)
        | Expr::Placeholder(_)
        | Expr::Cast(_)
        | Expr::Not(_)
        | Expr::Negative(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_) => true,
        _ => false,
    }
}

/// `expr` with the column `$1` where the parameter was.
fn over_columns(expr: Expr) -> DataFusionResult<Expr> {
    let replaced = expr.transform_up(|expr| match expr {
        Expr::Placeholder(Placeholder { id, .. }) => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(id))))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(replaced.data)
}

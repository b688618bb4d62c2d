//! Conditions that guard others: `y <> 0 AND 10 / y > 1` fails for no row in PostgreSQL, which looks at the second only where
//! the first does not decide. DataFusion computes both for all rows of a batch, and puts conditions of several filters together
//! in an order of its own. So what may fail comes after what does not, and is computed for the rows alone that are left.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray};
use datafusion::arrow::compute::kernels::boolean::{and_kleene, is_null, not, or, or_kleene};
use datafusion::arrow::compute::prep_null_mask_filter;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

/// `node` with its conditions guarded, when some of them may fail.
pub fn guarded(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let Some(predicate) = of(filter.predicate())? else { return Ok(None) };
        let filter = FilterExecBuilder::from(filter).with_predicate(predicate).build()?;
        return Ok(Some(Arc::new(filter)));
    }
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let mut is_changed = false;
        let mut exprs = Vec::with_capacity(projection.expr().len());
        for part in projection.expr() {
            let expr = of(&part.expr)?;
            is_changed |= expr.is_some();
            let expr = expr.unwrap_or_else(|| Arc::clone(&part.expr));
            exprs.push(ProjectionExpr { expr, alias: part.alias.clone() });
        }
        if is_changed {
            let projection = ProjectionExec::try_new(exprs, Arc::clone(projection.input()))?;
            return Ok(Some(Arc::new(projection)));
        }
    }
    Ok(None)
}

/// `expr` with its conditions guarded; `None` where there is nothing to guard.
fn of(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    if let Some(op) = connective(expr) {
        let mut parts = Vec::new();
        flatten(expr, op, &mut parts);
        if parts.iter().any(may_fail) {
            return guard(parts, op).map(Some);
        }
    }
    let mut is_changed = false;
    let mut children = Vec::new();
    for child in expr.children() {
        let guarded = of(child)?;
        is_changed |= guarded.is_some();
        children.push(guarded.unwrap_or_else(|| Arc::clone(child)));
    }
    if is_changed { Arc::clone(expr).with_new_children(children).map(Some) } else { Ok(None) }
}

fn connective(expr: &Arc<dyn PhysicalExpr>) -> Option<Operator> {
    let op = *expr.downcast_ref::<BinaryExpr>()?.op();
    matches!(op, Operator::And | Operator::Or).then_some(op)
}

fn flatten(expr: &Arc<dyn PhysicalExpr>, op: Operator, parts: &mut Vec<Arc<dyn PhysicalExpr>>) {
    match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) if *binary.op() == op => {
            flatten(binary.left(), op, parts);
            flatten(binary.right(), op, parts);
        }
        _ => parts.push(Arc::clone(expr)),
    }
}

/// All of `parts` under `op`: those that cannot fail as they were, then each other in turn.
fn guard(parts: Vec<Arc<dyn PhysicalExpr>>, op: Operator) -> Result<Arc<dyn PhysicalExpr>> {
    let (failing, safe): (Vec<_>, Vec<_>) = parts.into_iter().partition(may_fail);
    let mut whole: Option<Arc<dyn PhysicalExpr>> = None;
    for part in safe {
        whole = Some(match whole {
            Some(whole) => Arc::new(BinaryExpr::new(whole, op, part)),
            None => part,
        });
    }
    for part in failing {
        let part = of(&part)?.unwrap_or(part);
        whole = Some(match whole {
            Some(guard) => Arc::new(Guarded { guard, op, rest: part }),
            None => part,
        });
    }
    whole.ok_or_else(|| DataFusionError::Internal("a condition has parts".into()))
}

/// Whether `expr` fails for some values. Sums and products are not looked at: they overflow where PostgreSQL's do, or close by,
/// and stand in conditions that must be quick.
fn may_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let fails = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        matches!(binary.op(), Operator::Divide | Operator::Modulo)
    } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        // Of a column, whose values are any text: literals were read when the statement was planned.
        cast.expr().is::<datafusion::physical_expr::expressions::Column>() && !is_text(cast.cast_type())
    } else if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        !SAFE.contains(&function.name())
    } else {
        false
    };
    fails || expr.children().into_iter().any(may_fail)
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Functions that conditions of large tables call often, and that fail for no value, or for none that is likely.
const SAFE: &[&str] = &[
    "sluice_add",
    "sluice_subtract",
    "sluice_multiply",
    "sluice_concat",
    "date_part",
    "lower",
    "upper",
    "substr",
    "starts_with",
    "ends_with",
    "strpos",
    "character_length",
    "length",
    "btrim",
    "ltrim",
    "rtrim",
    "coalesce",
    "sluice_matches",
    "now",
    "date_trunc",
];

/// `rest` where `guard` does not decide.
#[derive(Debug)]
struct Guarded {
    guard: Arc<dyn PhysicalExpr>,
    op: Operator,
    rest: Arc<dyn PhysicalExpr>,
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.guard, self.op, self.rest)
    }
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.guard.eq(&other.guard) && self.rest.eq(&other.rest)
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.guard.hash(state);
        self.op.hash(state);
        self.rest.hash(state);
    }
}

impl PhysicalExpr for Guarded {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        let guard = self.guard.return_field(schema)?;
        let is_nullable = guard.is_nullable() || self.rest.nullable(schema)?;
        Ok(Arc::new(guard.as_ref().clone().with_nullable(is_nullable)))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let guard = self.guard.evaluate(batch)?.into_array(batch.num_rows())?;
        let guard = guard.as_boolean();
        // NULL does not decide: `NULL AND false` is false.
        let undecided = match self.op {
            Operator::And => or(&filled(guard), &is_null(guard)?)?,
            _ => or(&not(&filled_with_true(guard))?, &is_null(guard)?)?,
        };
        if !undecided.has_true() {
            return Ok(ColumnarValue::Array(Arc::new(guard.clone())));
        }
        let rest = self.rest.evaluate_selection(batch, &undecided)?.into_array(batch.num_rows())?;
        let rest = rest.as_boolean();
        let whole = match self.op {
            Operator::And => and_kleene(guard, rest)?,
            _ => or_kleene(guard, rest)?,
        };
        Ok(ColumnarValue::Array(Arc::new(whole)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.guard, &self.rest]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let [guard, rest] = <[_; 2]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a guarded condition has two parts".into()))?;
        Ok(Arc::new(Self { guard, op: self.op, rest }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt_sql(f)?;
        write!(f, " {} ", self.op)?;
        self.rest.fmt_sql(f)
    }
}

/// `values` with false in the place of NULL.
fn filled(values: &BooleanArray) -> BooleanArray {
    if values.null_count() == 0 { values.clone() } else { prep_null_mask_filter(values) }
}

/// The same with true.
fn filled_with_true(values: &BooleanArray) -> BooleanArray {
    values.iter().map(|value| Some(value.unwrap_or(true))).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int32Array};
    use datafusion::arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{col, lit};

    use super::*;

    fn condition(schema: &Schema, op: Operator) -> Arc<dyn PhysicalExpr> {
        let y = || col("y", schema).expect("a column");
        let quotient = Arc::new(BinaryExpr::new(lit(10), Operator::Divide, y()));
        let large: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(quotient, Operator::Gt, lit(4)));
        let compared = if op == Operator::And { Operator::NotEq } else { Operator::Eq };
        let guard = Arc::new(BinaryExpr::new(y(), compared, lit(0)));
        // What may fail is written first.
        Arc::new(BinaryExpr::new(large, op, guard))
    }

    #[test]
    fn a_condition_is_not_computed_where_another_decides() {
        let schema = Arc::new(Schema::new(vec![Field::new("y", DataType::Int32, true)]));
        let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(0), Some(1), Some(5), None, Some(0)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![values]).expect("a batch");
        for (op, expected) in [
            (Operator::And, [Some(false), Some(true), Some(false), None, Some(false)]),
            (Operator::Or, [Some(true), Some(true), Some(false), None, Some(true)]),
        ] {
            let condition = condition(&schema, op);
            assert!(condition.evaluate(&batch).is_err(), "it divides by zero");
            let guarded = of(&condition).expect("an expression").expect("it may fail");
            let answer = guarded.evaluate(&batch).and_then(|value| value.into_array(5)).expect("an answer");
            assert_eq!(answer.as_boolean(), &BooleanArray::from(expected.to_vec()), "{op}");
        }
    }
}

//! Which share of rows a condition keeps, and what is known of the columns then.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::Cardinality;
use super::columns::{ColumnFacts, number, of_expression};

/// Share of rows that a comparison keeps of which nothing is known.
const COMPARED: f64 = 1.0 / 3.0;
/// The same of a pattern, and of one that begins with a text.
const LIKE: f64 = 0.1;
const LIKE_PREFIX: f64 = 0.05;
/// The same of any other condition.
const UNKNOWN: f64 = 0.25;

/// The rows of `input` for which `predicate` holds.
pub(super) fn kept(predicate: &Arc<dyn PhysicalExpr>, input: &Cardinality) -> Cardinality {
    let share = share(predicate, input).clamp(0.0, 1.0);
    let rows = input.rows * share;
    let mut columns: Vec<ColumnFacts> = input.columns.iter().map(|of| of.after(share, rows)).collect();
    for part in conjuncts(predicate) {
        narrow(part, &mut columns, rows);
    }
    Cardinality { rows, columns, schema: Arc::clone(&input.schema) }
}

fn conjuncts(predicate: &Arc<dyn PhysicalExpr>) -> Vec<&Arc<dyn PhysicalExpr>> {
    match predicate.downcast_ref::<BinaryExpr>() {
        Some(both) if *both.op() == Operator::And => {
            let mut parts = conjuncts(both.left());
            parts.extend(conjuncts(both.right()));
            parts
        }
        _ => vec![predicate],
    }
}

/// A range of one column that several conditions bound.
struct Range {
    column: usize,
    low: f64,
    high: f64,
}

/// The share of rows for which `predicate` holds.
pub(super) fn share(predicate: &Arc<dyn PhysicalExpr>, input: &Cardinality) -> f64 {
    let parts = conjuncts(predicate);
    if parts.len() == 1 {
        return share_of_one(predicate, input);
    }
    // Two bounds of one column are not independent of each other.
    let mut ranges: Vec<Range> = Vec::new();
    let mut rest = 1.0;
    for part in parts {
        match bound(part, input) {
            Some((column, low, high)) => match ranges.iter_mut().find(|range| range.column == column) {
                Some(range) => {
                    range.low = range.low.max(low);
                    range.high = range.high.min(high);
                }
                None => ranges.push(Range { column, low, high }),
            },
            None => rest *= share_of_one(part, input),
        }
    }
    ranges
        .iter()
        .fold(rest, |share, range| share * within(&input.columns[range.column], range.low, range.high))
}

fn within(column: &ColumnFacts, low: f64, high: f64) -> f64 {
    let Some((least, most)) = column.bounds else {
        return if low.is_finite() && high.is_finite() { COMPARED * COMPARED } else { COMPARED };
    };
    let step = step(column);
    let (low, high) = (low.max(least), high.min(most));
    if high < low {
        return 0.0;
    }
    ((high - low + step) / (most - least + step)).clamp(0.0, 1.0) * (1.0 - column.nulls)
}

/// The distance of two neighbouring values of a column that counts in steps.
fn step(column: &ColumnFacts) -> f64 {
    let Some((least, most)) = column.bounds else { return 0.0 };
    if column.distinct >= most - least + 1.0 { 1.0 } else { (most - least) / column.distinct.max(1.0) }
}

/// `column < 5` as a range of the column of that index.
fn bound(expr: &Arc<dyn PhysicalExpr>, input: &Cardinality) -> Option<(usize, f64, f64)> {
    let comparison = expr.downcast_ref::<BinaryExpr>()?;
    let (column, value, op) = compared(comparison)?;
    let at = column_index(column)?;
    let facts = input.columns.get(at)?;
    facts.bounds?;
    let value = number(value)?;
    let step = step(facts);
    Some(match op {
        Operator::Lt => (at, f64::NEG_INFINITY, value - step),
        Operator::LtEq => (at, f64::NEG_INFINITY, value),
        Operator::Gt => (at, value + step, f64::INFINITY),
        Operator::GtEq => (at, value, f64::INFINITY),
        _ => return None,
    })
}

/// The side that is not a literal, the literal, and the operator that is read with the literal on the right.
fn compared(comparison: &BinaryExpr) -> Option<(&Arc<dyn PhysicalExpr>, &ScalarValue, Operator)> {
    if let Some(literal) = comparison.right().downcast_ref::<Literal>() {
        return Some((comparison.left(), literal.value(), *comparison.op()));
    }
    let literal = comparison.left().downcast_ref::<Literal>()?;
    Some((comparison.right(), literal.value(), comparison.op().swap()?))
}

fn column_index(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    use datafusion::physical_expr::expressions::Column;
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(column.index());
    }
    column_index(expr.downcast_ref::<CastExpr>()?.expr())
}

fn share_of_one(expr: &Arc<dyn PhysicalExpr>, input: &Cardinality) -> f64 {
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return match literal.value() {
            ScalarValue::Boolean(Some(true)) => 1.0,
            ScalarValue::Boolean(_) | ScalarValue::Null => 0.0,
            _ => UNKNOWN,
        };
    }
    if let Some((column, low, high)) = bound(expr, input) {
        return within(&input.columns[column], low, high);
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return of_binary(binary, input, expr);
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return 1.0 - share(not.arg(), input);
    }
    if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
        return of_expression(null.arg(), input).nulls;
    }
    if let Some(not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        return 1.0 - of_expression(not_null.arg(), input).nulls;
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let among = list.len() as f64 / of_expression(list.expr(), input).distinct.max(1.0);
        let among = among.min(0.9);
        return if list.negated() { 1.0 - among } else { among };
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let share = of_pattern(like, input);
        return if like.negated() { 1.0 - share } else { share };
    }
    if expr.downcast_ref::<ScalarFunctionExpr>().is_some() {
        return UNKNOWN;
    }
    // A boolean column, or anything else.
    UNKNOWN.max(0.5 * f64::from(u8::from(column_index(expr).is_some())))
}

fn of_pattern(like: &LikeExpr, input: &Cardinality) -> f64 {
    let text = like.pattern().downcast_ref::<Literal>().and_then(|of| of.value().try_as_str().flatten());
    let Some(text) = text else { return LIKE };
    let distinct = of_expression(like.expr(), input).distinct.max(1.0);
    if !text.contains(['%', '_']) {
        return 1.0 / distinct;
    }
    // One value at least, if it was written to find something; of two words each is asked for.
    let usual = if text.starts_with('%') { LIKE } else { LIKE_PREFIX };
    let words = text.split('%').filter(|word| !word.is_empty()).count().clamp(1, 3);
    (usual * LIKE.powi(words as i32 - 1)).max(1.0 / distinct)
}

fn of_binary(binary: &BinaryExpr, input: &Cardinality, expr: &Arc<dyn PhysicalExpr>) -> f64 {
    match binary.op() {
        Operator::And => share(expr, input),
        Operator::Or => {
            let (left, right) = (share(binary.left(), input), share(binary.right(), input));
            left + right - left * right
        }
        Operator::Eq | Operator::IsNotDistinctFrom => equal(binary, input),
        Operator::NotEq | Operator::IsDistinctFrom => 1.0 - equal(binary, input),
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => COMPARED,
        _ => UNKNOWN,
    }
}

fn equal(binary: &BinaryExpr, input: &Cardinality) -> f64 {
    if let Some((side, value, _)) = compared(binary) {
        let facts = of_expression(side, input);
        if let (Some((low, high)), Some(value)) = (facts.bounds, number(value))
            && !(low..=high).contains(&value)
        {
            return 0.0;
        }
        return 1.0 / facts.distinct.max(1.0) * (1.0 - facts.nulls);
    }
    let (left, right) = (of_expression(binary.left(), input), of_expression(binary.right(), input));
    1.0 / left.distinct.max(right.distinct).max(1.0)
}

/// What `part` tells of its column besides the share it keeps.
fn narrow(part: &Arc<dyn PhysicalExpr>, columns: &mut [ColumnFacts], rows: f64) {
    if let Some(list) = part.downcast_ref::<InListExpr>()
        && !list.negated()
        && let Some(facts) = column_index(list.expr()).and_then(|at| columns.get_mut(at))
    {
        facts.distinct = facts.distinct.min(list.len() as f64).max(1.0);
    }
    let Some((side, value, op)) = part.downcast_ref::<BinaryExpr>().and_then(compared) else { return };
    let Some(facts) = column_index(side).and_then(|at| columns.get_mut(at)) else { return };
    if op == Operator::Eq {
        facts.distinct = 1.0;
        facts.bounds = number(value).map(|value| (value, value));
        return;
    }
    let (Some((low, high)), Some(value)) = (facts.bounds, number(value)) else { return };
    let step = step(facts);
    let (new_low, new_high) = match op {
        Operator::Lt => (low, high.min(value - step)),
        Operator::LtEq => (low, high.min(value)),
        Operator::Gt => (low.max(value + step), high),
        Operator::GtEq => (low.max(value), high),
        _ => return,
    };
    if new_high < new_low {
        return;
    }
    let left = (new_high - new_low + step) / (high - low + step).max(f64::MIN_POSITIVE);
    // By itself, whatever else is asked of the rows.
    facts.distinct =
        (facts.distinct.max(1.0)).min((left * (high - low + step) / step.max(f64::MIN_POSITIVE)).max(1.0));
    facts.distinct = facts.distinct.min(rows.max(1.0));
    facts.bounds = Some((new_low, new_high));
}
